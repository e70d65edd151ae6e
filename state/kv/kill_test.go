package kv_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/alb-appliance/appliance/state/kv"
	"golang.org/x/sync/errgroup"
)

// writerEnv makes the test binary a process that writes to the store it names.
const writerEnv = "KV_TEST_WRITER"

// writeForEver has several writers report every write that was acknowledged.
func writeForEver(path string) error {
	s, err := kv.Open(path, kv.Options{})
	if err != nil {
		return err
	}
	var out sync.Mutex
	var group errgroup.Group
	c := s.Client()
	for w := range 4 {
		group.Go(func() error {
			for n := 0; ; n++ {
				key, value := fmt.Sprintf("%d/%d", w, n%50), fmt.Sprint(n)
				resp, err := c.Put(context.Background(), key, value)
				if err != nil {
					return err
				}
				out.Lock()
				fmt.Println(key, value, resp.Header.Revision)
				out.Unlock()
			}
		})
	}
	return group.Wait()
}

type write struct {
	value    string
	revision int64
}

// TestKilledProcessLosesNothing kills a writing process and finds every write it
// had acknowledged, and the revision counter where it was or later.
func TestKilledProcessLosesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	before := int64(1)
	for round := range 4 {
		acknowledged := killWriter(t, path, 200+100*round)
		s, err := kv.Open(path, kv.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for key, w := range acknowledged {
			resp := get(t, s.Client(), key)
			if w.revision <= before {
				t.Errorf("%s was written at revision %d, before %d", key, w.revision, before)
			}
			if len(resp.Kvs) != 1 || resp.Kvs[0].ModRevision < w.revision {
				t.Fatalf("%s=%s at revision %d was acknowledged, found %v", key, w.value, w.revision, resp.Kvs)
			}
			if kv := resp.Kvs[0]; kv.ModRevision == w.revision && string(kv.Value) != w.value {
				t.Errorf("%s at revision %d is %s, want %s", key, w.revision, kv.Value, w.value)
			}
			if s.Revision() < w.revision {
				t.Errorf("the store is at revision %d, %d was acknowledged", s.Revision(), w.revision)
			}
		}
		before = s.Revision()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killWriter runs a writer, kills it after some acknowledgements and returns the
// last of each key.
func killWriter(t *testing.T, path string, writes int) map[string]write {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), writerEnv+"="+path)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]write{}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var key string
		var w write
		if _, err := fmt.Sscan(lines.Text(), &key, &w.value, &w.revision); err != nil {
			break // the line it was killed in
		}
		if w.revision > acknowledged[key].revision {
			acknowledged[key] = w
		}
		if n == writes {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed
	if len(acknowledged) == 0 {
		t.Fatal("the writer wrote nothing")
	}
	return acknowledged
}
