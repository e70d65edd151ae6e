package kubelet

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// namesOf answers from objects.
func namesOf(t *testing.T, objects ...metav1.Object) names {
	t.Helper()
	services := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	slices := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	for _, o := range objects {
		into := services
		if _, ok := o.(*discoveryv1.EndpointSlice); ok {
			into = slices
		}
		if err := into.Add(o); err != nil {
			t.Fatal(err)
		}
	}
	return names{
		services: corelisters.NewServiceLister(services), slices: discoverylisters.NewEndpointSliceLister(slices),
		outside: func(name string) ([]netip.Addr, bool) {
			return []netip.Addr{netip.MustParseAddr("127.77.0.2")}, name == "alb.example.net"
		},
	}
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: corev1.ServiceSpec{ClusterIP: ip}}
}

func TestNames(t *testing.T) {
	t.Parallel()
	external := service("out", "")
	external.Spec.Type, external.Spec.ExternalName = corev1.ServiceTypeExternalName, "alb.example.net."
	ring := service("ring", "")
	ring.Spec.Type, ring.Spec.ExternalName = corev1.ServiceTypeExternalName, "ring.shop.svc.cluster.local"
	host, no := "db-0", false
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: "db-x", Namespace: "shop", Labels: map[string]string{discoveryv1.LabelServiceName: "db"}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.0.0.7"}}, {Addresses: []string{"10.0.0.6"}, Hostname: &host},
			{Addresses: []string{"10.0.0.8"}, Conditions: discoveryv1.EndpointConditions{Ready: &no}},
		},
	}
	n := namesOf(t, service("web", "172.21.0.5"), service("db", corev1.ClusterIPNone), service("empty", corev1.ClusterIPNone), external, ring, slice)
	for name, want := range map[string]string{
		"web.shop.svc.cluster.local":         "NOERROR web.shop.svc.cluster.local [172.21.0.5]",
		"WEB.shop.SVC.cluster.local":         "NOERROR web.shop.svc.cluster.local [172.21.0.5]",
		"pod.web.shop.svc.cluster.local":     "NXDOMAIN pod.web.shop.svc.cluster.local []",
		"db.shop.svc.cluster.local":          "NOERROR db.shop.svc.cluster.local [10.0.0.6 10.0.0.7]",
		"db-0.db.shop.svc.cluster.local":     "NOERROR db-0.db.shop.svc.cluster.local [10.0.0.6]",
		"10-0-0-7.db.shop.svc.cluster.local": "NOERROR 10-0-0-7.db.shop.svc.cluster.local [10.0.0.7]",
		"db-9.db.shop.svc.cluster.local":     "NXDOMAIN db-9.db.shop.svc.cluster.local []",
		"empty.shop.svc.cluster.local":       "NXDOMAIN empty.shop.svc.cluster.local []",
		"out.shop.svc.cluster.local":         "NOERROR alb.example.net [127.77.0.2]",
		"ring.shop.svc.cluster.local":        "SERVFAIL ring.shop.svc.cluster.local []",
		"10-0-0-9.shop.pod.cluster.local":    "NOERROR 10-0-0-9.shop.pod.cluster.local [10.0.0.9]",
		"10-0-0.shop.pod.cluster.local":      "NXDOMAIN 10-0-0.shop.pod.cluster.local []",
		"web.other.svc.cluster.local":        "NXDOMAIN web.other.svc.cluster.local []",
		"cluster.local":                      "SERVFAIL cluster.local []",
		"svc.cluster.local":                  "NXDOMAIN svc.cluster.local []",
		"alb.example.net":                    "NOERROR alb.example.net [127.77.0.2]",
		"example.org":                        "SERVFAIL example.org []",
		"web":                                "NXDOMAIN web []",
		"wep.shop":                           "NXDOMAIN wep.shop []",
		"web.shop.svc":                       "NXDOMAIN web.shop.svc []",
	} {
		if a := n.ask(name); fmt.Sprintf("%s %s %v", a.Code, a.Name, a.Addresses) != want {
			t.Errorf("%s: %s %s %v; want %s", name, a.Code, a.Name, a.Addresses, want)
		}
	}
}

func TestResolverByPolicy(t *testing.T) {
	t.Parallel()
	ndots := "2"
	for want, change := range map[string]func(*corev1.PodSpec){
		"search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 172.21.0.10\noptions ndots:5\n": func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSClusterFirst },
		"nameserver 100.100.2.136\n": func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault },
		"search a.example\nnameserver 10.9.9.9\noptions ndots:2\n": func(s *corev1.PodSpec) {
			s.DNSPolicy = corev1.DNSNone
			s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"10.9.9.9"}, Searches: []string{"a.example"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &ndots}}}
		},
	} {
		o := podOf("p", "nginx", func(p *corev1.Pod) { change(&p.Spec) })
		r := &runtime{Kubelet: New(Options{ClusterDNS: netip.MustParseAddr("172.21.0.10")})}
		p := &pod{runtime: r, object: o}
		p.name.Namespace = "default"
		if got := p.resolver().Config(); got != want {
			t.Errorf("%q; want %q", got, want)
		}
	}
}
