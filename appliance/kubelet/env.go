package kubelet

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	kindConfigMap = "configmap"
	kindSecret    = "secret"
)

// surroundings are what a container's environment is made of besides its own spec.
type surroundings struct {
	pod      *corev1.Pod
	podIP    string
	hostIP   string
	capacity corev1.ResourceList // of the node: the limit of what has none
	services []*corev1.Service   // of all namespaces
	// data gives a ConfigMap's or Secret's data and version, or a missingError.
	data func(object) (map[string]string, string, error)
}

// environment makes a container's environment.
func (c *container) environment() (map[string]string, error) {
	services, err := c.pod.services.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	env, err := environment(c.spec, surroundings{
		pod: c.pod.object, podIP: c.pod.ip.String(), hostIP: c.pod.node.Address.String(),
		capacity: capacity(), services: services, data: c.pod.data(),
	})
	if err != nil {
		return nil, err
	}
	env["HOSTNAME"] = hostname(c.pod.object)
	return env, nil
}

func hostname(p *corev1.Pod) string {
	name := p.Name
	switch {
	case p.Spec.HostNetwork:
		name = p.Spec.NodeName
	case p.Spec.Hostname != "":
		name = p.Spec.Hostname
	}
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

// data reads ConfigMaps and Secrets, each once for one start.
func (p *pod) data() func(object) (map[string]string, string, error) {
	type answer struct {
		data    map[string]string
		version string
		err     error
	}
	known := map[object]answer{}
	return func(o object) (map[string]string, string, error) {
		a, ok := known[o]
		if !ok {
			a.data, a.version, a.err = p.read(p.ctx, o)
			known[o] = a
		}
		return a.data, a.version, a.err
	}
}

func (p *pod) read(ctx context.Context, o object) (map[string]string, string, error) {
	data, core := map[string]string{}, p.client.CoreV1()
	if o.kind == kindSecret {
		s, err := core.Secrets(p.name.Namespace).Get(ctx, o.name, metav1.GetOptions{})
		if err != nil {
			return nil, "", readError(o, err)
		}
		for k, v := range s.Data {
			data[k] = string(v)
		}
		return data, s.ResourceVersion, nil
	}
	m, err := core.ConfigMaps(p.name.Namespace).Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return nil, "", readError(o, err)
	}
	maps.Copy(data, m.Data)
	return data, m.ResourceVersion, nil
}

func readError(o object, err error) error {
	if apierrors.IsNotFound(err) {
		return notFound(o)
	}
	return err
}

// environment is the pure part: envFrom first, then env in order, then what Services give, where nothing else did.
func environment(c *corev1.Container, s surroundings) (map[string]string, error) {
	env := map[string]string{}
	for _, from := range c.EnvFrom {
		if err := s.addAll(env, from); err != nil {
			return nil, err
		}
	}
	service := serviceVariables(s.services, s.pod)
	lookup := func(name string) (string, bool) {
		if v, ok := env[name]; ok {
			return v, true
		}
		v, ok := service[name]
		return v, ok
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			env[e.Name] = expand(e.Value, lookup)
			continue
		}
		v, ok, err := s.value(e.ValueFrom, c)
		if err != nil {
			return nil, err
		}
		if ok {
			env[e.Name] = v
		}
	}
	for name, v := range service {
		if _, ok := env[name]; !ok {
			env[name] = v
		}
	}
	return env, nil
}

// addAll adds a whole ConfigMap or Secret.
func (s surroundings) addAll(env map[string]string, from corev1.EnvFromSource) error {
	var o object
	var optional *bool
	switch {
	case from.ConfigMapRef != nil:
		o, optional = object{kindConfigMap, from.ConfigMapRef.Name}, from.ConfigMapRef.Optional
	case from.SecretRef != nil:
		o, optional = object{kindSecret, from.SecretRef.Name}, from.SecretRef.Optional
	default:
		return nil
	}
	data, _, err := s.data(o)
	if err != nil {
		if isMissing(err) && isTrue(optional) {
			return nil
		}
		return err
	}
	for k, v := range data {
		env[from.Prefix+k] = v
	}
	return nil
}

// value gives one variable; false when it is optional and missing.
func (s surroundings) value(from *corev1.EnvVarSource, c *corev1.Container) (string, bool, error) {
	switch {
	case from.FieldRef != nil:
		v, err := s.field(from.FieldRef.FieldPath)
		return v, true, err
	case from.ResourceFieldRef != nil:
		v, err := s.resource(from.ResourceFieldRef, c)
		return v, true, err
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		return s.key(object{kindConfigMap, r.Name}, r.Key, r.Optional)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		return s.key(object{kindSecret, r.Name}, r.Key, r.Optional)
	default:
		return "", false, fmt.Errorf("the source of an environment variable is not supported: %s", from.String())
	}
}

