// Package certificates issues what Ingresses ask cert-manager for: an Ingress with one of cert-manager's annotations
// and a tls section gets that section's Secret, from the internal CA or an ACME server, and the Secret is renewed in
// time. Its annotations, Events and manners are cert-manager's; its Certificate resources are not there.
//
// What is to be done about a Secret is decided by plan, which is pure. The Secret is all that is stored of a
// certificate; an ACME account is a Secret too.
package certificates
