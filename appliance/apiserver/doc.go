// Package apiserver is the Kubernetes API of the appliance: k8s.io/apiserver as a library, upstream's registries,
// defaulting, validation and printers for the built-in kinds, and the CustomResourceDefinition server for the rest,
// AlbConfig among them. Objects live in state/kv, or in a real etcd.
//
// It is the only package that imports k8s.io/apiserver, and with controllers/workload the only one that imports
// k8s.io/kubernetes.
package apiserver
