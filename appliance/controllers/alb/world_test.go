package alb

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/state/sqlite"
)

// patience bounds what tests wait for.
const patience = 30 * time.Second

// world is a cloud in memory, seen through a wrapper that counts and fails calls, and a clock that stands still.
type world struct {
	*watched
	inner *cloudsim.Cloud
	clock *clockwork.FakeClock
	vpcID string
	pause func() // jobs stay unfinished until resume

	db      *sqlite.DB
	options cloudsim.Options
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, cloudsim.DelaysNone)
}

func newWorldOf(t *testing.T, delays cloudsim.Delays) *world {
	t.Helper()
	clock := clockwork.NewFakeClock()
	db, err := sqlite.Open("", cloudsim.Migrations(), sqlite.Options{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	options := cloudsim.Options{
		Region: "cn-wulanchabu", Clock: clock, Delays: delays, Addresses: netip.MustParsePrefix("127.77.0.0/24"),
		Logger: slog.New(slog.DiscardHandler),
	}
	c, err := cloudsim.Open(t.Context(), db, options)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{watched: &watched{Cloud: c}, inner: c, clock: clock, vpcID: c.Inventory().VPCs[0].VPCID, db: db, options: options}
	w.resume(t)
	t.Cleanup(func() {
		w.pause()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) resume(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.inner.Run(ctx) }()
	w.pause = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// reopen reads the cloud from its tables, as after a crash.
func (w *world) reopen(t *testing.T) {
	t.Helper()
	w.pause()
	again, err := cloudsim.Open(t.Context(), w.db, w.options)
	if err != nil {
		t.Fatal(err)
	}
	w.inner, w.watched.Cloud = again, again
	w.resume(t)
}

func (w *world) vSwitches() []string {
	var ids []string
	for _, v := range w.inner.Inventory().VSwitches[:2] {
		ids = append(ids, v.VSwitchID)
	}
	return ids
}

// String is the cloud as a text that can be compared with that of a Model.
func (w *world) String() string {
	i := w.inner.Inventory()
	groups := map[string]string{}
	var b strings.Builder
	for _, lb := range i.LoadBalancers {
		fmt.Fprintf(&b, "load balancer %s %s %s\n", lb.Name, lb.AddressType, lb.Edition)
	}
	for _, g := range i.ServerGroups {
		k, _ := keyOf(g.Tags)
		groups[g.ServerGroupID] = fmt.Sprintf("%+v", k)
	}
	var listeners []string
	for _, l := range i.Listeners {
		text := fmt.Sprintf("listener %s:%d idle %d default %s%s\n", l.Protocol, l.Port, l.IdleTimeout, groups[l.DefaultServerGroupID], w.tlsText(l))
		for _, r := range i.RulesOf(l.ListenerID) {
			text += fmt.Sprintf("  rule %d %s %v -> %s %v\n", r.Priority, r.Name, r.Conditions, targetText(r.Actions[0], groups), r.Tags)
		}
		listeners = append(listeners, text)
	}
	var servers []string
	for _, g := range i.ServerGroups {
		var members []string
		for _, s := range g.Servers {
			if s.Status != cloudsim.StatusRemoving {
				members = append(members, fmt.Sprintf("%s:%d", s.ServerIP, s.Port))
			}
		}
		slices.Sort(members)
		servers = append(servers, fmt.Sprintf("group %s %v\n", groups[g.ServerGroupID], members))
	}
	return b.String() + sorted(listeners) + sorted(servers)
}

func targetText(a cloudsim.Action, groups map[string]string) string {
	if a.Redirect != nil {
		return fmt.Sprintf("%+v", *a.Redirect)
	}
	return groups[a.ServerGroups[0].ServerGroupID]
}

// tlsText says how a listener speaks TLS, with certificates by their names.
func (w *world) tlsText(l cloudsim.Listener) string {
	if l.Protocol == cloudsim.ProtocolHTTP {
		return ""
	}
	var names []string
	for _, lc := range l.Certificates {
		names = append(names, w.certificateName(lc.CertificateID))
		if lc.IsDefault != (len(names) == 1) {
			names = append(names, "default in the wrong place")
		}
	}
	return fmt.Sprintf(" %s %v %+v %v", l.SecurityPolicyID, l.HTTP2Enabled, l.QUICConfig, names)
}

func (w *world) certificateName(id string) string {
	for _, c := range w.inner.Inventory().Certificates {
		if c.CertificateID == id {
			return c.Name
		}
	}
	return "no certificate " + id
}

// textOf is what world.String must be when a Model is deployed.
func (w *world) textOf(m *Model) string {
	var listeners, servers []string
	for _, l := range m.Listeners {
		if l.secure() && len(l.Certificates) == 0 {
			continue // it waits
		}
		text := fmt.Sprintf("listener %s:%d idle %d default %+v", l.Protocol, l.Port, l.IdleTimeout, l.Placeholder)
		if l.secure() {
			var names []string
			for _, c := range l.Certificates {
				if c.ID != "" {
					c.Upload = w.certificateName(c.ID)
				}
				names = append(names, c.Upload)
			}
			text += fmt.Sprintf(" %s %v %+v %v", l.SecurityPolicyID, l.HTTP2Enabled, l.QUIC, names)
		}
		text += "\n"
		for _, r := range l.Rules {
			target := fmt.Sprintf("%+v", r.Backend)
			if r.Redirect {
				target = fmt.Sprintf("%+v", sslRedirect)
			}
			namespace, ingress, _ := strings.Cut(r.Ingress, "/")
			text += fmt.Sprintf("  rule %d %s %v -> %s [{%s %s} {%s %s}]\n", r.Priority, r.Name, r.Conditions, target, tagNamespace, namespace, tagIngress, ingress)
		}
		listeners = append(listeners, text)
	}
	for _, g := range m.ServerGroups {
		var members []string
		for _, s := range g.Servers {
			members = append(members, fmt.Sprintf("%s:%d", s.ServerIP, s.Port))
		}
		slices.Sort(members)
		servers = append(servers, fmt.Sprintf("group %+v %v\n", g.Key, members))
	}
	lb := m.LoadBalancer
	return fmt.Sprintf("load balancer %s %s %s\n", lb.Name, lb.AddressType, lb.Edition) + sorted(listeners) + sorted(servers)
}

func sorted(lines []string) string {
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// watched is a Cloud whose calls are counted, and seen before and after they are made: an error of before keeps the
// call from being made, one of after hides that it was.
type watched struct {
	Cloud

	mu            sync.Mutex
	before, after func(call string) error
	calls, writes int
}

func (w *watched) on(before, after func(string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before, w.after, w.calls, w.writes = before, after, 0, 0
}

func (w *watched) counted() (calls, writes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls, w.writes
}

func call[T any](w *watched, name string, do func() (T, error)) (T, error) {
	w.mu.Lock()
	before, after := w.before, w.after
	w.calls++
	if !strings.HasPrefix(name, "List") && !strings.HasPrefix(name, "Get") {
		w.writes++
	}
	w.mu.Unlock()
	var none T
	if before != nil {
		if err := before(name); err != nil {
			return none, err
		}
	}
	v, err := do()
	if err == nil && after != nil {
		if err := after(name); err != nil {
			return none, err
		}
	}
	return v, err
}

func write(w *watched, name string, do func() error) error {
	_, err := call(w, name, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func (w *watched) ListLoadBalancers(ctx context.Context, f cloudsim.Filter) ([]cloudsim.LoadBalancer, error) {
	return call(w, "ListLoadBalancers", func() ([]cloudsim.LoadBalancer, error) { return w.Cloud.ListLoadBalancers(ctx, f) })
}

func (w *watched) CreateLoadBalancer(ctx context.Context, in cloudsim.CreateLoadBalancerInput) (string, error) {
	return call(w, "CreateLoadBalancer", func() (string, error) { return w.Cloud.CreateLoadBalancer(ctx, in) })
}

func (w *watched) UpdateLoadBalancerAttribute(ctx context.Context, id, name string) error {
	return write(w, "UpdateLoadBalancerAttribute", func() error { return w.Cloud.UpdateLoadBalancerAttribute(ctx, id, name) })
}

func (w *watched) UpdateLoadBalancerEdition(ctx context.Context, id, edition string) error {
	return write(w, "UpdateLoadBalancerEdition", func() error { return w.Cloud.UpdateLoadBalancerEdition(ctx, id, edition) })
}

func (w *watched) DeleteLoadBalancer(ctx context.Context, id string) error {
	return write(w, "DeleteLoadBalancer", func() error { return w.Cloud.DeleteLoadBalancer(ctx, id) })
}

func (w *watched) GetLoadBalancerAttribute(ctx context.Context, id string) (cloudsim.LoadBalancer, error) {
	return call(w, "GetLoadBalancerAttribute", func() (cloudsim.LoadBalancer, error) { return w.Cloud.GetLoadBalancerAttribute(ctx, id) })
}

func (w *watched) TagResources(ctx context.Context, id string, tags []cloudsim.Tag) error {
	return write(w, "TagResources", func() error { return w.Cloud.TagResources(ctx, id, tags) })
}

func (w *watched) UnTagResources(ctx context.Context, id string, keys []string) error {
	return write(w, "UnTagResources", func() error { return w.Cloud.UnTagResources(ctx, id, keys) })
}

func (w *watched) ListCertificates(ctx context.Context) ([]cloudsim.Certificate, error) {
	return call(w, "ListCertificates", func() ([]cloudsim.Certificate, error) { return w.Cloud.ListCertificates(ctx) })
}

func (w *watched) UploadUserCertificate(ctx context.Context, in cloudsim.UploadCertificateInput) (string, error) {
	return call(w, "UploadUserCertificate", func() (string, error) { return w.Cloud.UploadUserCertificate(ctx, in) })
}

func (w *watched) ListListeners(ctx context.Context, id string) ([]cloudsim.Listener, error) {
	return call(w, "ListListeners", func() ([]cloudsim.Listener, error) { return w.Cloud.ListListeners(ctx, id) })
}

func (w *watched) CreateListener(ctx context.Context, in cloudsim.CreateListenerInput) (string, error) {
	return call(w, "CreateListener", func() (string, error) { return w.Cloud.CreateListener(ctx, in) })
}

func (w *watched) UpdateListenerAttribute(ctx context.Context, in cloudsim.UpdateListenerInput) error {
	return write(w, "UpdateListenerAttribute", func() error { return w.Cloud.UpdateListenerAttribute(ctx, in) })
}

func (w *watched) DeleteListener(ctx context.Context, id string) error {
	return write(w, "DeleteListener", func() error { return w.Cloud.DeleteListener(ctx, id) })
}

func (w *watched) ListRules(ctx context.Context, id string) ([]cloudsim.Rule, error) {
	return call(w, "ListRules", func() ([]cloudsim.Rule, error) { return w.Cloud.ListRules(ctx, id) })
}

func (w *watched) CreateRules(ctx context.Context, id string, rules []cloudsim.RuleInput) ([]string, error) {
	return call(w, "CreateRules", func() ([]string, error) { return w.Cloud.CreateRules(ctx, id, rules) })
}

func (w *watched) UpdateRulesAttribute(ctx context.Context, rules []cloudsim.RuleUpdate) error {
	return write(w, "UpdateRulesAttribute", func() error { return w.Cloud.UpdateRulesAttribute(ctx, rules) })
}

func (w *watched) DeleteRules(ctx context.Context, ids []string) error {
	return write(w, "DeleteRules", func() error { return w.Cloud.DeleteRules(ctx, ids) })
}

func (w *watched) ListServerGroups(ctx context.Context, f cloudsim.Filter) ([]cloudsim.ServerGroup, error) {
	return call(w, "ListServerGroups", func() ([]cloudsim.ServerGroup, error) { return w.Cloud.ListServerGroups(ctx, f) })
}

func (w *watched) CreateServerGroup(ctx context.Context, in cloudsim.CreateServerGroupInput) (string, error) {
	return call(w, "CreateServerGroup", func() (string, error) { return w.Cloud.CreateServerGroup(ctx, in) })
}

func (w *watched) DeleteServerGroup(ctx context.Context, id string) error {
	return write(w, "DeleteServerGroup", func() error { return w.Cloud.DeleteServerGroup(ctx, id) })
}

func (w *watched) AddServersToServerGroup(ctx context.Context, id string, servers []cloudsim.ServerInput) error {
	return write(w, "AddServersToServerGroup", func() error { return w.Cloud.AddServersToServerGroup(ctx, id, servers) })
}

func (w *watched) RemoveServersFromServerGroup(ctx context.Context, id string, servers []cloudsim.ServerInput) error {
	return write(w, "RemoveServersFromServerGroup", func() error { return w.Cloud.RemoveServersFromServerGroup(ctx, id, servers) })
}
