package nginx

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
)

// Prefix begins the names of the controller's annotations.
const Prefix = "nginx.ingress.kubernetes.io/"

// Defaults of a location (NGINX-FACTS 1).
const (
	defaultConnect  = 5 * time.Second
	defaultRead     = 60 * time.Second
	defaultSend     = 60 * time.Second
	defaultBodySize = 1 << 20
)

// settings are the annotations of one Ingress, read.
type settings struct {
	connect, read, send time.Duration
	bodySize            int64 // 0: no limit
	sslRedirect         bool
	forceSSLRedirect    bool
	useRegex            bool
	rewriteTarget       string
	https               bool // protocol to the pods
}

// readers are the annotations that are acted upon: how each is read into settings. A value that does not validate leaves
// the whole Ingress out (NGINX-FACTS 7).
var readers = map[string]func(*settings, string) error{
	"proxy-connect-timeout": func(s *settings, v string) error { return seconds(v, &s.connect) },
	"proxy-read-timeout":    func(s *settings, v string) error { return seconds(v, &s.read) },
	"proxy-send-timeout":    func(s *settings, v string) error { return seconds(v, &s.send) },
	"proxy-body-size":       func(s *settings, v string) error { return size(v, &s.bodySize) },
	"ssl-redirect":          func(s *settings, v string) error { return boolean(v, &s.sslRedirect) },
	"force-ssl-redirect":    func(s *settings, v string) error { return boolean(v, &s.forceSSLRedirect) },
	"use-regex":             func(s *settings, v string) error { return boolean(v, &s.useRegex) },
	"rewrite-target":        func(s *settings, v string) error { return target(v, &s.rewriteTarget) },
	"backend-protocol":      func(s *settings, v string) error { return protocol(v, &s.https) },
}

// readSettings reads the annotations of an Ingress; the error names the one that does not validate, in the webhook's words.
func readSettings(ing *networkingv1.Ingress) (settings, error) {
	s := settings{connect: defaultConnect, read: defaultRead, send: defaultSend, bodySize: defaultBodySize, sslRedirect: true}
	for _, name := range slices.Sorted(maps.Keys(ing.Annotations)) {
		read, ok := readers[strings.TrimPrefix(name, Prefix)]
		value := strings.TrimSpace(ing.Annotations[name])
		if !ok || !strings.HasPrefix(name, Prefix) || value == "" {
			continue
		}
		if err := read(&s, value); err != nil {
			return s, fmt.Errorf("annotation %s contains invalid value", name)
		}
	}
	return s, nil
}

// Unsupported tells which of the controller's annotations on an Ingress, or which values of them, have no effect here.
func Unsupported(ing *networkingv1.Ingress) []string {
	var texts []string
	for _, name := range slices.Sorted(maps.Keys(ing.Annotations)) {
		short, ours := strings.CutPrefix(name, Prefix)
		switch value := strings.ToUpper(strings.TrimSpace(ing.Annotations[name])); {
		case !ours:
		case readers[short] == nil:
			texts = append(texts, fmt.Sprintf("annotation %s has no effect in this version of the appliance", name))
		case short == "backend-protocol" && slices.Contains(plainProtocols, value):
			texts = append(texts, fmt.Sprintf("annotation %s: %s is not spoken by this version of the appliance, pods get HTTP", name, value))
		}
	}
	return texts
}

// seconds takes plain integers: "60s" does not validate (NGINX-FACTS 1).
func seconds(v string, into *time.Duration) error {
	n, err := strconv.ParseUint(v, 10, 31)
	*into = time.Duration(n) * time.Second
	return err
}

// size takes a number with an optional b, k, m or g; 0 means no limit.
func size(v string, into *int64) error {
	units := map[byte]int64{'b': 1, 'k': 1 << 10, 'm': 1 << 20, 'g': 1 << 30}
	unit, number := int64(1), v
	if u, ok := units[v[len(v)-1]|0x20]; ok {
		unit, number = u, v[:len(v)-1]
	}
	n, err := strconv.ParseUint(number, 10, 32)
	*into = int64(n) * unit
	return err
}

func boolean(v string, into *bool) (err error) {
	*into, err = strconv.ParseBool(v)
	return err
}

func target(v string, into *string) error {
	if strings.ContainsAny(v, "\r\n;{} ") {
		return strconv.ErrSyntax
	}
	*into = v
	return nil
}

// plainProtocols validate, and are HTTP here: Unsupported says so.
var plainProtocols = []string{"AUTO_HTTP", "GRPC", "GRPCS", "FCGI"}

// protocol takes the values that validate (NGINX-FACTS 11).
func protocol(v string, into *bool) error {
	v = strings.ToUpper(v)
	*into = v == "HTTPS"
	if v != "HTTP" && v != "HTTPS" && !slices.Contains(plainProtocols, v) {
		return strconv.ErrSyntax
	}
	return nil
}
