//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench-dataplane: CPU and memory are read from /proc, which this system does not have; run it on Linux")
	os.Exit(1)
}
