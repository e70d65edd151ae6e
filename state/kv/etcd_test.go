package kv_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alb-appliance/appliance/state/kv"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"
)

// etcdClient is what is asked of the store and of etcd alike.
type etcdClient struct {
	clientv3.KV
	clientv3.Watcher
	clientv3.Lease
	// shift is by how much this one's revisions are ahead of those that the test draws.
	shift int64
	// leases are the ids that this one gave to the leases that the test numbers.
	leases map[int64]clientv3.LeaseID
}

// rev is a drawn revision as this server counts; 0 and less are words, not numbers.
func (c *etcdClient) rev(r int64) int64 {
	if r <= 0 {
		return r
	}
	return r + c.shift
}

// drawn is a revision of this server as the test counts.
func (c *etcdClient) drawn(r int64) int64 {
	if r <= 0 {
		return r
	}
	return r - c.shift
}

// leaseID is the lease of a number; one that was never granted has an id that nobody has.
func (c *etcdClient) leaseID(n int64) clientv3.LeaseID {
	if id, ok := c.leases[n]; ok || n == 0 {
		return id
	}
	return clientv3.LeaseID(n)
}

// leaseNumber is the way back.
func (c *etcdClient) leaseNumber(id int64) int64 {
	for n, one := range c.leases {
		if int64(one) == id {
			return n
		}
	}
	return id
}

// pair is the store and a real etcd at the same point of the same history.
type pair struct {
	ours, real *etcdClient
	revision   int64 // the newest
	compacted  int64
	watches    []*watchPair
	end        context.CancelFunc
	ctx        context.Context
}

// watchPair is the same watch on both.
type watchPair struct {
	what       string
	from       int64 // the first revision wanted, as drawn
	ours, real clientv3.WatchChan
	oursSaid   []string
	realSaid   []string
	over       bool
}

const etcdPatience = 5 * time.Second

var etcdKeys = rapid.SampledFrom([]string{"a", "a/1", "a/2", "a/3", "b", "b/1", "c\xff", "d"})

// TestStoreBehavesLikeEtcd does the same random history on the store and on a real etcd and wants the same answers,
// errors, revisions and events. `make soak` draws many more histories.
func TestStoreBehavesLikeEtcd(t *testing.T) {
	t.Parallel()
	etcd := startEtcd(t)
	rapid.Check(t, func(t *rapid.T) {
		s, err := kv.Open("", kv.Options{})
		must(t, err)
		defer func() { must(t, s.Close()) }()
		ours := s.Client()
		p := &pair{
			ours: &etcdClient{KV: ours.KV, Watcher: ours.Watcher, Lease: ours.Lease},
			real: &etcdClient{KV: etcd.KV, Watcher: etcd.Watcher, Lease: etcd.Lease},
		}
		p.begin(t)
		defer p.end()
		t.Repeat(map[string]func(*rapid.T){
			"put": p.put, "put again": p.put, "range": p.get, "range again": p.get, "delete": p.delete, "txn": p.txn,
			"compact": p.compact, "watch": p.watch, "grant": p.grant, "revoke": p.revoke, "keep alive": p.keepAlive,
			"time to live": p.timeToLive, "leases": p.listLeases,
		})
		p.settle(t)
		p.finish(t)
	})
}

// begin empties both and compacts them at the same revision.
func (p *pair) begin(t *rapid.T) {
	p.ctx, p.end = context.WithCancel(context.Background())
	p.ours.leases, p.real.leases = map[int64]clientv3.LeaseID{}, map[int64]clientv3.LeaseID{}
	old, err := p.real.Leases(p.ctx)
	must(t, err)
	for _, l := range old.Leases {
		_, err := p.real.Revoke(p.ctx, l.ID)
		must(t, err)
	}
	for _, c := range []*etcdClient{p.ours, p.real} {
		_, err := c.Put(p.ctx, "x", "")
		must(t, err)
		gone, err := c.Delete(p.ctx, "", clientv3.WithFromKey())
		must(t, err)
		_, err = c.Compact(p.ctx, gone.Header.Revision)
		must(t, err)
		c.shift, p.revision, p.compacted = gone.Header.Revision-3, 3, 3
	}
}

