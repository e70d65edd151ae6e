package alb

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
	"github.com/alb-appliance/appliance/cloudsim"
)

// Group is everything that Build looks at: one AlbConfig, the Ingresses that joined it and what they refer to.
type Group struct {
	AlbConfig *albv1.AlbConfig
	Ingresses []*networkingv1.Ingress
	Services  map[string]*corev1.Service // by namespace/name
	// Slices are the EndpointSlices of those Services, by the Service's namespace/name.
	Slices map[string][]*discoveryv1.EndpointSlice
	Nodes  []*corev1.Node
	// Secrets are those that spec.tls names, by namespace/name.
	Secrets map[string]*corev1.Secret
	// Certificates are those of the certificate service.
	Certificates []cloudsim.Certificate
	Now          time.Time
}

// Cluster is what Build must know of the cluster itself.
type Cluster struct {
	// ID is the cluster's id; tags carry it, so that two clusters do not take each other's resources.
	ID            string
	NetworkPlugin string // terway or flannel
}

// Network plugins (ALB-FACTS 3.7): Terway gives pods addresses of the VPC, Flannel does not.
const (
	Terway  = "terway"
	Flannel = "flannel"
)

// Orders of Ingresses on one load balancer (ALB-FACTS 1.1).
const (
	defaultOrder = 10
	minOrder     = 1
	maxOrder     = 1000
)

// sortedMembers gives the Ingresses in the order of their rules: by order annotation, then by namespace and name.
func sortedMembers(ingresses []*networkingv1.Ingress) ([]*networkingv1.Ingress, []Problem) {
	var problems []Problem
	orders := map[*networkingv1.Ingress]int{}
	for _, ing := range ingresses {
		order, err := orderOf(ing)
		if err != nil {
			problems = append(problems, Problem{Ingress: key(ing), Reason: reasonFailedBuildModel, Message: err.Error()})
		}
		orders[ing] = order
	}
	sorted := slices.SortedFunc(slices.Values(ingresses), func(a, b *networkingv1.Ingress) int {
		return cmp.Or(cmp.Compare(orders[a], orders[b]), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return sorted, problems
}

func orderOf(ing *networkingv1.Ingress) (int, error) {
	text := cmp.Or(ing.Annotations[annotationOldOrder], ing.Annotations[annotationOrder])
	if text == "" {
		return defaultOrder, nil
	}
	order, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("failed to load Ingress group order for ingress: %s", key(ing))
	}
	if order < minOrder || order > maxOrder {
		return 0, fmt.Errorf("explicit Ingress group order must be within [%d:%d], Ingress: %s, order: %d", minOrder, maxOrder, key(ing), order)
	}
	return order, nil
}

// key is namespace/name.
func key(o interface {
	GetNamespace() string
	GetName() string
}) string {
	return o.GetNamespace() + "/" + o.GetName()
}
