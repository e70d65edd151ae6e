// Command dataplane measures the data plane against nginx, HAProxy and Caddy: the same routes, the same features, in
// turns on the same machine. `make bench-dataplane` runs it and writes the result to docs/benchmarks.md.
package main