// do makes a request to both and wants the same outcome.
func (p *pair) do(t *rapid.T, what string, ask func(c *etcdClient) (string, error)) {
	t.Helper()
	said := func(c *etcdClient) string {
		text, err := ask(c)
		if err != nil {
			return "error " + err.Error()
		}
		return text
	}
	ours, real := said(p.ours), said(p.real)
	if ours != real {
		t.Fatalf("%s\nthe store: %s\netcd:      %s", what, ours, real)
	}
}

func (p *pair) op(t *rapid.T, build func(c *etcdClient) clientv3.Op) {
	t.Helper()
	p.do(t, describe(build(&etcdClient{})), func(c *etcdClient) (string, error) {
		resp, err := c.Do(p.ctx, build(c))
		if err != nil {
			return "", err
		}
		return p.response(c, resp), nil
	})
}

// response is an answer as text, in the test's own numbers.
func (p *pair) response(c *etcdClient, r clientv3.OpResponse) string {
	switch {
	case r.Put() != nil:
		p.reached(c, r.Put().Header.Revision)
		return c.putText((*pb.PutResponse)(r.Put()))
	case r.Get() != nil:
		return c.rangeText((*pb.RangeResponse)(r.Get()))
	case r.Del() != nil:
		p.reached(c, r.Del().Header.Revision)
		return c.deleteText((*pb.DeleteRangeResponse)(r.Del()))
	default:
		p.reached(c, r.Txn().Header.Revision)
		return c.txnText((*pb.TxnResponse)(r.Txn()))
	}
}

func (p *pair) reached(c *etcdClient, revision int64) {
	p.revision = max(p.revision, c.drawn(revision))
}

func (c *etcdClient) head(h *pb.ResponseHeader) string {
	if h == nil {
		return "@none"
	}
	return fmt.Sprintf("@%d", c.drawn(h.Revision))
}

func (c *etcdClient) kvText(kv *mvccpb.KeyValue) string {
	if kv == nil {
		return "none"
	}
	return fmt.Sprintf("%q=%q create %d mod %d version %d lease %d", kv.Key, kv.Value, c.drawn(kv.CreateRevision), c.drawn(kv.ModRevision), kv.Version, c.leaseNumber(kv.Lease))
}

func (c *etcdClient) putText(r *pb.PutResponse) string {
	return "put " + c.head(r.Header) + " was " + c.kvText(r.PrevKv)
}

func (c *etcdClient) rangeText(r *pb.RangeResponse) string {
	text := fmt.Sprintf("range %s count %d more %v", c.head(r.Header), r.Count, r.More)
	for _, kv := range r.Kvs {
		text += "; " + c.kvText(kv)
	}
	return text
}

func (c *etcdClient) deleteText(r *pb.DeleteRangeResponse) string {
	text := fmt.Sprintf("delete %s %d", c.head(r.Header), r.Deleted)
	for _, kv := range r.PrevKvs {
		text += "; " + c.kvText(kv)
	}
	return text
}

func (c *etcdClient) txnText(r *pb.TxnResponse) string {
	text := fmt.Sprintf("txn %s %v (", c.head(r.Header), r.Succeeded)
	for _, op := range r.Responses {
		switch {
		case op.GetResponsePut() != nil:
			text += c.putText(op.GetResponsePut())
		case op.GetResponseRange() != nil:
			text += c.rangeText(op.GetResponseRange())
		case op.GetResponseDeleteRange() != nil:
			text += c.deleteText(op.GetResponseDeleteRange())
		case op.GetResponseTxn() != nil:
			text += c.txnText(op.GetResponseTxn())
		}
		text += " | "
	}
	return text + ")"
}

// describe names an operation in a failure.
func describe(op clientv3.Op) string {
	switch {
	case op.IsTxn():
		compares, then, otherwise := op.Txn()
		text := fmt.Sprintf("txn if %v then", compares)
		for _, o := range then {
			text += " [" + describe(o) + "]"
		}
		text += " else"
		for _, o := range otherwise {
			text += " [" + describe(o) + "]"
		}
		return text
	case op.IsPut():
		return fmt.Sprintf("put %q=%q", op.KeyBytes(), op.ValueBytes())
	case op.IsDelete():
		return fmt.Sprintf("delete %q to %q", op.KeyBytes(), op.RangeBytes())
	}
	return fmt.Sprintf("range %q to %q at %d: %+v", op.KeyBytes(), op.RangeBytes(), op.Rev(), op)
}

