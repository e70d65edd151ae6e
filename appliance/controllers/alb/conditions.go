package alb

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/alb-appliance/appliance/cloudsim"
)

// conditionsOf turns a host and a path into the conditions of a rule (ALB-FACTS 3.3).
func conditionsOf(host string, path networkingv1.HTTPIngressPath) ([]cloudsim.Condition, error) {
	var conditions []cloudsim.Condition
	if host != "" {
		conditions = append(conditions, cloudsim.Condition{Type: cloudsim.ConditionHost, Values: []string{host}})
	}
	values, err := pathValues(path)
	if err != nil {
		return nil, err
	}
	if len(values) > 0 {
		conditions = append(conditions, cloudsim.Condition{Type: cloudsim.ConditionPath, Values: values})
	}
	if len(conditions) == 0 {
		conditions = append(conditions, cloudsim.Condition{Type: cloudsim.ConditionPath, Values: []string{"/*"}})
	}
	return conditions, nil
}

// pathValues are the patterns of a path condition; none means no condition.
func pathValues(path networkingv1.HTTPIngressPath) ([]string, error) {
	if path.Path == "" {
		return nil, nil
	}
	kind := networkingv1.PathTypeImplementationSpecific
	if path.PathType != nil {
		kind = *path.PathType
	}
	wild := strings.ContainsAny(path.Path, "*?")
	switch kind {
	case networkingv1.PathTypeExact:
		if wild {
			return nil, fmt.Errorf("exact path shouldn't contain wildcards: %s", path.Path)
		}
		return []string{path.Path}, nil
	case networkingv1.PathTypePrefix:
		if wild {
			return nil, fmt.Errorf("prefix path shouldn't contain wildcards: %s", path.Path)
		}
		if path.Path == "/" {
			return []string{"/*"}, nil
		}
		trimmed := strings.TrimSuffix(path.Path, "/")
		return []string{trimmed, trimmed + "/*"}, nil
	case networkingv1.PathTypeImplementationSpecific:
		return []string{path.Path}, nil
	default:
		return nil, fmt.Errorf("unsupported pathType: %s", kind)
	}
}
