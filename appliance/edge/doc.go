// Package edge joins the cloud to traffic: it translates the cloud's inventory into the data plane's snapshot and the
// name server's zone, and load-balancer addresses into sockets of this machine. It is the only package that knows both
// cloudsim and dataplane.
package edge