// drawRevision is a revision around what there is.
func (p *pair) drawRevision(t *rapid.T, what string) int64 {
	return rapid.Int64Range(-1, p.revision+2).Draw(t, what)
}

// drawSpan is a key, or a span of keys in one of the ways there are.
func drawSpan(t *rapid.T) (string, []clientv3.OpOption) {
	key := etcdKeys.Draw(t, "key")
	switch rapid.IntRange(0, 6).Draw(t, "span") {
	case 0, 1:
		return key, nil
	case 2:
		return key, []clientv3.OpOption{clientv3.WithPrefix()}
	case 3:
		return key, []clientv3.OpOption{clientv3.WithFromKey()}
	case 4:
		return key, []clientv3.OpOption{clientv3.WithRange(etcdKeys.Draw(t, "end"))}
	case 5:
		return "", []clientv3.OpOption{clientv3.WithPrefix()}
	}
	return "", nil
}

type buildOp = func(c *etcdClient) clientv3.Op

func (p *pair) drawPut(t *rapid.T) buildOp {
	key := etcdKeys.Draw(t, "key")
	value := rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "value")
	lease := rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 3}).Draw(t, "lease")
	previous := rapid.Bool().Draw(t, "previous")
	ignore := rapid.SampledFrom([]string{"", "", "", "", "value", "lease", "both"}).Draw(t, "ignore")
	if ignore != "" && rapid.IntRange(0, 3).Draw(t, "rightly") > 0 { // else it contradicts itself
		if ignore != "lease" {
			value = ""
		}
		if ignore != "value" {
			lease = 0
		}
	}
	return func(c *etcdClient) clientv3.Op {
		opts := []clientv3.OpOption{clientv3.WithLease(c.leaseID(lease))}
		if previous {
			opts = append(opts, clientv3.WithPrevKV())
		}
		if ignore == "value" || ignore == "both" {
			opts = append(opts, clientv3.WithIgnoreValue())
		}
		if ignore == "lease" || ignore == "both" {
			opts = append(opts, clientv3.WithIgnoreLease())
		}
		return clientv3.OpPut(key, value, opts...)
	}
}

func (p *pair) drawGet(t *rapid.T) buildOp {
	key, span := drawSpan(t)
	revision := int64(0)
	if rapid.Bool().Draw(t, "past") {
		revision = p.drawRevision(t, "revision")
	}
	limit := rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 3, -1}).Draw(t, "limit")
	keys, count, serializable := rapid.IntRange(0, 4).Draw(t, "keys only") == 0, rapid.IntRange(0, 5).Draw(t, "count only") == 0, rapid.Bool().Draw(t, "serializable")
	order, target := clientv3.SortNone, clientv3.SortByKey
	if rapid.Bool().Draw(t, "sorted") {
		order = rapid.SampledFrom([]clientv3.SortOrder{clientv3.SortNone, clientv3.SortAscend, clientv3.SortDescend}).Draw(t, "order")
		target = rapid.SampledFrom([]clientv3.SortTarget{clientv3.SortByKey, clientv3.SortByVersion, clientv3.SortByCreateRevision, clientv3.SortByModRevision, clientv3.SortByValue}).Draw(t, "target")
	}
	var bounds [4]int64
	if rapid.IntRange(0, 2).Draw(t, "bounded") == 0 {
		for i := range bounds {
			if rapid.Bool().Draw(t, "bound") {
				bounds[i] = rapid.Int64Range(0, p.revision+2).Draw(t, "revision")
			}
		}
	}
	return func(c *etcdClient) clientv3.Op {
		opts := append(slices.Clone(span), clientv3.WithRev(c.rev(revision)), clientv3.WithLimit(limit), clientv3.WithSort(target, order),
			clientv3.WithMinModRev(c.rev(bounds[0])), clientv3.WithMaxModRev(c.rev(bounds[1])),
			clientv3.WithMinCreateRev(c.rev(bounds[2])), clientv3.WithMaxCreateRev(c.rev(bounds[3])))
		if keys {
			opts = append(opts, clientv3.WithKeysOnly())
		}
		if count {
			opts = append(opts, clientv3.WithCountOnly())
		}
		if serializable {
			opts = append(opts, clientv3.WithSerializable())
		}
		return clientv3.OpGet(key, opts...)
	}
}

