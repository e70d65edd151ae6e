package nginx

import (
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ingress(name, host, path string, kind networkingv1.PathType, annotations map[string]string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: annotations},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{
			HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: &kind}}},
		}}}},
	}
}

func TestReview(t *testing.T) {
	t.Parallel()
	const (
		prefix = networkingv1.PathTypePrefix
		impl   = networkingv1.PathTypeImplementationSpecific
	)
	others := func(p hostPath) []*networkingv1.Ingress {
		if p == (hostPath{"a.com", "/taken", prefix}) {
			return []*networkingv1.Ingress{ingress("old", "a.com", "/taken", prefix, nil)}
		}
		return nil
	}
	for _, row := range []struct {
		ing  *networkingv1.Ingress
		want string
	}{
		{ingress("new", "a.com", "/free", prefix, nil), ""},
		{ingress("old", "a.com", "/taken", prefix, nil), ""}, // itself
		{ingress("new", "b.com", "/taken", prefix, nil), ""},
		{ingress("new", "a.com", "/taken", prefix, nil), `host "a.com" and path "/taken" is already defined in ingress default/old`},
		{ingress("new", "a.com", "/x(.*)", prefix, nil), "ingress contains invalid paths: path /x(.*) cannot be used with pathType Prefix"},
		{ingress("new", "a.com", "/x(.*)", impl, nil), ""},
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "proxy-read-timeout": "60s"}), "annotation nginx.ingress.kubernetes.io/proxy-read-timeout contains invalid value"},
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "proxy-send-timeout": "-1"}), "annotation nginx.ingress.kubernetes.io/proxy-send-timeout contains invalid value"},
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "proxy-body-size": "8x"}), "annotation nginx.ingress.kubernetes.io/proxy-body-size contains invalid value"},
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "proxy-body-size": "8m"}), ""},
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "ssl-redirect": "on"}), "annotation nginx.ingress.kubernetes.io/ssl-redirect contains invalid value"},
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "backend-protocol": "ftp"}), "annotation nginx.ingress.kubernetes.io/backend-protocol contains invalid value"},
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "rewrite-target": "/x; return 200"}), "annotation nginx.ingress.kubernetes.io/rewrite-target contains invalid value"},
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "proxy-read-timeout": ""}), ""}, // empty values are never checked
		{ingress("new", "a.com", "/", prefix, map[string]string{Prefix + "made-up": "x"}), ""},           // unknown names only warn
	} {
		got := ""
		if err := review(row.ing, others); err != nil {
			got = err.Error()
		}
		if got != row.want {
			t.Errorf("%s %v: got %q, want %q", row.ing.Name, row.ing.Annotations, got, row.want)
		}
	}
}

func TestUnsupported(t *testing.T) {
	t.Parallel()
	ing := ingress("a", "a.com", "/", networkingv1.PathTypePrefix, map[string]string{
		Prefix + "backend-protocol": "grpc", Prefix + "rate-limit": "5", Prefix + "ssl-redirect": "false", "other/name": "x",
	})
	got := Unsupported(ing)
	want := []string{
		"annotation nginx.ingress.kubernetes.io/backend-protocol: GRPC is not spoken by this version of the appliance, pods get HTTP",
		"annotation nginx.ingress.kubernetes.io/rate-limit has no effect in this version of the appliance",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
