package standalone

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write gives a file contents, and a time that tells it from what it held before.
func write(t *testing.T, name, text string, age time.Duration) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-age)
	if err := os.Chtimes(name, then, then); err != nil {
		t.Fatal(err)
	}
}

const snapshotText = "listener web alb HTTP 80 lb=local\n  noroute 503\nupstream app http keepalive\n  endpoint app-1 127.0.0.1:9000 weight=100\n"

// TestChangedFiles: a change is one until the files have been read, be it in vain, and the system tells of it, also when a
// file is replaced by another.
func TestChangedFiles(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "snapshot")
	write(t, name, snapshotText, time.Hour)
	f := &files{snapshot: name}
	if _, err := f.read(); err != nil {
		t.Fatal(err)
	}
	watcher, err := f.watch()
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Close()
	told := func() {
		t.Helper()
		select {
		case <-watcher.Events:
		case <-time.After(20 * time.Second):
			t.Error("nothing tells of the change")
		}
	}
	look := func(what string, want bool) {
		t.Helper()
		if got := f.changed(); got != want {
			t.Errorf("%s: changed = %v", what, got)
		}
	}
	look("as it was", false)
	write(t, name, snapshotText[:20], time.Minute)
	told()
	look("half of it", true)
	if _, err := f.read(); err == nil {
		t.Error("half a snapshot is none")
	}
	look("it was read, though in vain", false)
	next := filepath.Join(t.TempDir(), "next")
	write(t, next, snapshotText, time.Second)
	if err := os.Rename(next, name); err != nil {
		t.Fatal(err)
	}
	told()
	look("replaced", true)
}

// TestReadGivesWhatTextLacks wants endpoints that can be reached, and an error for each certificate without its files.
func TestReadGivesWhatTextLacks(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "snapshot")
	write(t, name, snapshotText+"certificate crt-1 ECC names=web.example\n", 0)
	f := &files{snapshot: name, certificates: map[string]CertificateFiles{}}
	snap, err := f.read()
	if err == nil || !strings.Contains(err.Error(), "certificate crt-1 (web.example) has no key") || !strings.Contains(err.Error(), "--certificate crt-1=CERT.pem,KEY.pem") {
		t.Errorf("err = %v", err)
	}
	if snap.Upstreams[0].Endpoints[0].Open == nil {
		t.Error("the endpoint cannot be reached")
	}
	f.certificates["crt-1"] = CertificateFiles{Chain: name, Key: filepath.Join(filepath.Dir(name), "none")}
	if _, err := f.read(); err == nil || !strings.Contains(err.Error(), "certificate crt-1: read its key: ") {
		t.Errorf("err = %v", err)
	}
}
