package kubelet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEnvironment(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	data := map[object]map[string]string{
		{kindConfigMap, "cm"}: {"k": "v", "other": "o"},
		{kindSecret, "s"}:     {"password": "geheim"},
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web-1", Namespace: "shop", UID: "u-1", Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"a/b": "note"}},
		Spec:       corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa", EnableServiceLinks: &yes},
	}
	port := corev1.ServicePort{Port: 80, Name: "http"}
	services := []*corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "kubernetes"}, Spec: corev1.ServiceSpec{ClusterIP: "172.16.0.1", Ports: []corev1.ServicePort{{Port: 443}}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "my-db"}, Spec: corev1.ServiceSpec{ClusterIP: "172.16.0.9", Ports: []corev1.ServicePort{port}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "x"}, Spec: corev1.ServiceSpec{ClusterIP: "172.16.0.8", Ports: []corev1.ServicePort{port}}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIP: "None", Ports: []corev1.ServicePort{port}}},
	}
	from := func(name string, s corev1.EnvVarSource) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &s}
	}
	field := func(path string) corev1.EnvVar {
		return from("X", corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}})
	}
	size := func(r, divisor string) corev1.EnvVar {
		s := &corev1.ResourceFieldSelector{Resource: r}
		if divisor != "" {
			s.Divisor = resource.MustParse(divisor)
		}
		return from("X", corev1.EnvVarSource{ResourceFieldRef: s})
	}
	configKey := func(name, key string, optional *bool) corev1.EnvVar {
		return from("X", corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional}})
	}
	secretKey := func(name, key string, optional *bool) corev1.EnvVar {
		return from("X", corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional}})
	}
	all := func(name, prefix string, optional *bool) []corev1.EnvFromSource {
		return []corev1.EnvFromSource{{Prefix: prefix, ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Optional: optional}}}
	}
	for _, test := range []struct {
		name  string
		env   []corev1.EnvVar
		from  []corev1.EnvFromSource
		links *bool
		want  map[string]string // of what is looked at; "-" is unset
		err   string
	}{
		{name: "literal", env: []corev1.EnvVar{{Name: "X", Value: "1"}}, want: map[string]string{"X": "1"}},
		{name: "expansion", env: []corev1.EnvVar{{Name: "A", Value: "a"}, {Name: "X", Value: "$(A)-$(B)-$$(A)-$A-$(KUBERNETES_SERVICE_HOST)"}}, want: map[string]string{"X": "a-$(B)-$(A)-$A-172.16.0.1"}},
		{name: "later variables are not known yet", env: []corev1.EnvVar{{Name: "X", Value: "$(Y)"}, {Name: "Y", Value: "y"}}, want: map[string]string{"X": "$(Y)"}},
		{name: "name", env: []corev1.EnvVar{field("metadata.name")}, want: map[string]string{"X": "web-1"}},
		{name: "namespace", env: []corev1.EnvVar{field("metadata.namespace")}, want: map[string]string{"X": "shop"}},
		{name: "uid", env: []corev1.EnvVar{field("metadata.uid")}, want: map[string]string{"X": "u-1"}},
		{name: "label", env: []corev1.EnvVar{field("metadata.labels['app']")}, want: map[string]string{"X": "web"}},
		{name: "annotation", env: []corev1.EnvVar{field("metadata.annotations['a/b']")}, want: map[string]string{"X": "note"}},
		{name: "node", env: []corev1.EnvVar{field("spec.nodeName")}, want: map[string]string{"X": "n1"}},
		{name: "service account", env: []corev1.EnvVar{field("spec.serviceAccountName")}, want: map[string]string{"X": "sa"}},
		{name: "pod IP", env: []corev1.EnvVar{field("status.podIP")}, want: map[string]string{"X": "10.0.0.1"}},
		{name: "pod IPs", env: []corev1.EnvVar{field("status.podIPs")}, want: map[string]string{"X": "10.0.0.1"}},
		{name: "host IP", env: []corev1.EnvVar{field("status.hostIP")}, want: map[string]string{"X": "10.0.0.10"}},
		{name: "unknown field", env: []corev1.EnvVar{field("spec.x")}, err: "unsupported fieldPath: spec.x"},
		{name: "CPU limit in cores, rounded up", env: []corev1.EnvVar{size("limits.cpu", "")}, want: map[string]string{"X": "2"}},
		{name: "CPU limit in thousandths", env: []corev1.EnvVar{size("limits.cpu", "1m")}, want: map[string]string{"X": "1500"}},
		{name: "memory request in Mi", env: []corev1.EnvVar{size("requests.memory", "1Mi")}, want: map[string]string{"X": "64"}},
		{name: "memory limit is the node's", env: []corev1.EnvVar{size("limits.memory", "1Gi")}, want: map[string]string{"X": "8"}},
		{name: "config key", env: []corev1.EnvVar{configKey("cm", "k", nil)}, want: map[string]string{"X": "v"}},
		{name: "config map missing", env: []corev1.EnvVar{configKey("nope", "k", &no)}, err: `configmap "nope" not found`},
		{name: "config map missing but optional", env: []corev1.EnvVar{configKey("nope", "k", &yes)}, want: map[string]string{"X": "-"}},
		{name: "config key missing", env: []corev1.EnvVar{configKey("cm", "nope", nil)}, err: "couldn't find key nope in ConfigMap shop/cm"},
		{name: "config key missing but optional", env: []corev1.EnvVar{configKey("cm", "nope", &yes)}, want: map[string]string{"X": "-"}},
		{name: "secret key", env: []corev1.EnvVar{secretKey("s", "password", nil)}, want: map[string]string{"X": "geheim"}},
		{name: "secret missing", env: []corev1.EnvVar{secretKey("nope", "k", nil)}, err: `secret "nope" not found`},
		{name: "secret key missing", env: []corev1.EnvVar{secretKey("s", "nope", nil)}, err: "couldn't find key nope in Secret shop/s"},
		{name: "whole config map", from: all("cm", "P_", nil), want: map[string]string{"P_k": "v", "P_other": "o"}},
		{name: "env wins over envFrom", from: all("cm", "", nil), env: []corev1.EnvVar{{Name: "k", Value: "mine"}}, want: map[string]string{"k": "mine"}},
		{name: "whole config map missing", from: all("nope", "", nil), err: `configmap "nope" not found`},
		{name: "whole config map missing but optional", from: all("nope", "", &yes), want: map[string]string{"k": "-"}},
		{name: "services", want: map[string]string{
			"MY_DB_SERVICE_HOST": "172.16.0.9", "MY_DB_SERVICE_PORT": "80", "MY_DB_SERVICE_PORT_HTTP": "80", "MY_DB_PORT": "tcp://172.16.0.9:80",
			"MY_DB_PORT_80_TCP_ADDR": "172.16.0.9", "KUBERNETES_SERVICE_HOST": "172.16.0.1", "X_SERVICE_HOST": "-", "HEADLESS_SERVICE_HOST": "-",
		}},
		{name: "no services wanted", links: &no, want: map[string]string{"MY_DB_SERVICE_HOST": "-", "KUBERNETES_SERVICE_HOST": "172.16.0.1"}},
		{name: "env wins over services", env: []corev1.EnvVar{{Name: "MY_DB_PORT", Value: "mine"}}, want: map[string]string{"MY_DB_PORT": "mine"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := p.DeepCopy()
			p.Spec.EnableServiceLinks = test.links
			c := &corev1.Container{Name: "c", Env: test.env, EnvFrom: test.from, Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{"cpu": resource.MustParse("1500m")}, Requests: corev1.ResourceList{"memory": resource.MustParse("64Mi")},
			}}
			got, err := environment(c, surroundings{
				pod: p, podIP: "10.0.0.1", hostIP: "10.0.0.10", services: services, capacity: corev1.ResourceList{"memory": resource.MustParse("8Gi")},
				data: func(o object) (map[string]string, string, error) {
					if d, ok := data[o]; ok {
						return d, "1", nil
					}
					return nil, "", notFound(o)
				},
			})
			if text := errorText(err); text != test.err {
				t.Fatalf("error %q, want %q", text, test.err)
			}
			for name, want := range test.want {
				if v, ok := got[name]; !ok && want != "-" || ok && v != want {
					t.Errorf("%s = %q, %t; want %q", name, v, ok, want)
				}
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestExpandAll(t *testing.T) {
	t.Parallel()
	got := expandAll([]string{"$(A)", "$(", "$", "a$$b", "$(A)$(A)", "x$y"}, expander(map[string]string{"A": "1"}))
	if diff := cmp.Diff([]string{"1", "$(", "$", "a$b", "11", "x$y"}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A) $$ $(")
	f.Fuzz(func(t *testing.T, s string) {
		same := expand(s, func(string) (string, bool) { return "", false })
		if len(same) > len(s) {
			t.Errorf("%q grew to %q", s, same)
		}
	})
}