func (s surroundings) key(o object, key string, optional *bool) (string, bool, error) {
	data, version, err := s.data(o)
	if err == nil {
		if v, ok := data[key]; ok {
			return v, true, nil
		}
		kinds := map[string]string{kindConfigMap: "ConfigMap", kindSecret: "Secret"}
		err = &missingError{object: o, version: version, message: fmt.Sprintf("couldn't find key %s in %s %s/%s", key, kinds[o.kind], s.pod.Namespace, o.name)}
	}
	if isMissing(err) && isTrue(optional) {
		return "", false, nil
	}
	return "", false, err
}

func isMissing(err error) bool {
	_, ok := err.(*missingError)
	return ok
}

// field is the downward API.
func (s surroundings) field(path string) (string, error) {
	if name, ok := subscript(path, "metadata.labels"); ok {
		return s.pod.Labels[name], nil
	}
	if name, ok := subscript(path, "metadata.annotations"); ok {
		return s.pod.Annotations[name], nil
	}
	switch path {
	case "metadata.name":
		return s.pod.Name, nil
	case "metadata.namespace":
		return s.pod.Namespace, nil
	case "metadata.uid":
		return string(s.pod.UID), nil
	case "spec.nodeName":
		return s.pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return s.pod.Spec.ServiceAccountName, nil
	case "status.podIP", "status.podIPs":
		return s.podIP, nil
	case "status.hostIP", "status.hostIPs":
		return s.hostIP, nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %s", path)
}

// subscript gives x of path['x'].
func subscript(path, of string) (string, bool) {
	rest, ok := strings.CutPrefix(path, of+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}

// resource gives a request or limit, rounded up to the divisor; what has no limit has the node's capacity.
func (s surroundings) resource(r *corev1.ResourceFieldSelector, self *corev1.Container) (string, error) {
	c := self
	if r.ContainerName != "" && r.ContainerName != self.Name {
		all := slices.Concat(s.pod.Spec.InitContainers, s.pod.Spec.Containers)
		i := slices.IndexFunc(all, func(c corev1.Container) bool { return c.Name == r.ContainerName })
		if i < 0 {
			return "", fmt.Errorf("container %s not found", r.ContainerName)
		}
		c = &all[i]
	}
	list, name, ok := c.Resources.Limits, "", false
	if name, ok = strings.CutPrefix(r.Resource, "limits."); !ok {
		if name, ok = strings.CutPrefix(r.Resource, "requests."); !ok {
			return "", fmt.Errorf("unsupported container resource : %v", r.Resource)
		}
		list = c.Resources.Requests
	}
	quantity, set := list[corev1.ResourceName(name)]
	if !set && strings.HasPrefix(r.Resource, "limits.") {
		quantity = s.capacity[corev1.ResourceName(name)]
	}
	value, divisor := quantity.Value(), r.Divisor.Value()
	if name == string(corev1.ResourceCPU) {
		value, divisor = quantity.MilliValue(), r.Divisor.MilliValue()
		if r.Divisor.IsZero() {
			divisor = 1000
		}
	}
	divisor = max(divisor, 1)
	return strconv.FormatInt((value+divisor-1)/divisor, 10), nil
}

// serviceVariables are what a pod is told of Services: those of its namespace when it wants them, and the API's always.
func serviceVariables(services []*corev1.Service, p *corev1.Pod) map[string]string {
	env := map[string]string{}
	for _, s := range services {
		ip := s.Spec.ClusterIP
		if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
			continue
		}
		isAPI := s.Namespace == metav1.NamespaceDefault && s.Name == "kubernetes"
		if !isAPI && (s.Namespace != p.Namespace || p.Spec.EnableServiceLinks != nil && !*p.Spec.EnableServiceLinks) {
			continue
		}
		addServiceVariables(env, s)
	}
	return env
}

func addServiceVariables(env map[string]string, s *corev1.Service) {
	upper := func(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }
	name, ip := upper(s.Name), s.Spec.ClusterIP
	env[name+"_SERVICE_HOST"] = ip
	env[name+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		port, protocol := strconv.Itoa(int(p.Port)), strings.ToLower(string(p.Protocol))
		if protocol == "" {
			protocol = "tcp"
		}
		if p.Name != "" {
			env[name+"_SERVICE_PORT_"+upper(p.Name)] = port
		}
		url := protocol + "://" + net.JoinHostPort(ip, port)
		if i == 0 {
			env[name+"_PORT"] = url
		}
		prefix := name + "_PORT_" + port + "_" + strings.ToUpper(protocol)
		env[prefix], env[prefix+"_PROTO"], env[prefix+"_PORT"], env[prefix+"_ADDR"] = url, protocol, port, ip
	}
}