func (p *pair) drawDelete(t *rapid.T) buildOp {
	key, span := drawSpan(t)
	if rapid.Bool().Draw(t, "previous") {
		span = append(span, clientv3.WithPrevKV())
	}
	return func(*etcdClient) clientv3.Op { return clientv3.OpDelete(key, span...) }
}

func (p *pair) drawCompare(t *rapid.T) func(c *etcdClient) clientv3.Cmp {
	key, result := etcdKeys.Draw(t, "key"), rapid.SampledFrom([]string{"=", "!=", ">", "<"}).Draw(t, "result")
	n := rapid.Int64Range(0, p.revision+1).Draw(t, "number")
	value := rapid.SampledFrom([]string{"", "1", "2", "3"}).Draw(t, "value")
	target := rapid.IntRange(0, 4).Draw(t, "target")
	if target == 4 { // ids are drawn by lot: which is greater means nothing
		result = map[string]string{">": "!=", "<": "="}[result] + strings.Trim(result, "<>")
	}
	spans := rapid.IntRange(0, 4).Draw(t, "spans") == 0
	return func(c *etcdClient) clientv3.Cmp {
		var cmp clientv3.Cmp
		switch target {
		case 0:
			cmp = clientv3.Compare(clientv3.ModRevision(key), result, c.rev(n))
		case 1:
			cmp = clientv3.Compare(clientv3.CreateRevision(key), result, c.rev(n))
		case 2:
			cmp = clientv3.Compare(clientv3.Version(key), result, n%4)
		case 3:
			cmp = clientv3.Compare(clientv3.Value(key), result, value)
		default:
			cmp = clientv3.Compare(clientv3.LeaseValue(key), result, c.leaseID(n%4))
		}
		if spans {
			cmp = cmp.WithPrefix()
		}
		return cmp
	}
}

func (p *pair) drawOps(t *rapid.T, depth int) []buildOp {
	var ops []buildOp
	for range rapid.IntRange(0, 3).Draw(t, "operations") {
		switch kind := rapid.IntRange(0, 6).Draw(t, "kind"); {
		case kind < 2:
			ops = append(ops, p.drawPut(t))
		case kind < 4:
			ops = append(ops, p.drawGet(t))
		case kind < 5 || depth == 0:
			ops = append(ops, p.drawDelete(t))
		default:
			ops = append(ops, p.drawTxn(t, depth-1))
		}
	}
	return ops
}

func (p *pair) drawTxn(t *rapid.T, depth int) buildOp {
	var compares []func(*etcdClient) clientv3.Cmp
	for range rapid.IntRange(0, 2).Draw(t, "compares") {
		compares = append(compares, p.drawCompare(t))
	}
	then, otherwise := p.drawOps(t, depth), p.drawOps(t, depth)
	return func(c *etcdClient) clientv3.Op {
		var ifs []clientv3.Cmp
		for _, cmp := range compares {
			ifs = append(ifs, cmp(c))
		}
		return clientv3.OpTxn(ifs, built(c, then), built(c, otherwise))
	}
}

func built(c *etcdClient, ops []buildOp) []clientv3.Op {
	var all []clientv3.Op
	for _, build := range ops {
		all = append(all, build(c))
	}
	return all
}

func (p *pair) put(t *rapid.T)    { p.op(t, p.drawPut(t)) }
func (p *pair) get(t *rapid.T)    { p.op(t, p.drawGet(t)) }
func (p *pair) delete(t *rapid.T) { p.op(t, p.drawDelete(t)) }
func (p *pair) txn(t *rapid.T)    { p.op(t, p.drawTxn(t, 2)) }

func (p *pair) compact(t *rapid.T) {
	p.settle(t) // what a watch has not seen may go
	for _, w := range p.watches {
		if w.from > 0 && w.from <= p.revision && !w.over && len(w.realSaid) == 1 {
			t.Skip("etcd may not have got to a watch of the past yet, and nothing tells when it has")
		}
	}
	revision := p.drawRevision(t, "revision")
	p.do(t, fmt.Sprintf("compact %d", revision), func(c *etcdClient) (string, error) {
		r, err := c.Compact(p.ctx, c.rev(revision))
		if err != nil {
			return "", err
		}
		p.compacted = revision
		return c.head(r.Header), nil
	})
}

