package kubelet

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// volumesReady says whether the ConfigMaps and Secrets that the pod mounts exist; those that do not are waited for.
func (p *pod) volumesReady() bool {
	if p.ranBefore() {
		return true
	}
	data := p.data()
	for _, v := range p.object.Spec.Volumes {
		o, optional := volumeObject(v)
		if o.name == "" || isTrue(optional) {
			continue
		}
		if _, _, err := data(o); err != nil {
			p.volumeMissing(v.Name, err)
			return false
		}
	}
	return true
}

// ranBefore says whether a container was started already: volumes are set up before the first one.
func (p *pod) ranBefore() bool {
	for _, c := range p.containers {
		if c.state != waiting || c.execution != nil {
			return true
		}
	}
	return false
}

func volumeObject(v corev1.Volume) (object, *bool) {
	switch {
	case v.ConfigMap != nil:
		return object{kindConfigMap, v.ConfigMap.Name}, v.ConfigMap.Optional
	case v.Secret != nil:
		return object{kindSecret, v.Secret.SecretName}, v.Secret.Optional
	default:
		return object{}, nil
	}
}

func (p *pod) volumeMissing(volume string, err error) {
	var missing *missingError
	if errors.As(err, &missing) {
		p.await(missing.object, missing.version)
	} else {
		p.wakeAfter(firstBackoff)
	}
	message := fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", volume, err)
	if !p.told[message] {
		p.told[message] = true
		p.tell(corev1.EventTypeWarning, "FailedMount", message)
	}
}

func (p *pod) isEmptyDir(volume string) bool {
	for _, v := range p.object.Spec.Volumes {
		if v.Name == volume {
			return v.EmptyDir != nil
		}
	}
	return false
}
