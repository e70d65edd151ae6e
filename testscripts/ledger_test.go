package testscripts

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/alb-appliance/appliance/cloudsim"
)

// written marks the objects of the write load; its value is what they hold.
const written = "soak.example.com/value"

// kinds are what is written: of upstream's registries, with and without parts that others take care of, and custom.
var kinds = []struct {
	resource   schema.GroupVersionResource
	kind       string
	namespaced bool
	spec       map[string]any
}{
	{schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, "ConfigMap", true, nil},
	{schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, "Secret", true, nil},
	{schema.GroupVersionResource{Version: "v1", Resource: "services"}, "Service", true, map[string]any{"ports": []any{map[string]any{"port": int64(80)}}}},
	{schema.GroupVersionResource{Group: "alibabacloud.com", Version: "v1", Resource: "albconfigs"}, "AlbConfig", false, nil},
}

// albKind is the last of kinds: its objects are the controller's, too, which writes a finalizer and a status.
const albKind = 3

// id is one object of the load.
type id struct {
	kind int
	name string
}

// fact is what is known of an object: what it holds, "" that it is not there, and the version of the write.
type fact struct {
	value   string
	version int64
}

// ledger is what was acknowledged, and what is under way. It outlives the servers.
type ledger struct {
	mu      sync.Mutex
	sure    map[id]fact
	asked   map[id]string // what an unanswered write wants; "" a deletion
	gone    map[id]bool   // acknowledged deletions; names are used once, so a late event of a watch is old
	newest  int64         // of all resource versions ever seen
	created int
	zones   []any // of AlbConfigs
}

func newLedger() *ledger {
	return &ledger{sure: map[id]fact{}, asked: map[id]string{}, gone: map[id]bool{}}
}

// ask notes a write before it is sent.
func (l *ledger) ask(o id, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[o] = value
}

// answered notes a write that was acknowledged.
func (l *ledger) answered(o id, f fact) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.asked, o)
	l.learn(o, f)
}

// deleted notes a deletion that was acknowledged; the answer does not tell its version.
func (l *ledger) deleted(o id) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.asked, o)
	l.gone[o] = true
	l.sure[o] = fact{version: l.sure[o].version}
}

// seen notes what a watch shows: that is as good as an acknowledgement.
func (l *ledger) seen(o id, f fact) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.learn(o, f)
}

func (l *ledger) learn(o id, f fact) {
	l.newest = max(l.newest, f.version)
	if f.version >= l.sure[o].version && !l.gone[o] {
		l.sure[o] = f
	}
}

// verify compares what the server has with the ledger, which then knows how every write that was under way has ended.
func (l *ledger) verify(t *testing.T, config *rest.Config, what string) {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	there := map[id]fact{}
	for n, k := range kinds {
		list, err := client.Resource(k.resource).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatalf("%s: list %s: %v", what, k.resource.Resource, err)
		}
		if version := number(t, list.GetResourceVersion()); version < l.newest {
			t.Errorf("%s: the list of %s is at resource version %d, %d was seen before", what, k.resource.Resource, version, l.newest)
		}
		for _, o := range list.Items {
			if value, ours := o.GetAnnotations()[written]; ours && o.GetDeletionTimestamp() == nil { // else it is as good as gone
				there[id{n, o.GetName()}] = fact{value, number(t, o.GetResourceVersion())}
			}
		}
	}
	writers := map[int64]id{}
	for o, f := range there {
		if other, twice := writers[f.version]; twice {
			t.Errorf("%s: %s and %s are both at resource version %d", what, o.name, other.name, f.version)
		}
		writers[f.version] = o
		if sure, wanted := l.sure[o], l.asked[o]; f.value != sure.value && (f.value != wanted || f.version <= sure.version) {
			t.Errorf("%s: %s %s is %q at %d; acknowledged is %q at %d, under way is %q", what, kinds[o.kind].kind, o.name, f.value, f.version, sure.value, sure.version, wanted)
		} else if f.value == sure.value && f.version != sure.version && o.kind != albKind {
			t.Errorf("%s: %s %s is at %d, %d was acknowledged", what, kinds[o.kind].kind, o.name, f.version, sure.version)
		}
	}
	for o, sure := range l.sure {
		if _, found := there[o]; sure.value != "" && !found {
			if wanted, pending := l.asked[o]; !pending || wanted != "" {
				t.Errorf("%s: %s %s=%q at %d was acknowledged and is lost", what, kinds[o.kind].kind, o.name, sure.value, sure.version)
			}
		}
	}
	for _, f := range there {
		l.newest = max(l.newest, f.version)
	}
	l.sure, l.asked = there, map[id]string{}
}

