package cloudsim

import "strings"

// Quotas before any is raised (ALB-FACTS 4.12).
const (
	quotaLoadBalancers = 60
	quotaListeners     = 50
	quotaServerGroups  = 3000
	quotaServers       = 1000 // of one group
)

// quotaRules is how many rules an instance may have, over all its listeners, without the default ones.
func quotaRules(edition string) int {
	if edition == EditionBasic {
		return 40
	}
	return 100
}

// quotaCertificates is how many additional certificates an instance may have, over all its listeners.
func quotaCertificates(edition string) int {
	if edition == EditionBasic {
		return 10
	}
	return 25
}

// quotaName is a quota's id for an edition.
func quotaName(prefix, edition string) string {
	return prefix + "_" + strings.ToLower(edition) + "_edition"
}
