// Command appliance is a local Alibaba Cloud ACK with ALB Ingress: Kubernetes API, simulated cloud, pods and traffic in
// one program.
package main

import (
	"os"

	"github.com/alb-appliance/appliance/appliance/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
