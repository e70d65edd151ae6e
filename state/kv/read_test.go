package kv_test

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestRange(t *testing.T) {
	t.Parallel()
	c := memory(t)
	// The store begins at revision 1, as etcd does.
	put(t, c, "a", "3")        // 2
	put(t, c, "b/1", "2")      // 3
	put(t, c, "b/2", "1")      // 4
	put(t, c, "b/2", "9")      // 5
	put(t, c, "c", "0")        // 6
	remove(t, c, "a")          // 7
	put(t, c, "a", "4")        // 8
	put(t, c, "b\xff\xff", "") // 9
	prefix := clientv3.WithPrefix()
	for _, tc := range []struct {
		name string
		key  string
		opts []clientv3.OpOption
		want string
	}{
		{"one", "a", nil, "a=4 more=false count=1"},
		{"none", "x", nil, "more=false count=0"},
		{"prefix", "b/", []clientv3.OpOption{prefix}, "b/1=2 b/2=9 more=false count=2"},
		{"prefix of 0xff", "b\xff", []clientv3.OpOption{prefix}, "b\xff\xff= more=false count=1"},
		{"all", "", []clientv3.OpOption{prefix}, "a=4 b/1=2 b/2=9 b\xff\xff= c=0 more=false count=5"},
		{"from key", "b/2", []clientv3.OpOption{clientv3.WithFromKey()}, "b/2=9 b\xff\xff= c=0 more=false count=3"},
		{"end excluded", "a", []clientv3.OpOption{clientv3.WithRange("b/2")}, "a=4 b/1=2 more=false count=2"},
		{"end before start", "b", []clientv3.OpOption{clientv3.WithRange("a")}, "more=false count=0"},
		{"limit", "", []clientv3.OpOption{prefix, clientv3.WithLimit(2)}, "a=4 b/1=2 more=true count=5"},
		{"limit reached", "b/", []clientv3.OpOption{prefix, clientv3.WithLimit(2)}, "b/1=2 b/2=9 more=false count=2"},
		{"count only", "", []clientv3.OpOption{prefix, clientv3.WithCountOnly()}, "more=false count=5"},
		{"keys only", "b/", []clientv3.OpOption{prefix, clientv3.WithKeysOnly()}, "b/1= b/2= more=false count=2"},
		{"before update", "b/", []clientv3.OpOption{prefix, clientv3.WithRev(4)}, "b/1=2 b/2=1 more=false count=2"},
		{"before create", "c", []clientv3.OpOption{clientv3.WithRev(5)}, "more=false count=0"},
		{"before delete", "a", []clientv3.OpOption{clientv3.WithRev(6)}, "a=3 more=false count=1"},
		{"at delete", "a", []clientv3.OpOption{clientv3.WithRev(7)}, "more=false count=0"},
		{"beginning", "", []clientv3.OpOption{prefix, clientv3.WithRev(1)}, "more=false count=0"},
		{"min mod", "", []clientv3.OpOption{prefix, clientv3.WithMinModRev(6)}, "a=4 b\xff\xff= c=0 more=false count=5"},
		{"max mod", "", []clientv3.OpOption{prefix, clientv3.WithMaxModRev(5)}, "b/1=2 b/2=9 more=false count=5"},
		{"create window", "", []clientv3.OpOption{prefix, clientv3.WithMinCreateRev(4), clientv3.WithMaxCreateRev(6)}, "b/2=9 c=0 more=false count=5"},
		{"filter and limit", "", []clientv3.OpOption{prefix, clientv3.WithMinModRev(6), clientv3.WithLimit(2)}, "a=4 b\xff\xff= more=true count=5"},
		{"descending", "b/", []clientv3.OpOption{prefix, clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)}, "b/2=9 b/1=2 more=false count=2"},
		{"by value", "", []clientv3.OpOption{prefix, clientv3.WithSort(clientv3.SortByValue, clientv3.SortAscend), clientv3.WithLimit(3)}, "b\xff\xff= c=0 b/1=2 more=true count=5"},
		{"by mod", "", []clientv3.OpOption{prefix, clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(1)}, "b\xff\xff= more=true count=5"},
		{"by version", "b/", []clientv3.OpOption{prefix, clientv3.WithSort(clientv3.SortByVersion, clientv3.SortDescend)}, "b/2=9 b/1=2 more=false count=2"},
		{"by create", "", []clientv3.OpOption{prefix, clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend), clientv3.WithLimit(1)}, "b/1=2 more=true count=5"},
		{"serializable", "a", []clientv3.OpOption{clientv3.WithSerializable()}, "a=4 more=false count=1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			resp := get(t, c, tc.key, tc.opts...)
			if got := text(resp); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if resp.Header.Revision != 9 {
				t.Errorf("header says revision %d, want 9", resp.Header.Revision)
			}
		})
	}
	for _, tc := range []struct {
		name string
		key  string
		opt  clientv3.OpOption
		want error
	}{
		{"no key", "", clientv3.WithLimit(0), rpctypes.ErrEmptyKey},
		{"future", "a", clientv3.WithRev(10), rpctypes.ErrFutureRev},
	} {
		if _, err := c.KV.Get(t.Context(), tc.key, tc.opt); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}

// TestResponsesAreTheCallersOwn proves that a careless caller cannot change what
// others read.
func TestResponsesAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	c := memory(t)
	put(t, c, "a", "1")
	kv := get(t, c, "a").Kvs[0]
	kv.Value, kv.ModRevision, kv.Version = nil, 99, 0
	if got := text(get(t, c, "a")); got != "a=1 more=false count=1" {
		t.Errorf("got %s", got)
	}
}
