package appliance

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// controlPlane is where pods find the API. The range is that of Alibaba Cloud's own services, so no vSwitch has it.
var controlPlane = netip.MustParseAddrPort("100.64.0.10:6443")

const nameKubernetes = "kubernetes"

// bootKubernetes makes the Service through which pods reach the API, with its endpoint, when they are missing, and leads
// that endpoint to the API's socket.
func (a *Appliance) bootKubernetes(ctx context.Context) error {
	a.network.Place(controlPlane, reachable(a.listener.Addr().String()))
	client, err := kubernetes.NewForConfig(a.api.Loopback())
	if err != nil {
		return fmt.Errorf("make client for Service kubernetes: %w", err)
	}
	services := client.CoreV1().Services(metav1.NamespaceDefault)
	if _, err := services.Get(ctx, nameKubernetes, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return err
	}
	_, slice := client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Create(ctx, kubernetesSlice(), metav1.CreateOptions{})
	_, endpoints := client.CoreV1().Endpoints(metav1.NamespaceDefault).Create(ctx, kubernetesEndpoints(), metav1.CreateOptions{})
	_, err = services.Create(ctx, kubernetesService(), metav1.CreateOptions{}) // last: when it is there, all of it is
	for _, err := range []error{slice, endpoints} {
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make endpoints of Service kubernetes: %w", err)
		}
	}
	if apierrors.IsInvalid(err) { // an older cluster gave the address to another Service
		a.logger("bootstrap").Warn("Service kubernetes is not made; pods do not find the API", "err", err)
		return nil
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make Service kubernetes: %w", err)
	}
	return nil
}

func kubernetesMeta(labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: nameKubernetes, Namespace: metav1.NamespaceDefault, Labels: labels}
}

func kubernetesService() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: kubernetesMeta(map[string]string{"component": "apiserver", "provider": "kubernetes"}),
		Spec: corev1.ServiceSpec{
			ClusterIP: serviceRange.Addr().Next().String(),
			Ports:     []corev1.ServicePort{{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(int32(controlPlane.Port()))}},
		},
	}
}

// kubernetesEndpoints is the older form, which clients still read.
//
//lint:ignore SA1019 upstream writes it as well
func kubernetesEndpoints() *corev1.Endpoints {
	//lint:ignore SA1019 as above
	return &corev1.Endpoints{
		ObjectMeta: kubernetesMeta(map[string]string{discoveryv1.LabelSkipMirror: "true"}),
		//lint:ignore SA1019 as above
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: controlPlane.Addr().String()}},
			Ports:     []corev1.EndpointPort{{Name: "https", Port: int32(controlPlane.Port()), Protocol: corev1.ProtocolTCP}},
		}},
	}
}

func kubernetesSlice() *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  kubernetesMeta(map[string]string{discoveryv1.LabelServiceName: nameKubernetes}),
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{controlPlane.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(controlPlane.Port())), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
}
