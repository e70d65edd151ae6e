package state_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alb-appliance/appliance/state"
	"go.uber.org/goleak"
)

// holdEnv makes the test binary a process that holds a directory.
const holdEnv = "STATE_TEST_HOLD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdEnv); dir != "" {
		hold(dir)
	}
	goleak.VerifyTestMain(m)
}

// hold takes dir and keeps it until standard input ends.
func hold(dir string) {
	if _, err := state.OpenDir(dir); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	os.Exit(0)
}

func TestOpenDirCreatesPrivateDirectory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a", "b")
	d, err := state.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("mode is %o, want 700", got)
	}
	if got, want := d.Path("x.db"), filepath.Join(path, "x.db"); got != want {
		t.Errorf("Path is %s, want %s", got, want)
	}
	text, err := os.ReadFile(d.Path("appliance.lock"))
	if err != nil || strings.TrimSpace(string(text)) != fmt.Sprint(os.Getpid()) {
		t.Errorf("lock file holds %q (%v), want our pid", text, err)
	}
}

func TestOpenDirIsExclusive(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	d, err := state.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = state.OpenDir(path)
	want := fmt.Sprintf("data directory %s is in use by process %d; stop it or choose another with --data-dir", path, os.Getpid())
	if err == nil || err.Error() != want {
		t.Fatalf("second open: %v\nwant: %s", err, want)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := state.OpenDir(path)
	if err != nil {
		t.Fatalf("open after close: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDirNamesOtherProcessAndOutlivesIt(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), holdEnv+"="+path)
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("child says %q", line)
	}
	_, err = state.OpenDir(path)
	if want := fmt.Sprintf("process %d;", child.Process.Pid); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("open while the child has it: %v, want %s", err, want)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	d, err := state.OpenDir(path)
	if err != nil {
		t.Fatalf("open after the child was killed: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDirRefuses(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path, want string
		root             bool // root may do it all the same
	}{
		{name: "a file", path: file, want: "is not a directory"},
		{name: "below a file", path: filepath.Join(file, "x"), want: "is not a directory"},
		{name: "not writable", path: locked, want: "is not writable", root: true},
		{name: "below not writable", path: filepath.Join(locked, "x"), want: "is not writable", root: true},
		{name: "read-only file system", path: "/proc/appliance", want: "choose another with --data-dir", root: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.root && os.Geteuid() == 0 && !strings.HasPrefix(c.path, "/proc") {
				t.Skip("root may write anywhere")
			}
			d, err := state.OpenDir(c.path)
			if err == nil {
				_ = d.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want one line with %q and the path", err, c.want)
			}
		})
	}
}
