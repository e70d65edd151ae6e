package appliance

import (
	"cmp"
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// cluster is what is known of the cluster itself.
type cluster struct {
	id, vpcID string
	// addons are what the user chose for each add-on; one that is missing was never installed.
	addons map[string]string
}

// Where ACK keeps what a cluster is; which add-ons are installed is kept there too, so that what the user removed does
// not come back with a restart.
const (
	profileNamespace = "kube-system"
	profileName      = "ack-cluster-profile"
	profileID        = "clusterid"
	profileVPC       = "vpcid"
)

// profile changes the cluster's profile, making it if there is none, and gives what it says then.
func (a *Appliance) profile(ctx context.Context, change func(data map[string]string)) (cluster, error) {
	client, err := kubernetes.NewForConfig(a.api.Loopback())
	if err != nil {
		return cluster{}, fmt.Errorf("make client of the cluster's profile: %w", err)
	}
	profiles := client.CoreV1().ConfigMaps(profileNamespace)
	profile, err := profiles.Get(ctx, profileName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		profile, err = profiles.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: profileName, Namespace: profileNamespace},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		return cluster{}, fmt.Errorf("read the cluster's profile: %w", err)
	}
	before := maps.Clone(profile.Data)
	if profile.Data == nil {
		profile.Data = map[string]string{}
	}
	profile.Data[profileID] = cmp.Or(profile.Data[profileID], knownClusterID(a.cloud.Inventory()), newClusterID())
	profile.Data[profileVPC] = cmp.Or(profile.Data[profileVPC], a.cloud.Inventory().VPCs[0].VPCID)
	change(profile.Data)
	if !maps.Equal(before, profile.Data) {
		if profile, err = profiles.Update(ctx, profile, metav1.UpdateOptions{}); err != nil {
			return cluster{}, fmt.Errorf("write the cluster's profile: %w", err)
		}
	}
	return cluster{id: profile.Data[profileID], vpcID: profile.Data[profileVPC], addons: profile.Data}, nil
}
