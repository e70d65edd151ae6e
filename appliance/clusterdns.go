package appliance

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// clusterDNS is the tenth address of the service range, as on ACK.
var clusterDNS = func() netip.Addr {
	address := serviceRange.Addr()
	for range 10 {
		address = address.Next()
	}
	return address
}()

// profileDNS is where the profile says that the Service was made, so that it does not come back when the user deletes it.
const profileDNS = "coredns"

// bootDNS makes the Service that pods' /etc/resolv.conf names, once. It has no pods: the nodes answer their pods themselves.
func (a *Appliance) bootDNS(ctx context.Context) error {
	c, err := a.profile(ctx, func(map[string]string) {})
	if err != nil || c.addons[profileDNS] != "" {
		return err
	}
	client, err := kubernetes.NewForConfig(a.api.Loopback())
	if err != nil {
		return fmt.Errorf("make client for kube-dns: %w", err)
	}
	_, err = client.CoreV1().Services(profileNamespace).Create(ctx, dnsService(), metav1.CreateOptions{})
	switch {
	case apierrors.IsInvalid(err): // an older cluster gave the address to another Service
		a.logger("bootstrap").Warn("Service kube-dns is not made; pods resolve names all the same", "err", err)
	case err != nil && !apierrors.IsAlreadyExists(err):
		return fmt.Errorf("make Service kube-dns: %w", err)
	}
	_, err = a.profile(ctx, func(data map[string]string) { data[profileDNS] = addonInstalled })
	return err
}

func dnsService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: "kube-dns", Namespace: profileNamespace,
			Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
			Annotations: map[string]string{
				"kubernetes.io/description": "No pods are behind this Service: the simulated nodes answer what their pods ask.",
			},
		},
		Spec: corev1.ServiceSpec{ClusterIP: clusterDNS.String(), Ports: []corev1.ServicePort{
			{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(53)},
			{Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(53)},
		}},
	}
}