func (p *pair) grant(t *rapid.T) {
	n := int64(len(p.ours.leases) + 1)
	if n > 3 {
		t.Skip("enough")
	}
	ttl := rapid.SampledFrom([]int64{1000, 5000, math.MaxInt64}).Draw(t, "ttl")
	p.do(t, fmt.Sprintf("grant %d for %d s", n, ttl), func(c *etcdClient) (string, error) {
		r, err := c.Grant(p.ctx, ttl)
		if err != nil {
			return "", err
		}
		c.leases[n] = r.ID
		return p.leaseText(c, r.ResponseHeader, r.ID, fmt.Sprint(r.TTL)), nil
	})
}

func (p *pair) leaseText(c *etcdClient, h *pb.ResponseHeader, id clientv3.LeaseID, rest string) string {
	return fmt.Sprintf("lease %d %s %s", c.leaseNumber(int64(id)), c.head(h), rest)
}

func (p *pair) revoke(t *rapid.T) {
	n := rapid.Int64Range(1, 3).Draw(t, "lease")
	p.do(t, fmt.Sprintf("revoke %d", n), func(c *etcdClient) (string, error) {
		r, err := c.Revoke(p.ctx, c.leaseID(n))
		if err != nil {
			return "", err
		}
		p.reached(c, r.Header.Revision)
		return c.head(r.Header), nil
	})
}

func (p *pair) keepAlive(t *rapid.T) {
	n := rapid.Int64Range(1, 3).Draw(t, "lease")
	p.do(t, fmt.Sprintf("keep %d alive", n), func(c *etcdClient) (string, error) {
		r, err := c.KeepAliveOnce(p.ctx, c.leaseID(n))
		if err != nil {
			return "", err
		}
		return p.leaseText(c, r.ResponseHeader, r.ID, fmt.Sprint(r.TTL)), nil
	})
}

