package alb

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	albv1 "github.com/alb-appliance/appliance/appliance/apis/alibabacloud/v1"
)

// note is something about an AlbConfig that stops nothing.
type note struct{ reason, message string }

// notes says what of an AlbConfig has no effect: on the instance it has, or in this version of the appliance.
func notes(config *albv1.AlbConfig, without []string) []note {
	var all []note
	for _, message := range without {
		all = append(all, note{reasonNoEffect, message})
	}
	for _, l := range config.Spec.Listeners {
		at := fmt.Sprintf("listener %s/%s", l.Port.String(), l.Protocol)
		if l.CAEnabled {
			all = append(all, note{reasonNotSimulated, at + ": caEnabled has no effect in this version of the appliance: clients are not asked for certificates"})
		}
		if c := l.DefaultCertificate; c != nil && c.Kind != albv1.KindCertIdentifier {
			all = append(all, note{reasonNotSimulated, fmt.Sprintf("%s: defaultCertificate of kind %q has no effect in this version of the appliance; it takes kind %s", at, c.Kind, albv1.KindCertIdentifier)})
		}
	}
	return all
}

// tellNotes writes them, once each time they change.
func (c *Controller) tellNotes(object *unstructured.Unstructured, all []note) {
	var text strings.Builder
	for _, n := range all {
		fmt.Fprintln(&text, n)
	}
	if !c.told.news(toldNotes(object), text.String()) {
		return
	}
	for _, n := range all {
		c.events.Event(object, corev1.EventTypeWarning, n.reason, n.message)
	}
}
