package shell

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jonboulle/clockwork"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)

// cluster is a network of a few names and servers.
type cluster struct {
	sockets map[netip.AddrPort]string
	names   map[string]string
}

func (c *cluster) Resolver() *Resolver {
	return &Resolver{
		Server: netip.MustParseAddr("172.21.0.10"), Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"}, Ndots: 5,
		Hosts: map[string]netip.Addr{"localhost": netip.MustParseAddr("127.0.0.1"), "web-0": netip.MustParseAddr("10.0.0.5")},
		Ask: func(name string) Answer {
			switch address, ok := c.names[name]; {
			case ok && address == "":
				return Answer{Code: NoError, Name: name}
			case ok:
				return Answer{Code: NoError, Name: name, Addresses: []netip.Addr{netip.MustParseAddr(address)}}
			case strings.HasSuffix(name, ".cluster.local"):
				return Answer{Code: NoSuchName, Name: name}
			default:
				return Answer{Code: ServerFails, Name: name}
			}
		},
	}
}

func (c *cluster) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	socket, ok := c.sockets[to]
	switch {
	case ok:
		var d net.Dialer
		return d.DialContext(ctx, "tcp", socket)
	case to.Port() == 9: // nobody says anything
		<-ctx.Done()
		return nil, ctx.Err()
	case !to.Addr().IsPrivate():
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
	}
	return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// answers is the web server of the tests.
func answers(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/missing":
		http.Error(w, "nothing here", http.StatusNotFound)
	case "/old":
		http.Redirect(w, r, "/new", http.StatusFound)
	case "/loop":
		http.Redirect(w, r, "/loop", http.StatusFound)
	case "/slow":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "/cut":
		w.Header().Set("Content-Length", "10")
		io.WriteString(w, "abc")
	case "/early":
		w.WriteHeader(http.StatusEarlyHints)
		io.WriteString(w, "late")
	default:
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Test", "yes")
		fmt.Fprintf(w, "%s %s %s agent=%s auth=%s type=%s body=%s\n", r.Method, r.Host, r.RequestURI, r.UserAgent(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), body)
	}
}

// world is a container with a web server at web (10.0.0.1:80 and, with TLS, 443), one that closes at 10.0.0.2:80 and one
// that talks nonsense at 10.0.0.3:80.
func world(t *testing.T) *Container {
	t.Helper()
	plain, secure := httptest.NewServer(http.HandlerFunc(answers)), httptest.NewUnstartedServer(http.HandlerFunc(answers))
	secure.Config.ErrorLog = nil
	secure.TLS = &tls.Config{}
	secure.Config.ErrorLog = discard()
	secure.StartTLS()
	closing := speaker(t, "")
	nonsense := speaker(t, "hello\r\n\r\n")
	t.Cleanup(func() {
		plain.CloseClientConnections()
		plain.Close()
		secure.Close()
	})
	network := &cluster{
		sockets: map[netip.AddrPort]string{
			netip.MustParseAddrPort("10.0.0.1:80"): plain.Listener.Addr().String(), netip.MustParseAddrPort("10.0.0.1:443"): secure.Listener.Addr().String(),
			netip.MustParseAddrPort("10.0.0.2:80"): closing, netip.MustParseAddrPort("10.0.0.3:80"): nonsense,
		},
		names: map[string]string{"web.default.svc.cluster.local": "10.0.0.1", "example.com": "10.0.0.1", "empty.default.svc.cluster.local": ""},
	}
	files := NewFiles(noon)
	files.AddPrograms()
	files.Add("/etc/motd", []byte("one\ntwo\nthree\n"), 0o644)
	files.Add("/etc/ca.crt", secureRoot(secure), 0o644)
	files.Add("/root/.hidden", nil, 0o600)
	files.Mount("/tmp", &Scratch{})
	return &Container{
		Env: map[string]string{"HOSTNAME": "web-0", "GREETING": "good day"}, Hostname: "web-0", Program: "nginx", Files: files,
		Network: network, Clock: clockwork.NewFakeClockAt(noon),
	}
}

