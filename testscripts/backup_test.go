package testscripts

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// TestBackupDuringWrites takes backups while writers write and the controller makes and deletes instances. Each holds
// every write that was acknowledged before it began, and an appliance that starts on it has one instance for each
// AlbConfig.
func TestBackupDuringWrites(t *testing.T) {
	t.Parallel()
	const backups, writers = 2, 6
	s, l := newServer(t), newLedger()
	config := s.start(t)
	l.learnZones(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var working sync.WaitGroup
	answers := make(chan struct{}, writers)
	for n := range writers {
		w := newWriter(t, l, config, n, rand.New(rand.NewPCG(1, uint64(n))))
		working.Go(func() { w.write(ctx, answers) })
	}
	t.Cleanup(func() {
		cancel()
		go func() {
			working.Wait()
			close(answers)
		}()
		for range answers {
		}
	})
	for n := range backups {
		for range 150 {
			<-answers
		}
		least := l.copied()
		file := filepath.Join(t.TempDir(), fmt.Sprint(n, ".tar"))
		taken := make(chan error, 1)
		go func() {
			_, err := s.command("backup", file)
			taken <- err
		}()
		for waiting := true; waiting; {
			select {
			case <-answers: // writers go on
			case err := <-taken:
				if err != nil {
					t.Fatal(err)
				}
				waiting = false
			}
		}
		restored := newServer(t)
		if _, err := restored.command("restore", file); err != nil {
			t.Fatal(err)
		}
		least.verifyRestored(t, restored, restored.start(t), l)
		restored.kill()
	}
}

// copied is the ledger as it is now.
func (l *ledger) copied() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &ledger{sure: maps.Clone(l.sure), asked: maps.Clone(l.asked), newest: l.newest}
}

// verifyRestored wants everything that the ledger knew when the backup began, or what later, by the ledger since, came
// of it.
func (l *ledger) verifyRestored(t *testing.T, s *server, config *rest.Config, since *ledger) {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	there := map[id]fact{}
	for n, k := range kinds {
		list, err := client.Resource(k.resource).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if version := number(t, list.GetResourceVersion()); version < l.newest {
			t.Errorf("the backup is at resource version %d, %d was acknowledged before it began", version, l.newest)
		}
		for _, o := range list.Items {
			if value, ours := o.GetAnnotations()[written]; ours && o.GetDeletionTimestamp() == nil {
				there[id{n, o.GetName()}] = fact{value, number(t, o.GetResourceVersion())}
			}
		}
	}
	since.mu.Lock()
	for o, sure := range l.sure {
		wanted, asked := since.asked[o]
		deleted := since.gone[o] || asked && wanted == ""
		if f, found := there[o]; sure.value != "" && (!found && !deleted || found && f.version < sure.version) {
			t.Errorf("%s %s was acknowledged at %d before the backup began, and is at %d in it", kinds[o.kind].kind, o.name, sure.version, f.version)
		}
	}
	since.mu.Unlock()
	(&ledger{sure: there}).verifyCloud(t, s, "restored")
}