// learnZones finds the vSwitches that AlbConfigs name.
func (l *ledger) learnZones(t *testing.T, s *server) {
	t.Helper()
	if l.zones != nil {
		return
	}
	var list []cloudsim.VSwitch
	s.query(t, &list, "cloud", "vswitches", "-o", "json")
	for _, v := range list[:2] {
		l.zones = append(l.zones, map[string]any{"vSwitchId": v.VSwitchID})
	}
}

// verifyCloud waits until the cloud has one instance for each AlbConfig, and no other.
func (l *ledger) verifyCloud(t *testing.T, s *server, what string) {
	t.Helper()
	want := []string{"kube-system/alb"}
	for o := range l.sure {
		if o.kind == albKind {
			want = append(want, "kube-system/"+o.name)
		}
	}
	slices.Sort(want)
	var got []string
	for end := time.Now().Add(awaitLimit); ; time.Sleep(10 * time.Millisecond) {
		var list []cloudsim.LoadBalancer
		s.query(t, &list, "cloud", "albs", "list", "-o", "json")
		got = got[:0]
		for _, lb := range list {
			for _, tag := range lb.Tags {
				if tag.Key == "ingress.k8s.alibaba/albconfig" {
					got = append(got, tag.Value)
				}
			}
		}
		slices.Sort(got)
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(end) {
			configs, _ := s.command("kubectl", "get", "albconfigs", "-o", `jsonpath={range .items[*]}{.metadata.name} deleted {.metadata.deletionTimestamp} {.metadata.finalizers} {.status}{"\n"}{end}`)
			events, _ := s.command("kubectl", "get", "events", "--field-selector", "involvedObject.kind=AlbConfig,type=Warning")
			t.Fatalf("%s: the cloud has instances %v, the AlbConfigs are %v\n%s\n%s", what, got, want, configs, events)
		}
	}
}

func number(t *testing.T, version string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// follow watches everything that is written until the server dies.
func (l *ledger) follow(ctx context.Context, t *testing.T, config *rest.Config) *sync.WaitGroup {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	var following sync.WaitGroup
	for n, k := range kinds {
		w, err := client.Resource(k.resource).Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		following.Go(func() {
			defer w.Stop()
			for e := range w.ResultChan() {
				o, ok := e.Object.(*unstructured.Unstructured)
				if !ok {
					return // it ends
				}
				value, ours := o.GetAnnotations()[written]
				if !ours {
					continue
				}
				if e.Type == watch.Deleted || o.GetDeletionTimestamp() != nil {
					value = ""
				}
				version, err := strconv.ParseInt(o.GetResourceVersion(), 10, 64)
				if err != nil {
					t.Errorf("an event of %s %s has resource version %q", k.kind, o.GetName(), o.GetResourceVersion())
				}
				l.seen(id{n, o.GetName()}, fact{value, version})
			}
		})
	}
	return &following
}

// writer writes objects that no other writer writes: a conflict is a lost write.
type writer struct {
	t      *testing.T
	ledger *ledger
	client dynamic.Interface
	number int
	random *rand.Rand
	own    map[id]*unstructured.Unstructured // as acknowledged
}

func newWriter(t *testing.T, l *ledger, config *rest.Config, n int, random *rand.Rand) *writer {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, ledger: l, client: client, number: n, random: random, own: map[id]*unstructured.Unstructured{}}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range slices.SortedFunc(maps.Keys(l.sure), compareIDs) {
		if writerOf(o.name) != n {
			continue
		}
		object, err := w.at(o.kind).Get(t.Context(), o.name, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("read %s: %v", o.name, err)
		}
		w.own[o] = object
	}
	return w
}

