package kv_test

import (
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestTxnCompares(t *testing.T) {
	t.Parallel()
	c := memory(t)
	lease, err := c.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, "a", "0")                               // 2
	put(t, c, "a", "m", clientv3.WithLease(lease.ID)) // 3
	put(t, c, "p/1", "x")                             // 4
	put(t, c, "p/2", "y")                             // 5
	for _, tc := range []struct {
		cmp  clientv3.Cmp
		want bool
	}{
		{clientv3.Compare(clientv3.ModRevision("a"), "=", 3), true},
		{clientv3.Compare(clientv3.ModRevision("a"), "=", 2), false},
		{clientv3.Compare(clientv3.ModRevision("a"), "!=", 2), true},
		{clientv3.Compare(clientv3.ModRevision("a"), ">", 2), true},
		{clientv3.Compare(clientv3.ModRevision("a"), "<", 3), false},
		{clientv3.Compare(clientv3.ModRevision("none"), "=", 0), true},
		{clientv3.Compare(clientv3.CreateRevision("a"), "=", 2), true},
		{clientv3.Compare(clientv3.CreateRevision("none"), ">", 0), false},
		{clientv3.Compare(clientv3.Version("a"), "=", 2), true},
		{clientv3.Compare(clientv3.Version("none"), "=", 0), true},
		{clientv3.Compare(clientv3.Value("a"), "=", "m"), true},
		{clientv3.Compare(clientv3.Value("a"), "<", "n"), true},
		{clientv3.Compare(clientv3.Value("a"), ">", "n"), false},
		{clientv3.Compare(clientv3.Value("none"), "=", ""), false},
		{clientv3.Compare(clientv3.Value("none"), "!=", "x"), false},
		{clientv3.Compare(clientv3.LeaseValue("a"), "=", lease.ID), true},
		{clientv3.Compare(clientv3.LeaseValue("p/1"), "=", 0), true},
		{clientv3.Compare(clientv3.ModRevision("p/"), ">", 3).WithPrefix(), true},
		{clientv3.Compare(clientv3.ModRevision("p/"), ">", 4).WithPrefix(), false},
		{clientv3.Compare(clientv3.ModRevision("q/"), "=", 0).WithPrefix(), true},
	} {
		// One branch writes, so that the txn takes the writers' way.
		for _, op := range []clientv3.Op{clientv3.OpGet("a"), clientv3.OpDelete("nothing")} {
			resp, err := c.Txn(t.Context()).If(tc.cmp).Then(op).Else(op).Commit()
			if err != nil {
				t.Fatal(err)
			}
			if resp.Succeeded != tc.want {
				t.Errorf("%v: %v, want %v", tc.cmp, resp.Succeeded, tc.want)
			}
		}
	}
}

func TestTxnIsOneRevision(t *testing.T) {
	t.Parallel()
	c := memory(t)
	put(t, c, "old", "1") // 2
	resp, err := c.Txn(t.Context()).Then(
		clientv3.OpGet("new"),
		clientv3.OpPut("new", "2"),
		clientv3.OpGet("new"),
		clientv3.OpDelete("old", clientv3.WithPrevKV()),
		clientv3.OpGet("old"),
		clientv3.OpPut("third", "3"),
	).Commit()
	if err != nil {
		t.Fatal(err)
	}
	if !resp.Succeeded || resp.Header.Revision != 3 {
		t.Errorf("succeeded %v at revision %d, want true at 3", resp.Succeeded, resp.Header.Revision)
	}
	var got []string
	for _, r := range resp.Responses {
		switch {
		case r.GetResponseRange() != nil:
			got = append(got, fmt.Sprintf("get %d@%d", len(r.GetResponseRange().Kvs), r.GetResponseRange().Header.Revision))
		case r.GetResponsePut() != nil:
			got = append(got, fmt.Sprintf("put @%d", r.GetResponsePut().Header.Revision))
		default:
			got = append(got, fmt.Sprintf("delete %s", r.GetResponseDeleteRange().PrevKvs[0].Value))
		}
	}
	if want := "get 0@2 put @3 get 1@3 delete 1 get 0@3 put @3"; strings.Join(got, " ") != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	for _, key := range []string{"new", "third"} {
		if kv := get(t, c, key).Kvs[0]; kv.ModRevision != 3 {
			t.Errorf("%s is at revision %d, want 3", key, kv.ModRevision)
		}
	}
}

func TestTxnRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	c := memory(t)
	put(t, c, "a", "1")
	many := make([]clientv3.Op, 129)
	for i := range many {
		many[i] = clientv3.OpPut(fmt.Sprint("k", i), "v")
	}
	for _, tc := range []struct {
		name string
		ops  []clientv3.Op
		want string
	}{
		{"two puts", []clientv3.Op{clientv3.OpPut("k", "1"), clientv3.OpPut("k", "2")}, rpctypes.ErrDuplicateKey.Error()},
		{"put and delete", []clientv3.Op{clientv3.OpPut("k", "1"), clientv3.OpDelete("k")}, rpctypes.ErrDuplicateKey.Error()},
		{"put in deleted range", []clientv3.Op{clientv3.OpDelete("k", clientv3.WithPrefix()), clientv3.OpPut("kk", "1")}, rpctypes.ErrDuplicateKey.Error()},
		{"too many", many, rpctypes.ErrTooManyOps.Error()},
		{"no key", []clientv3.Op{clientv3.OpPut("k", "1"), clientv3.OpPut("", "2")}, rpctypes.ErrEmptyKey.Error()},
		{"unknown lease", []clientv3.Op{clientv3.OpPut("k", "1"), clientv3.OpPut("l", "2", clientv3.WithLease(9))}, rpctypes.ErrLeaseNotFound.Error()},
		{"future revision", []clientv3.Op{clientv3.OpPut("k", "1"), clientv3.OpGet("a", clientv3.WithRev(9))}, rpctypes.ErrFutureRev.Error()},
		{"put here and in a txn inside", []clientv3.Op{clientv3.OpPut("k", "1"), clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("k", "1")}, nil)}, rpctypes.ErrDuplicateKey.Error()},
		{"unknown lease in a txn inside", []clientv3.Op{clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("l", "2", clientv3.WithLease(9))}, nil)}, rpctypes.ErrLeaseNotFound.Error()},
		{"too many together with a txn inside", append(many[:127:127], clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("x", "1"), clientv3.OpPut("y", "1")}, nil)), rpctypes.ErrTooManyOps.Error()},
		{"too large", []clientv3.Op{clientv3.OpPut("k", strings.Repeat("v", 3<<19))}, rpctypes.ErrRequestTooLarge.Error()},
	} {
		if _, err := c.Txn(t.Context()).Then(tc.ops...).Commit(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
	if got := get(t, c, "", clientv3.WithPrefix()); got.Count != 1 || got.Header.Revision != 2 {
		t.Errorf("%d keys at revision %d, want 1 at 2", got.Count, got.Header.Revision)
	}
	// The branch not taken may name the same keys.
	if _, err := c.Txn(t.Context()).Then(clientv3.OpPut("k", "1")).Else(clientv3.OpPut("k", "2")).Commit(); err != nil {
		t.Error(err)
	}
}
