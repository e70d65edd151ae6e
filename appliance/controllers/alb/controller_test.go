package alb

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/alb-appliance/appliance/cloudsim"
)

func hostRule(name string) string { return "[{Host [" + name + ".example.com]}" }

// TestControllerWay goes from an AlbConfig to traffic rules and back to nothing.
func TestControllerWay(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.albConfig(t, "alb", 80)
	c.class(t, "alb", "alb")
	c.service(t, "web", "192.168.0.20")
	c.ingress(t, "shop", "alb", "web", nil)
	c.awaitHostname(t, "shop", "alb")
	c.awaitEvent(t, "Ingress/shop Normal Sync Scheduled for sync")
	c.awaitEvent(t, "Ingress/shop Normal SuccessfullyReconciled Successfully reconciled")
	c.awaitEvent(t, "AlbConfig/alb Normal SuccessfullyReconciled")
	status := func() string {
		u, err := c.configs.Get(t.Context(), "alb", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(u.GetFinalizers(), u.Object["status"])
	}
	lb := c.inner.Inventory().LoadBalancers[0]
	want := func(listeners string) func() bool {
		return func() bool {
			return status() == fmt.Sprintf("[%s] map[loadBalancer:map[dnsname:%s id:%s listeners:[%s]]]", finalizer, lb.DNSName, lb.LoadBalancerID, listeners)
		}
	}
	c.await(t, "status", want("map[portAndProtocol:80/HTTP]"))

	// Pods and Services change.
	if _, err := c.api.DiscoveryV1().EndpointSlices("default").Update(t.Context(), sliceOf("web", []string{"192.168.0.21", "192.168.0.22"}), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.awaitCloud(t, "web:80 [192.168.0.21:80 192.168.0.22:80]")
	if err := c.api.CoreV1().Services("default").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.awaitEvent(t, `Ingress/shop Warning FailedBuildModel backend not found: services "web" not found`)
	if !strings.Contains(c.String(), hostRule("shop")) {
		t.Error("what was published did not stay")
	}
	if err := c.api.DiscoveryV1().EndpointSlices("default").Delete(t.Context(), "web-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.service(t, "web", "192.168.0.23")
	c.awaitCloud(t, "web:80 [192.168.0.23:80]")

	// The Ingress goes, then the last listener.
	if err := c.api.NetworkingV1().Ingresses("default").Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "rule and group gone", func() bool { return !strings.Contains(c.String(), "shop") })
	c.patchConfig(t, "alb", `{"spec":{"listeners":null}}`)
	c.await(t, "no listener in the status", want(""))

	// So does the AlbConfig.
	if err := c.configs.Delete(t.Context(), "alb", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "AlbConfig gone", func() bool {
		_, err := c.configs.Get(t.Context(), "alb", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if left := c.String(); left != "" {
		t.Errorf("left in the cloud: %s", left)
	}
	c.stop()
	if n := len(c.controller.told.last); n != 0 {
		t.Errorf("%d things are remembered of objects that are gone: %v", n, c.controller.told.last)
	}
}

// TestControllerOrderOfArrival makes every object after those that need it, and restarts in between: an Event says what
// is missing only where something is.
func TestControllerOrderOfArrival(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.service(t, "web", "192.168.0.20")
	c.ingress(t, "new", "alb", "web", nil)
	c.ingress(t, "legacy", "", "web", map[string]string{annotationClass: "alb"})
	c.ingress(t, "named", "bare", "web", map[string]string{annotationAlbConfig: "alb"})
	c.ingress(t, "lost", "bare", "web", nil)
	c.class(t, "bare", "")
	c.awaitEvent(t, "Ingress/lost Warning FailedBuildModel albconfig must be referenced in IngressClass bare x1")
	c.class(t, "alb", "alb")
	for _, name := range []string{"new", "legacy", "named"} {
		c.awaitEvent(t, "Ingress/"+name+` Warning FailedBuildModel albconfigs.alibabacloud.com "alb" not found x1`)
	}
	c.albConfig(t, "alb", 80)
	for _, name := range []string{"new", "legacy", "named"} {
		c.awaitHostname(t, name, "alb")
	}
	c.stop()
	c.start(t)
	c.ingress(t, "after", "alb", "web", nil)
	c.awaitHostname(t, "after", "alb")
	if n := strings.Count(c.eventText(t), "not found x1\n"); n != 3 {
		t.Errorf("after a restart there are %d Events that the AlbConfig is missing, want 3:\n%s", n, c.eventText(t))
	}

	// Deleted under its Ingresses: they are told, and served again by the next one of that name.
	if err := c.configs.Delete(t.Context(), "alb", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.awaitEvent(t, `Ingress/after Warning FailedBuildModel albconfigs.alibabacloud.com "alb" not found x1`)
	if left := c.String(); left != "" {
		t.Errorf("left in the cloud: %s", left)
	}
	c.albConfig(t, "alb", 80)
	c.awaitHostname(t, "after", "alb")

	// Without its class an Ingress is nobody's.
	if err := c.api.NetworkingV1().IngressClasses().Delete(t.Context(), "alb", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "only the one of the other class is left", func() bool {
		return !strings.Contains(c.String(), hostRule("after")) && strings.Contains(c.String(), hostRule("named"))
	})
}

func TestControllerIngressMoves(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.service(t, "web", "192.168.0.20")
	for _, name := range []string{"one", "two"} {
		c.albConfig(t, name, 80)
		c.class(t, name, name)
	}
	c.ingress(t, "shop", "one", "web", nil)
	c.awaitHostname(t, "shop", "one")
	for _, to := range []string{"two", "one", "two"} {
		c.patchIngress(t, "shop", `{"spec":{"ingressClassName":"`+to+`"}}`)
		c.awaitHostname(t, "shop", to)
		c.await(t, "one rule", func() bool { return strings.Count(c.String(), hostRule("shop")) == 1 })
	}
}

// TestControllerSharedFate wants every new member of a group that cannot be built, and every new attempt at it, told.
func TestControllerSharedFate(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.albConfig(t, "alb", 80)
	c.class(t, "alb", "alb")
	c.service(t, "web", "192.168.0.20")
	c.ingress(t, "good", "alb", "web", nil)
	c.awaitHostname(t, "good", "alb")
	c.ingress(t, "bad", "alb", "missing", nil)
	c.awaitEvent(t, `Ingress/bad Warning FailedBuildModel backend not found: services "missing" not found x1`)
	c.awaitEvent(t, `AlbConfig/alb Warning FailedBuildModel backend not found: services "missing" not found x1`)
	c.patchIngress(t, "bad", `{"spec":{"rules":[{"host":"bad2.example.com","http":{"paths":[{"path":"/","pathType":"Prefix","backend":{"service":{"name":"missing","port":{"number":80}}}}]}}]}}`)
	c.awaitEvent(t, `Ingress/bad Warning FailedBuildModel backend not found: services "missing" not found x2`)
	if err := c.api.NetworkingV1().Ingresses("default").Delete(t.Context(), "bad", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	// A problem of the AlbConfig is everybody's, and a late comer's too; so is a path that the cloud refuses.
	c.patchConfig(t, "alb", `{"spec":{"config":{"addressType":"Public"}}}`)
	c.awaitEvent(t, "Ingress/good Warning FailedBuildModel invalid load balancer address type: Public")
	c.ingress(t, "late", "alb", "web", nil)
	c.awaitEvent(t, "Ingress/late Warning FailedBuildModel invalid load balancer address type: Public")
	c.patchConfig(t, "alb", `{"spec":"text"}`)
	c.awaitEvent(t, "AlbConfig/alb Warning FailedBuildModel unmarshalling albconfig error: json: cannot unmarshal")
	c.awaitEvent(t, "Ingress/late Warning FailedBuildModel unmarshalling albconfig error")

	// What cannot be read can be deleted.
	if err := c.configs.Delete(t.Context(), "alb", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "AlbConfig gone", func() bool {
		_, err := c.configs.Get(t.Context(), "alb", metav1.GetOptions{})
		return apierrors.IsNotFound(err) && c.String() == ""
	})
}

// TestControllerBackoff fails the cloud: attempts come 5 and 10 seconds later by the clock, and at once when the user
// changes something.
func TestControllerBackoff(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	attempts := make(chan struct{}, 100)
	c.on(func(call string) error {
		if call == "CreateLoadBalancer" {
			attempts <- struct{}{}
			return &cloudsim.Error{Code: "SystemBusy", Message: "Busy.", Status: 503, RequestID: fmt.Sprint(len(attempts))}
		}
		return nil
	}, nil)
	c.albConfig(t, "alb", 80)
	<-attempts
	c.awaitEvent(t, "AlbConfig/alb Warning FailedApplyModel code: 503, Busy. request id: ")
	for _, wait := range []time.Duration{5 * time.Second, 10 * time.Second} {
		if err := c.clock.BlockUntilContext(t.Context(), 3); err != nil { // heartbeat of the queue, resync, the retry
			t.Fatal(err)
		}
		c.clock.Advance(wait)
		<-attempts
	}
	if n := strings.Count(c.eventText(t), "FailedApplyModel"); n != 1 {
		t.Errorf("the same refusal was told %d times:\n%s", n, c.eventText(t))
	}
	c.on(nil, nil)
	c.patchConfig(t, "alb", `{"spec":{"config":{"name":"mended"}}}`)
	c.awaitCloud(t, "load balancer mended") // though the clock stands still
}

// TestControllerConflict has the user write while we do: no Event blames anybody, and the next look does it.
func TestControllerConflict(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.class(t, "alb", "alb")
	c.service(t, "web", "192.168.0.20")
	c.albConfig(t, "alb", 80)
	c.awaitEvent(t, "AlbConfig/alb Normal SuccessfullyReconciled")
	once := sync.OnceFunc(func() { c.patchIngress(t, "shop", `{"metadata":{"labels":{"a":"b"}}}`) })
	c.on(nil, func(call string) error {
		if call == "CreateRules" {
			once()
		}
		return nil
	})
	c.ingress(t, "shop", "alb", "web", nil)
	c.awaitCloud(t, hostRule("shop"))
	c.await(t, "the status is written in the end", func() bool {
		ing, err := c.api.NetworkingV1().Ingresses("default").Get(t.Context(), "shop", metav1.GetOptions{})
		return err == nil && len(ing.Status.LoadBalancer.Ingress) == 1
	})
	if text := c.eventText(t); strings.Contains(text, "modified") {
		t.Errorf("a conflict was told:\n%s", text)
	}
}

// TestControllerResync changes the cloud behind the controller's back and lets an hour go by.
func TestControllerResync(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.albConfig(t, "alb", 80)
	c.awaitEvent(t, "AlbConfig/alb Normal SuccessfullyReconciled")
	lb := c.inner.Inventory().LoadBalancers[0].LoadBalancerID
	c.await(t, "the controller knows its instance", func() bool {
		object, err := c.controller.listers.albConfig("alb")
		return err == nil && c.controller.deployer(object).known == lb
	})
	if err := c.inner.UpdateLoadBalancerAttribute(t.Context(), lb, "by-hand"); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(resyncPeriod)
	c.awaitCloud(t, "load balancer alb ")

	if err := c.inner.DeleteLoadBalancer(t.Context(), lb); err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(resyncPeriod)
	c.awaitEvent(t, "AlbConfig/alb Warning FailedApplyModel ALB loadBalancer : "+lb+" has been deleted on the console , please delete related albconfig first")
	if err := c.configs.Delete(t.Context(), "alb", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "all gone", func() bool {
		_, err := c.configs.Get(t.Context(), "alb", metav1.GetOptions{})
		return apierrors.IsNotFound(err) && c.String() == ""
	})
}

// TestControllerKeepsOthersFinalizers adds its own beside those of others.
func TestControllerKeepsOthersFinalizers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.albConfig(t, "alb", 80)
	finalizers := func() []string {
		u, err := c.configs.Get(t.Context(), "alb", metav1.GetOptions{})
		if err != nil {
			u = &unstructured.Unstructured{Object: map[string]any{}}
		}
		return u.GetFinalizers()
	}
	c.await(t, "ours", func() bool { return slices.Equal(finalizers(), []string{finalizer}) })
	c.patchConfig(t, "alb", `{"metadata":{"finalizers":["example.com/other"]}}`)
	c.await(t, "both", func() bool { return slices.Equal(finalizers(), []string{"example.com/other", finalizer}) })
	if err := c.configs.Delete(t.Context(), "alb", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.await(t, "the other one, and an empty cloud", func() bool {
		return slices.Equal(finalizers(), []string{"example.com/other"}) && c.String() == ""
	})
}
