package alb

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	restclient "k8s.io/client-go/rest"

	"github.com/alb-appliance/appliance/cloudsim"
)

var errDead = errors.New("the process is dead")

// fuse ends a controller as kill -9 would: the call on which it blows is carried out, but its answer never comes, and
// nothing that is called afterwards is. Calls of the cloud count, and writes to the API.
type fuse struct {
	mu    sync.Mutex
	when  func(call string) bool
	last  string // the call on which it blew
	blown chan struct{}
	blow  func() // tells of it
}

// newFuse makes one that blows on the first call that when is true of.
func newFuse(when func(call string) bool, blow func()) *fuse {
	return &fuse{when: when, blown: make(chan struct{}), blow: blow}
}

// nth is true of the n-th call.
func nth(n int) func(string) bool {
	return func(string) bool {
		n--
		return n == 0
	}
}

func (f *fuse) alive() error {
	select {
	case <-f.blown:
		return errDead
	default:
		return nil
	}
}

// called counts one call that was carried out.
func (f *fuse) called(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == "" && f.when(what) {
		f.last = what
		close(f.blown)
		f.blow()
	}
	return f.alive()
}

// transport is the controller's way to the API.
func (f *fuse) transport(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if err := f.alive(); err != nil {
			return nil, err
		}
		response, err := next.RoundTrip(r)
		if err != nil || r.Method == http.MethodGet || strings.HasSuffix(r.URL.Path, "/events") {
			return response, err
		}
		if err := f.called(r.Method + " " + r.URL.Path); err != nil {
			return nil, errors.Join(err, response.Body.Close())
		}
		return response, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (r roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// startFused runs a controller that a fuse ends.
func (c *cluster) startFused(t *testing.T, f *fuse) {
	t.Helper()
	c.on(func(string) error { return f.alive() }, f.called)
	options := c.options
	client := restclient.CopyConfig(options.Client)
	client.Wrap(f.transport)
	c.options.Client = client
	c.start(t)
	c.options = options
}

// restart is what follows a crash: the cloud is read from its tables again, and a new controller begins.
func (c *cluster) restart(t *testing.T) {
	t.Helper()
	c.stop()
	c.reopen(t)
	c.on(nil, nil)
	c.start(t)
}

// crash lets the controller work until the fuse blows, or until done is so, and tells what it blew on.
func (c *cluster) crash(t *testing.T, when func(call string) bool, what string, done func() bool) (on string) {
	t.Helper()
	f := newFuse(when, c.notify)
	c.startFused(t, f)
	c.await(t, what, func() bool { return f.alive() != nil || done() })
	c.restart(t)
	return f.last
}

// TestKilledAtEveryStep kills the controller after each call of the creation and of the deletion of an instance with
// its listeners, rules and groups. The next controller ends with exactly one instance, or none.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, delays := range []cloudsim.Delays{cloudsim.DelaysNone, cloudsim.DelaysReal} {
		t.Run("delays "+string(delays), func(t *testing.T) {
			t.Parallel()
			c := newClusterOf(t, delays)
			c.stop()
			if delays == cloudsim.DelaysReal {
				c.drive(t)
			}
			c.service(t, "web", "192.168.0.20")
			var steps []string
			for n := 1; ; n++ {
				created, deleted := c.killed(t, fmt.Sprint("alb-", n), nth(n), nth(n))
				steps = append(steps, created, deleted)
				if created == "" && deleted == "" {
					break
				}
			}
			// A run needs more calls when its informers come late, so that the last may have been passed over.
			for n, call := range []string{"CreateServerGroup", "CreateLoadBalancer", "CreateListener", "CreateRules", "/status", "/ingresses/", "DeleteLoadBalancer", "DeleteServerGroup", "PATCH"} {
				on := func(what string) bool { return strings.Contains(what, call) }
				if slices.ContainsFunc(steps, on) {
					continue
				}
				created, deleted := c.killed(t, fmt.Sprint("alb-on-", n), on, on)
				if created == "" && deleted == "" {
					t.Errorf("no controller was killed on %s:\n%s", call, strings.Join(steps, "\n"))
				}
			}
		})
	}
}

// killed makes an instance and deletes it, each with a death on the call told, and says which it was; "" when there was
// none.
func (c *cluster) killed(t *testing.T, name string, creating, deleting func(call string) bool) (created, deleted string) {
	t.Helper()
	c.class(t, name, name)
	c.ingress(t, name, name, "web", nil)
	c.albConfig(t, name, 80, 81)
	served := func() bool {
		u, err := c.configs.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		id, _, _ := unstructured.NestedString(u.Object, "status", "loadBalancer", "id")
		ing, err := c.api.NetworkingV1().Ingresses("default").Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return id != "" && id == c.only() && len(ing.Status.LoadBalancer.Ingress) == 1 && ing.Status.LoadBalancer.Ingress[0].Hostname == c.hostname(name)
	}
	created = c.crash(t, creating, name+" is made, or the controller dies", served)
	c.await(t, "made once, after a death on "+created, served)
	if i := c.inner.Inventory(); len(i.Listeners) != 2 || len(i.Rules) != 1 || len(i.ServerGroups) != 3 {
		t.Errorf("after a death on %s there are\n%s", created, c)
	}
	c.stop()

	if err := c.configs.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	gone := func() bool {
		_, err := c.configs.Get(t.Context(), name, metav1.GetOptions{})
		return apierrors.IsNotFound(err) && c.String() == ""
	}
	deleted = c.crash(t, deleting, name+" is deleted, or the controller dies", gone)
	c.await(t, "deleted, after a death on "+deleted, gone)
	c.stop()
	if err := c.api.NetworkingV1().Ingresses("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.api.NetworkingV1().IngressClasses().Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	return created, deleted
}

// only is the one instance there is; "" when there are none or several.
func (c *cluster) only() string {
	if list := c.inner.Inventory().LoadBalancers; len(list) == 1 {
		return list[0].LoadBalancerID
	}
	return ""
}

// drive moves the clock, so that the cloud's jobs take their time but the test does not.
func (c *cluster) drive(t *testing.T) {
	t.Helper()
	background(t, func(ctx context.Context) error {
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticker.C:
				c.clock.Advance(300 * time.Millisecond)
			}
		}
	})
}

// TestGoneWhileMade takes an AlbConfig away, in spite of its finalizer, while its instance is made: upstream's API does
// so when a deletion has read the object just before the finalizer came. Nothing may be left that nobody owns.
func TestGoneWhileMade(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	gone := make(chan error, 1)
	c.on(nil, func(call string) error {
		if call == "CreateLoadBalancer" {
			_, err := c.configs.Patch(t.Context(), "alb", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			gone <- errors.Join(err, c.configs.Delete(t.Context(), "alb", metav1.DeleteOptions{}))
		}
		return nil
	})
	c.albConfig(t, "alb", 80)
	if err := <-gone; err != nil {
		t.Fatal(err)
	}
	c.awaitEvent(t, "AlbConfig/alb Normal SuccessfullyReconciled") // it was made
	c.await(t, "nothing is left", func() bool { return c.String() == "" })
}