func compareIDs(a, b id) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.name, b.name))
}

func writerOf(name string) int {
	var n int
	_, _ = fmt.Sscanf(name, "soak-%d-", &n)
	return n
}

func (w *writer) at(kind int) dynamic.ResourceInterface {
	r := w.client.Resource(kinds[kind].resource)
	if kinds[kind].namespaced {
		return r.Namespace("default")
	}
	return r
}

// write goes on until the server does not answer.
func (w *writer) write(ctx context.Context, answers chan<- struct{}) {
	for n := 0; ; n++ {
		value := fmt.Sprintf("%d-%d", w.number, w.random.Uint32())
		if !w.one(ctx, value) {
			return
		}
		answers <- struct{}{}
	}
}

// one makes a random write and tells whether it was answered.
func (w *writer) one(ctx context.Context, value string) bool {
	ids := slices.SortedFunc(maps.Keys(w.own), compareIDs)
	choice := w.random.IntN(10)
	if len(ids) == 0 || choice < 4 && len(ids) < 12 {
		return w.create(ctx, value)
	}
	o := ids[w.random.IntN(len(ids))]
	// An AlbConfig is deleted only once its finalizer is seen: upstream's API loses one that comes while a deletion is
	// under way, which no killing is needed for.
	if choice < 8 || o.kind == albKind && len(w.own[o].GetFinalizers()) == 0 {
		return w.update(ctx, o, value)
	}
	return w.remove(ctx, o)
}

func (w *writer) create(ctx context.Context, value string) bool {
	kind := w.random.IntN(albKind)
	if w.number == 0 && w.random.IntN(4) == 0 {
		kind = albKind
	}
	w.ledger.mu.Lock()
	w.ledger.created++
	o := id{kind, fmt.Sprintf("soak-%d-%d", w.number, w.ledger.created)}
	w.ledger.mu.Unlock()
	object := &unstructured.Unstructured{Object: map[string]any{}}
	object.SetGroupVersionKind(kinds[kind].resource.GroupVersion().WithKind(kinds[kind].kind))
	object.SetName(o.name)
	object.SetAnnotations(map[string]string{written: value})
	if kinds[kind].spec != nil {
		object.Object["spec"] = kinds[kind].spec
	}
	if kind == albKind {
		object.Object["spec"] = map[string]any{"config": map[string]any{"zoneMappings": w.ledger.zones}}
	}
	w.ledger.ask(o, value)
	made, err := w.at(kind).Create(ctx, object, metav1.CreateOptions{})
	return w.end(o, value, made, err)
}

func (w *writer) update(ctx context.Context, o id, value string) bool {
	w.ledger.ask(o, value)
	if o.kind == albKind { // the controller writes it, too
		patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, written, value)
		made, err := w.at(o.kind).Patch(ctx, o.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		return w.end(o, value, made, err)
	}
	object := w.own[o].DeepCopy()
	object.SetAnnotations(map[string]string{written: value})
	made, err := w.at(o.kind).Update(ctx, object, metav1.UpdateOptions{})
	return w.end(o, value, made, err)
}

func (w *writer) remove(ctx context.Context, o id) bool {
	w.ledger.ask(o, "")
	if err := w.at(o.kind).Delete(ctx, o.name, metav1.DeleteOptions{}); err != nil {
		return w.end(o, "", nil, err)
	}
	w.ledger.deleted(o)
	delete(w.own, o)
	return true
}

// end notes the outcome of a write; a refusal is a failure, for nobody else writes these objects.
func (w *writer) end(o id, value string, made *unstructured.Unstructured, err error) bool {
	if err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) || apierrors.IsInvalid(err) {
			w.t.Errorf("%s %s: an acknowledged write was lost while the server ran: %v", kinds[o.kind].kind, o.name, err)
		}
		return false
	}
	version, err := strconv.ParseInt(made.GetResourceVersion(), 10, 64)
	if err != nil {
		w.t.Errorf("%s %s: %v", kinds[o.kind].kind, o.name, err)
		return false
	}
	w.ledger.answered(o, fact{value, version})
	w.own[o] = made
	return true
}