func (p *pair) timeToLive(t *rapid.T) {
	n, keys := rapid.Int64Range(1, 3).Draw(t, "lease"), rapid.Bool().Draw(t, "keys")
	var opts []clientv3.LeaseOption
	if keys {
		opts = append(opts, clientv3.WithAttachedKeys())
	}
	p.do(t, fmt.Sprintf("time to live of %d, keys %v", n, keys), func(c *etcdClient) (string, error) {
		r, err := c.TimeToLive(p.ctx, c.leaseID(n), opts...)
		if err != nil {
			return "", err
		}
		left := "some"
		if r.TTL <= 0 || r.TTL > r.GrantedTTL {
			left = fmt.Sprint(r.TTL)
		}
		slices.SortFunc(r.Keys, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
		return p.leaseText(c, r.ResponseHeader, r.ID, fmt.Sprintf("left %s of %d keys %q", left, r.GrantedTTL, r.Keys)), nil
	})
}

func (p *pair) listLeases(t *rapid.T) {
	p.do(t, "list leases", func(c *etcdClient) (string, error) {
		r, err := c.Leases(p.ctx)
		if err != nil {
			return "", err
		}
		var ids []int64
		for _, l := range r.Leases {
			ids = append(ids, c.leaseNumber(int64(l.ID)))
		}
		slices.Sort(ids)
		return fmt.Sprintf("%s %v", c.head(r.ResponseHeader), ids), nil
	})
}

func (p *pair) watch(t *rapid.T) {
	if len(p.watches) > 5 {
		t.Skip("enough")
	}
	key, span := drawSpan(t)
	revision := int64(0)
	if rapid.Bool().Draw(t, "past") {
		revision = max(0, p.drawRevision(t, "revision"))
	}
	if revision == p.compacted {
		// The store says that this is compacted. etcd begins there, without the values before, and some releases without
		// the deletions: what cannot be had whole had better be listed again.
		revision++
	}
	previous, created := rapid.Bool().Draw(t, "previous"), rapid.Bool().Draw(t, "created")
	noPut, noDelete := rapid.IntRange(0, 3).Draw(t, "no put") == 0, rapid.IntRange(0, 3).Draw(t, "no delete") == 0
	open := func(c *etcdClient) clientv3.WatchChan {
		// What is created is told in any case here: from then on nothing is missed.
		opts := append(slices.Clone(span), clientv3.WithRev(c.rev(revision)), clientv3.WithCreatedNotify())
		if previous {
			opts = append(opts, clientv3.WithPrevKV())
		}
		if created {
			opts = append(opts, clientv3.WithProgressNotify())
		}
		if noPut {
			opts = append(opts, clientv3.WithFilterPut())
		}
		if noDelete {
			opts = append(opts, clientv3.WithFilterDelete())
		}
		return c.Watch(p.ctx, key, opts...)
	}
	w := &watchPair{
		what: fmt.Sprintf("watch %q %+v from %d, previous %v, no put %v, no delete %v", key, clientv3.OpGet(key, span...), revision, previous, noPut, noDelete), from: revision,
		ours: open(p.ours), real: open(p.real),
	}
	p.watches = append(p.watches, w)
	w.oursSaid, w.realSaid = w.take(t, p.ours, w.ours), w.take(t, p.real, w.real)
	p.same(t, w)
}

// take reads one response.
func (w *watchPair) take(t *rapid.T, c *etcdClient, ch clientv3.WatchChan) []string {
	select {
	case r, open := <-ch:
		return w.responseText(c, r, open)
	case <-time.After(etcdPatience):
		t.Fatalf("%s is silent; the store has said\n%s\netcd has said\n%s", w.what, strings.Join(w.oursSaid, "\n"), strings.Join(w.realSaid, "\n"))
	}
	return nil
}

func (w *watchPair) responseText(c *etcdClient, r clientv3.WatchResponse, open bool) []string {
	switch {
	case !open:
		return []string{"closed"}
	case r.Created && !r.Canceled:
		return []string{"created"}
	case r.Canceled || r.Err() != nil:
		if r.CompactRevision == 0 {
			return []string{"cancelled"} // why, a field says that only etcd's own client can write
		}
		return []string{fmt.Sprintf("cancelled, compacted at %d: %v", c.drawn(r.CompactRevision), r.Err())}
	}
	var lines []string
	for _, e := range r.Events {
		lines = append(lines, fmt.Sprintf("%s %s was %s", e.Type, c.kvText(e.Kv), c.kvText(e.PrevKv)))
	}
	return lines
}

// settle waits until both sides of every watch have said everything.
func (p *pair) settle(t *rapid.T) {
	must(t, p.ours.RequestProgress(p.ctx))
	for _, w := range p.watches {
		for !w.over && w.from <= p.revision+1 { // one that waits for the future says nothing
			select {
			case r, open := <-w.ours:
				w.oursSaid = append(w.oursSaid, w.responseText(p.ours, r, open)...)
				if w.over = !open || r.Canceled; w.over {
					continue
				}
				if !r.IsProgressNotify() || p.ours.drawn(r.Header.Revision) < p.revision {
					continue
				}
			case <-time.After(etcdPatience):
				t.Fatalf("%s: the store's has not reached revision %d; it said\n%s", w.what, p.revision, strings.Join(w.oursSaid, "\n"))
			}
			break
		}
		p.same(t, w)
	}
}

// same reads from etcd's side as much as the store's has said, and compares.
func (p *pair) same(t *rapid.T, w *watchPair) {
	for len(w.realSaid) < len(w.oursSaid) {
		w.realSaid = append(w.realSaid, w.take(t, p.real, w.real)...)
	}
	if !slices.Equal(w.oursSaid, w.realSaid) {
		t.Fatalf("%s\nthe store:\n%s\netcd:\n%s", w.what, strings.Join(w.oursSaid, "\n"), strings.Join(w.realSaid, "\n"))
	}
	if len(w.oursSaid) > 0 && strings.HasPrefix(w.oursSaid[len(w.oursSaid)-1], "cancelled") {
		w.over = true
	}
}

// finish writes and deletes everything once more: if etcd had told a watch more than the store did, it would show now.
func (p *pair) finish(t *rapid.T) {
	for _, c := range []*etcdClient{p.ours, p.real} {
		for _, key := range []string{"a", "a/1", "a/2", "a/3", "b", "b/1", "c\xff", "d"} {
			r, err := c.Put(p.ctx, key, "last")
			must(t, err)
			p.reached(c, r.Header.Revision)
		}
		r, err := c.Delete(p.ctx, "", clientv3.WithFromKey())
		must(t, err)
		p.reached(c, r.Header.Revision)
	}
	p.settle(t)
}
