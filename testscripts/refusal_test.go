package testscripts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestUnusableStores starts on data directories that are damaged or must not be written. Each is refused with code 1 and
// one line on standard error, and nothing in it is changed: what is left can still be looked after.
func TestUnusableStores(t *testing.T) {
	t.Parallel()
	whole := newServer(t)
	client := clientFor(t, whole.start(t))
	precious := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "precious"}, Data: map[string]string{"k": "a-precious-value"}}
	if _, err := client.CoreV1().ConfigMaps("default").Create(t.Context(), precious, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := whole.command("cloud", "certificates", "request", "precious.example.com"); err != nil {
		t.Fatal(err)
	}
	if err := whole.stop(); err != nil {
		t.Fatal(err)
	}

	for name, row := range map[string]struct {
		damage func(t *testing.T, data string)
		nobody bool // it takes a user whom permissions hold back
		want   []string
	}{
		"objects truncated": {want: []string{"appliance.db: the file is damaged", "restore it"},
			damage: func(t *testing.T, data string) { must(t, os.Truncate(filepath.Join(data, "appliance.db"), 20000)) }},
		"objects flipped": {want: []string{"appliance.db: the file is damaged", `key "/registry/configmaps/default/precious": checksum does not match`, "restore it"},
			damage: func(t *testing.T, data string) { spoil(t, filepath.Join(data, "appliance.db"), "a-precious-value") }},
		"objects missing": {want: []string{"appliance.db: it is empty or missing", "restore a backup"},
			damage: func(t *testing.T, data string) { must(t, os.Remove(filepath.Join(data, "appliance.db"))) }},
		"cloud truncated": {want: []string{"cloud.db", "damaged", "restore it"},
			damage: func(t *testing.T, data string) { must(t, os.Truncate(filepath.Join(data, "cloud.db"), 20000)) }},
		"cloud flipped": {want: []string{"cloud.db", "restore it"},
			damage: func(t *testing.T, data string) { spoil(t, filepath.Join(data, "cloud.db"), "precious.example.com") }},
		"cloud missing": {want: []string{"cloud.db: it is empty or missing", "restore a backup"},
			damage: func(t *testing.T, data string) { must(t, os.Remove(filepath.Join(data, "cloud.db"))) }},
		"below a file": {want: []string{"is not a directory", "choose another with --data-dir"},
			damage: func(t *testing.T, data string) { must(t, os.RemoveAll(data)); must(t, os.WriteFile(data, nil, 0o600)) }},
		"directory not writable": {nobody: true, want: []string{"attempt to write a readonly database", "make the file and its directory writable"},
			damage: func(t *testing.T, data string) { must(t, os.Chmod(data, 0o500)) }},
		"nothing writable": {nobody: true, want: []string{"is not writable", "make it writable or choose another with --data-dir"},
			damage: func(t *testing.T, data string) {
				must(t, os.Chmod(filepath.Join(data, "appliance.lock"), 0o400))
				must(t, os.Chmod(data, 0o500))
			}},
		"objects not writable": {nobody: true, want: []string{"appliance.db: permission denied", "make the file and its directory writable"},
			damage: func(t *testing.T, data string) { must(t, os.Chmod(filepath.Join(data, "appliance.db"), 0o400)) }},
		"cloud not writable": {nobody: true, want: []string{"cloud.db: permission denied", "make the file and its directory writable"},
			damage: func(t *testing.T, data string) { must(t, os.Chmod(filepath.Join(data, "cloud.db"), 0o400)) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			above := t.TempDir()
			data := filepath.Join(above, "data")
			must(t, os.CopyFS(data, os.DirFS(whole.data)))
			row.damage(t, data)
			if info, err := os.Stat(data); err == nil && info.IsDir() {
				t.Cleanup(func() { _ = os.Chmod(data, 0o700) }) // so that it can be removed
			}
			before := contents(t, data)
			ctx, cancel := context.WithTimeout(t.Context(), readyLimit) // it may start all the same
			defer cancel()
			cmd := exec.CommandContext(ctx, "appliance", "serve", "--data-dir", data, "--listen", "127.0.0.1:0", "--vip-range", newServer(t).vips, "--address-mode", "ports")
			if row.nobody {
				asNobody(t, cmd, above)
			}
			refused(t, cmd, row.want...)
			after := contents(t, data)
			if before["/appliance.db"] == "" {
				delete(after, "/appliance.db") // a new one, with nothing in it
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("files, before (-) and after (+):\n%s", diff)
			}
		})
	}
}

// refused wants a program to end with code 1, nothing on standard output and one line on standard error, with words in it.
func refused(t *testing.T, cmd *exec.Cmd, words ...string) {
	t.Helper()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("it ended with %v, want code 1", err)
	}
	if out.Len() > 0 || strings.Count(said.String(), "\n") != 1 || !strings.HasPrefix(said.String(), "appliance: ") {
		t.Errorf("on standard output %q, on standard error, where one line is wanted:\n%s", &out, &said)
	}
	for _, w := range words {
		if !strings.Contains(said.String(), w) {
			t.Errorf("%q is missing in: %s", w, &said)
		}
	}
}

// asNobody has the program run as a user who may not do everything: the caller, if not root. What is below dir is given
// to that user. The program is reached as an open file, for directories of tests are their owner's alone.
func asNobody(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if runtime.GOOS != "linux" {
		t.Skip("root may write anywhere; run it as another user")
	}
	const nobody = 65534
	must(t, filepath.WalkDir(filepath.Dir(dir), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, nobody, nobody)
	}))
	program, err := os.Open(cmd.Path)
	must(t, err)
	t.Cleanup(func() { program.Close() })
	cmd.ExtraFiles, cmd.Path, cmd.Dir = []*os.File{program}, "/proc/self/fd/3", "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true}}
}

// contents is what the files below a path hold, but for the lock, which names the process.
func contents(t *testing.T, path string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "appliance.lock" {
			return err
		}
		raw, err := os.ReadFile(name)
		all[strings.TrimPrefix(name, path)] = fmt.Sprintf("%d bytes, %x", len(raw), sha256.Sum256(raw))
		return err
	}))
	return all
}

// spoil turns one bit of every copy of a text in a file.
func spoil(t *testing.T, path, text string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	must(t, err)
	wrong := []byte(text)
	wrong[0] ^= 1
	spoiled := bytes.ReplaceAll(raw, []byte(text), wrong)
	if bytes.Equal(raw, spoiled) {
		t.Fatalf("%s does not hold %q", path, text)
	}
	must(t, os.WriteFile(path, spoiled, 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