// speaker accepts connections, reads a request's beginning, says one thing and closes.
func speaker(t *testing.T, text string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 4<<10))
			io.WriteString(c, text)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}

// result is what came of a command.
type result struct {
	out, err string
	code     int
	failed   error
}

func run(t *testing.T, c *Container, in string, command ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	code, err := c.Run(t.Context(), command, Streams{In: strings.NewReader(in), Out: &out, Err: &errs})
	return result{out.String(), errs.String(), code, err}
}

func TestCommands(t *testing.T) {
	t.Parallel()
	c := world(t)
	for _, test := range []struct {
		command string
		in      string
		out     string
		err     string // a part
		code    int
	}{
		{command: "echo a b", out: "a b\n"},
		{command: "pwd", out: "/\n"},
		{command: "hostname", out: "web-0\n"},
		{command: "hostname -i", out: "10.0.0.5\n"},
		{command: "whoami", out: "root\n"},
		{command: "id -u", out: "0\n"},
		{command: "true"},
		{command: "false", code: 1},
		{command: "date +%F_%T_%s_%%_%Q", out: "2026-11-21_12:00:00_1795262400_%_%Q\n"},
		{command: "date", out: "Sat Nov 21 12:00:00 UTC 2026\n"},
		{command: "printenv GREETING", out: "good day\n"},
		{command: "printenv NONE", code: 1},
		{command: "env A=1 printenv A", out: "1\n"},
		{command: "env nosuch", code: 127, err: "env: can't execute 'nosuch': No such file or directory"},
		{command: "cat", in: "typed", out: "typed"},
		{command: "cat /etc/motd", out: "one\ntwo\nthree\n"},
		{command: "cat -n /etc/motd", out: "     1  one\n     2  two\n     3  three\n"},
		{command: "cat /nope", code: 1, err: "cat: can't open '/nope': No such file or directory"},
		{command: "cat /etc", code: 1, err: "cat: can't open '/etc': Is a directory"},
		{command: "cat -z", code: 1, err: "cat: unrecognized option: z"},
		{command: "head -n 1 /etc/motd", out: "one\n"},
		{command: "head -2 /etc/motd", out: "one\ntwo\n"},
		{command: "tail -n1 /etc/motd", out: "three\n"},
		{command: "head -n x", code: 1, err: "invalid number 'x'"},
		{command: "grep -n t /etc/motd", out: "2:two\n3:three\n"},
		{command: "grep -ci T /etc/motd", out: "2\n"},
		{command: "grep -v t /etc/motd", out: "one\n"},
		{command: "grep four /etc/motd", code: 1},
		{command: "grep -q one /etc/motd"},
		{command: "grep ( /etc/motd", code: 2, err: "bad regex"},
		{command: "sort -r /etc/motd", out: "two\nthree\none\n"},
		{command: "wc -l /etc/motd", out: "3 /etc/motd\n"},
		{command: "wc", in: "a b\nc", out: "1 3 5\n"},
		{command: "ls /etc", out: "ca.crt\nmotd\n"},
		{command: "ls /root"},
		{command: "ls -a /root", out: ".hidden\n"},
		{command: "ls -l /etc/motd", out: "-rw-r--r--    1 root     root            14 Nov 21 12:00 /etc/motd\n"},
		{command: "ls /nope", code: 1, err: "ls: /nope: No such file or directory"},
		{command: "which curl sh", out: "/usr/bin/curl\n/usr/bin/sh\n"},
		{command: "which nosuch", code: 1},
		{command: "ps", out: "PID   USER     TIME  COMMAND\n    1 root      0:00 nginx\n    7 root      0:00 ps\n"},
		{command: "test -d /etc"},
		{command: "test -d /etc/motd", code: 1},
		{command: "sleep 0"},
		{command: "sleep x", code: 1, err: "sleep: invalid number 'x'"},
		{command: "/bin/echo x", out: "x\n"},
		{command: "tar", code: 1, err: "must specify one of"},
		{command: "nslookup web", out: "Server:\t\t172.21.0.10\nAddress:\t172.21.0.10:53\n\nName:\tweb.default.svc.cluster.local\nAddress: 10.0.0.1\n\n"},
		{command: "nslookup nosuch.default.svc.cluster.local.", code: 1, out: "Server:\t\t172.21.0.10\nAddress:\t172.21.0.10:53\n\n** server can't find nosuch.default.svc.cluster.local.: NXDOMAIN\n\n"},
		{command: "nslookup empty", out: "Server:\t\t172.21.0.10\nAddress:\t172.21.0.10:53\n\n*** Can't find empty: No answer\n\n"},
		{command: "nslookup web 1.1.1.1", code: 1, out: ";; connection timed out; no servers could be reached\n\n"},
		{command: "nslookup", code: 1, err: "usage"},
	} {
		t.Run(test.command, func(t *testing.T) {
			t.Parallel()
			got := run(t, c, test.in, strings.Fields(test.command)...)
			if got.failed != nil || got.code != test.code || got.out != test.out || !strings.Contains(got.err, test.err) || (test.err == "") != (got.err == "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	c := world(t)
	for _, test := range []struct {
		script string
		out    string
		err    string
		code   int
	}{
		{script: "echo $HOSTNAME ${GREETING} '$HOME' \"$HOME\"", out: "web-0 good day $HOME /root\n"},
		{script: "false || echo no && echo yes; exit 7", out: "no\nyes\n", code: 7},
		{script: "cat /etc/motd | grep t | wc -l", out: "2\n"},
		{script: "for i in 1 2; do echo $i; done", out: "1\n2\n"},
		{script: "cd /etc; pwd; ls m*; cat motd | head -n 1", out: "/etc\nmotd\none\n"},
		{script: "foo", code: 127, err: "sh: foo: not found\n"},
		{script: "foo; echo $?", out: "127\n", err: "sh: foo: not found\n"},
		{script: "echo x > /tmp/f; echo y >> /tmp/f; cat /tmp/f; ls /tmp", out: "x\ny\nf\n"},
		{script: "echo x > /etc/motd", code: 1, err: "sh: can't create /etc/motd: Read-only file system\n"},
		{script: "cat < /nope", code: 1, err: "sh: can't open /nope: No such file or directory\n"},
		{script: "echo x > /dev/null; cat /dev/null"},
		{script: "x=$(cat /etc/motd | tail -n 1); echo \"[$x]\"", out: "[three]\n"},
		{script: "[ -x /bin/sh ] && [ ! -x /etc/motd ] && [ -O /etc/motd ] && echo ok", out: "ok\n"},
		{script: "A=1 env | grep ^A=; B=2; env | grep -c ^B=", out: "A=1\n0\n", code: 1},
		{script: "type cd curl; command -v nosuch", out: "cd\n/usr/bin/curl\n", code: 127},
		{script: "echo 'unclosed", code: 2, err: "sh: syntax error: line 1: "},
		{script: "cat <(echo a)", code: 2, err: "no process substitution"},
		{script: "eval 'cat <(echo a)'", err: "cannot create fifo"},
		{script: "echo a >&2", err: "a\n"},
		{script: "echo $UID; env | grep -c UID", out: "0\n0\n", code: 1},
		{script: "sh -c 'exit 3'; echo $?; sh -c 'echo $0 $1' a b", out: "3\na b\n"},
		{script: "set -e; false; echo never", code: 1},
		{script: "trap 'echo end' EXIT; echo $0", out: "sh\nend\n"},
		{script: "echo $((6*7))", out: "42\n"},
		{script: "read a b; echo $b", out: "\n", code: 0},
		{script: ": ~nobodyhere; echo ~", out: "/root\n"},
		{script: "tar cf - -C /etc motd | tar xf - -C /tmp; cat /tmp/motd | head -n 1; tar cf - /etc/motd 2>/dev/null | tar tf -", out: "one\netc/motd\n"},
	} {
		t.Run(test.script, func(t *testing.T) {
			t.Parallel()
			own := *c
			own.Files = NewFiles(noon)
			own.Files.AddPrograms()
			own.Files.Add("/etc/motd", []byte("one\ntwo\nthree\n"), 0o644)
			own.Files.Mount("/tmp", &Scratch{})
			got := run(t, &own, "", "sh", "-c", test.script)
			if got.failed != nil || got.code != test.code || got.out != test.out || !strings.Contains(got.err, test.err) || (test.err == "") != (got.err == "") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestScriptOnInput(t *testing.T) {
	t.Parallel()
	got := run(t, world(t), "trap 'echo end' EXIT\necho one\nif true\nthen hostname\nfi\nexit 4\necho never\n", "sh")
	if got.out != "one\nweb-0\nend\n" || got.code != 4 {
		t.Errorf("%+v", got)
	}
}

func TestInputOfScript(t *testing.T) {
	t.Parallel()
	got := run(t, world(t), "typed\nmore\n", "sh", "-c", "read line; echo got $line; cat")
	if got.out != "got typed\nmore\n" {
		t.Errorf("%+v", got)
	}
}

func TestNoSuchProgram(t *testing.T) {
	t.Parallel()
	c, bare := world(t), world(t)
	bare.Bare = true
	for _, test := range []struct {
		c    *Container
		name string
		want string
	}{
		{c, "nosuch", `exec: "nosuch": executable file not found in $PATH`},
		{c, "", `exec: "": executable file not found in $PATH`},
		{c, "/bin/nosuch", `exec: "/bin/nosuch": stat /bin/nosuch: no such file or directory`},
		{c, "/etc/sh", `exec: "/etc/sh": stat /etc/sh: no such file or directory`},
		{bare, "sh", `exec: "sh": executable file not found in $PATH`},
	} {
		var missing *NotFoundError
		if _, err := test.c.Run(t.Context(), []string{test.name}, Streams{}); !errors.As(err, &missing) || err.Error() != test.want {
			t.Errorf("%q: %v; want %s", test.name, err, test.want)
		}
	}
}

func TestCutCommand(t *testing.T) {
	t.Parallel()
	c := world(t)
	for _, command := range [][]string{{"sleep", "100"}, {"sh", "-c", "while true; do sleep 1; done"}, {"sh", "-c", "while :; do :; done"}, {"sh", "-c", "sleep 100 | cat"}, {"curl", "-s", "web/slow"}} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if code, err := c.Run(ctx, command, Streams{}); code != codeKilled || err != nil {
			t.Errorf("%q: %d, %v", command, code, err)
		}
	}
}

func TestSleepUsesTheClock(t *testing.T) {
	t.Parallel()
	c := world(t)
	ended := make(chan int)
	go func() {
		code, _ := c.Run(t.Context(), []string{"sleep", "1m", "30"}, Streams{})
		ended <- code
	}()
	clock := c.Clock.(*clockwork.FakeClock)
	if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	clock.Advance(89 * time.Second)
	select {
	case <-ended:
		t.Fatal("a second early")
	default:
	}
	clock.Advance(time.Second)
	if code := <-ended; code != 0 {
		t.Error(code)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	f := NewFiles(noon)
	f.Add("/etc/motd", []byte("hello"), 0o600)
	f.Mount("/tmp", &Scratch{})
	w, err := f.OpenFile("/tmp/x", os.O_WRONLY|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "written"); err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(f, "etc/motd", "tmp/x", "dev/null"); err != nil {
		t.Error(err)
	}
}

func TestScratchIsBounded(t *testing.T) {
	t.Parallel()
	f := NewFiles(noon)
	f.Mount("/tmp", &Scratch{})
	w, err := f.OpenFile("/tmp/x", os.O_WRONLY|os.O_CREATE)
	if err != nil {
		t.Fatal(err)
	}
	half := make([]byte, scratchCapacity/2)
	if _, err := w.Write(half); err != nil {
		t.Error(err)
	}
	if _, err := w.Write(half); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("%v; want no space", err)
	}
	if _, err := f.OpenFile("/tmp/x", os.O_WRONLY|os.O_TRUNC); err != nil {
		t.Error(err)
	}
	if _, err := f.OpenFile("/tmp/y/z", os.O_WRONLY|os.O_CREATE); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("%v; want no such directory", err)
	}
}
