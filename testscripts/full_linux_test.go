package testscripts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fullAt is how far into a file the appliance can write while its disk is full: no store can grow or change, for both
// write beyond it.
const fullAt = 8 << 10

// full takes the appliance's disk away, as far as it can tell, and room gives it back: no file may grow.
func full(ts *testscript.TestScript, neg bool, args []string) {
	limitFiles(ts, neg || len(args) > 0, fullAt)
}

func room(ts *testscript.TestScript, neg bool, args []string) {
	limitFiles(ts, neg || len(args) > 0, unix.RLIM_INFINITY)
}

func limitFiles(ts *testscript.TestScript, wrong bool, bytes uint64) {
	p := processOf(ts)
	if wrong || p.cmd == nil {
		ts.Fatalf("usage: full, room; while an appliance runs")
	}
	limit := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		ts.Fatalf("limit the files of the appliance: %v", os.NewSyscallError("prlimit", err))
	}
}

// TestFullDisk fills a file system of its own: writes are refused in words and everything that was acknowledged stays,
// also when the appliance is killed and cannot start for want of room; with room again it all goes on.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	mount := func(flags uintptr, size string) error {
		return unix.Mount("tmpfs", disk, "tmpfs", flags, "mode=0700,size="+size)
	}
	if err := mount(0, "4m"); err != nil {
		t.Skip("this user or machine may not mount a file system:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := newServer(t)
	s.data = filepath.Join(disk, "data")
	client := clientFor(t, s.start(t))
	write := func(name string, size int) error {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": strings.Repeat("x", size)}}
		_, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), c, metav1.CreateOptions{})
		return err
	}
	kept := map[string]bool{"kube-root-ca.crt": true}
	var err error
	for n := 0; err == nil && n < 100; n++ {
		name := fmt.Sprint("filler-", n)
		if err = write(name, 200<<10); err == nil {
			kept[name] = true
		}
	}
	if err == nil || !strings.Contains(err.Error(), "there is no room for it on the disk") || !strings.Contains(err.Error(), "no space left on device") || !strings.Contains(err.Error(), "free some space") {
		t.Fatalf("a full disk: %v", err)
	}
	same := func(when string) {
		t.Helper()
		list, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]bool{}
		for _, c := range list.Items {
			there[c.Name] = true
		}
		if diff := cmp.Diff(kept, there); diff != "" {
			t.Errorf("%s, acknowledged (-) and there (+):\n%s", when, diff)
		}
	}
	same("on the full disk")
	s.kill()

	// The last bytes go, too: there is no room even to start.
	ballast, err := os.Create(filepath.Join(disk, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	if err := ballast.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), readyLimit)
	defer cancel()
	refused(t, exec.CommandContext(ctx, "appliance", "serve", "--data-dir", s.data, "--listen", "127.0.0.1:0", "--vip-range", s.vips, "--address-mode", "ports"), "no space left")

	if err := mount(unix.MS_REMOUNT, "64m"); err != nil {
		t.Fatal(err)
	}
	client = clientFor(t, s.start(t))
	same("with room again")
	if err := write("more", 200<<10); err != nil {
		t.Fatal(err)
	}
	kept["more"] = true
	same("after another write")
}
