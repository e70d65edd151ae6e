// Package nginx is the NGINX Ingress Controller: it turns Ingresses of its class into routes of the data plane. It has no
// cloud resource behind it, for the real one is a proxy of its own, in front of which stands one address.
//
// The way of a change is load (listers to a Cluster), Build (a pure function to a part of the snapshot), publish, status.
// One bad Ingress is left out and the others go on (DESIGN 4c).
package nginx
