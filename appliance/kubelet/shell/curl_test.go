package shell

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
)

func discard() *log.Logger { return log.New(io.Discard, "", 0) }

func secureRoot(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func TestCurl(t *testing.T) {
	t.Parallel()
	c := world(t)
	const plain = "agent=curl/8.14.1 auth= type= body=\n"
	for _, test := range []struct {
		command string
		in      string
		out     string
		err     string // a part; nothing stands for nothing
		code    int
	}{
		{command: "curl -s http://web/a?b", out: "GET web /a?b " + plain},
		{command: "curl -s web", out: "GET web / " + plain},
		{command: "curl -s http://web.default.svc.cluster.local:80/", out: "GET web.default.svc.cluster.local:80 / " + plain},
		{command: "curl web", out: "GET web / " + plain, err: "% Total"},
		{command: `curl -s -o /dev/null -w %{http_code}\n web/missing`, out: "404\n"},
		{command: `curl -so /dev/null -w %{http_code}|%{remote_ip}:%{remote_port}|%{content_type}|%{size_download}|%{nosuch}|100%%\n web/x`, out: "200|10.0.0.1:80|text/plain; charset=utf-8|47||100%\n"},
		{command: `curl -s -w %{http_code} http://10.0.0.9/`, out: "000", code: 7},
		{command: "curl -s -H Host:demo.com -H X-A:1 -A me web", out: "GET demo.com / agent=me auth= type= body=\n"},
		{command: "curl -s -u user:pass web", out: "GET web / agent=curl/8.14.1 auth=Basic dXNlcjpwYXNz type= body=\n"},
		{command: "curl -s -d a=1 -d b=2 web", out: "POST web / agent=curl/8.14.1 auth= type=application/x-www-form-urlencoded body=a=1&b=2\n"},
		{command: "curl -s -X PUT --json {} web", out: "PUT web / agent=curl/8.14.1 auth= type=application/json body={}\n"},
		{command: "curl -s -G -d a=1 web", out: "GET web /?a=1 " + plain},
		{command: "curl -s -d @- web", in: "from\ninput", out: "POST web / agent=curl/8.14.1 auth= type=application/x-www-form-urlencoded body=frominput\n"},
		{command: "curl -sL web/old", out: "GET web /new " + plain},
		{command: `curl -s -o /dev/null -w %{redirect_url} web/old`, out: "http://web/new"},
		{command: "curl -sSL --max-redirs 3 web/loop", code: 47, err: "curl: (47) Maximum (3) redirects followed\n"},
		{command: "curl -sS -f web/missing", code: 22, err: "curl: (22) The requested URL returned error: 404\n"},
		{command: "curl -s -f web/missing", code: 22},
		{command: "curl -s web/early", out: "late"},
		{command: "curl -sS web/cut", out: "abc", code: 18, err: "curl: (18) end of response with 7 bytes missing\n"},
		{command: "curl -sS http://nosuch/", code: 6, err: "curl: (6) Could not resolve host: nosuch\n"},
		{command: "curl http://10.0.0.9:81/", code: 7, err: "curl: (7) Failed to connect to 10.0.0.9 port 81 after 0 ms: Could not connect to server\n"},
		{command: "curl -sS http://10.0.0.2/", code: 52, err: "curl: (52) Empty reply from server\n"},
		{command: "curl -sS http://10.0.0.3/", code: 1, err: "curl: (1) Received HTTP/0.9 when not allowed\n"},
		{command: "curl -sS https://web/", code: 60, err: "curl: (60) SSL certificate problem: self-signed certificate\n"},
		{command: "curl -sk https://web/s", out: "GET web /s " + plain},
		{command: "curl -s --cacert /etc/ca.crt https://example.com/s", out: "GET example.com /s " + plain},
		{command: "curl -sS --cacert /etc/ca.crt https://web/s", code: 60, err: "no alternative certificate subject name matches target host name 'web'"},
		{command: "curl -sS --cacert /etc/motd https://web/s", code: 2, err: "(77) error setting certificate verify locations"},
		{command: "curl -sS https://web:80/", code: 35, err: "curl: (35) TLS connect error: error:0A00010B"},
		{command: "curl -s --resolve demo.com:80:10.0.0.1 http://demo.com/", out: "GET demo.com / " + plain},
		{command: "curl -s --connect-to demo.com:80:web:80 http://demo.com/", out: "GET demo.com / " + plain},
		{command: "curl -sS ftp://web", code: 1, err: `curl: (1) Protocol "ftp" not supported`},
		{command: "curl -sS http://", code: 3, err: "curl: (3) URL rejected: No host part in the URL\n"},
		{command: "curl --nosuch web", code: 2, err: "curl: option --nosuch: is unknown\n"},
		{command: "curl -Z web", code: 2, err: "curl: option -Z: is unknown\n"},
		{command: "curl -s -o", code: 2, err: "curl: option -o: requires parameter\n"},
		{command: "curl", code: 2, err: "no URL specified"},
		{command: "curl -s -m x web", code: 2, err: "proper number of seconds"},
		{command: "curl -s -o /etc/x web", code: 23},
		{command: "curl -s -o /tmp/x web", out: ""},
		{command: "curl -s -v web", out: "GET web / " + plain, err: "*   Trying 10.0.0.1:80...\n* Connected to web (10.0.0.1) port 80\n> GET / HTTP/1.1\n> Host: web\n> User-Agent: curl/8.14.1\n> Accept: */*\n> \n* Request completely sent off\n< HTTP/1.1 200 OK\n"},
		{command: "wget -qO- http://web/a", out: "GET web /a agent=Wget auth= type= body=\n"},
		{command: "wget -q -O - --header X-A:1 web/old", out: "GET web /new agent=Wget auth= type= body=\n"},
		{command: "wget -qO- --post-data a=1 web", out: "POST web / agent=Wget auth= type=application/x-www-form-urlencoded body=a=1\n"},
		{command: "wget -O /dev/null web", err: "Connecting to web (10.0.0.1:80)\nsaving to '/dev/null'\n"},
		{command: "wget -qO- web/missing", code: 1, err: "wget: server returned error: HTTP/1.1 404 Not Found\n"},
		{command: "wget -qO- http://nosuch", code: 1, err: "wget: bad address 'nosuch'\n"},
		{command: "wget -qO- http://10.0.0.9", code: 1, err: "wget: can't connect to remote host (10.0.0.9): Connection refused\n"},
		{command: "wget -q --spider web"},
		{command: "wget -q -Z web", code: 1, err: "wget: unrecognized option: Z\n"},
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

func TestCurlHeads(t *testing.T) {
	t.Parallel()
	c := world(t)
	for _, command := range []string{"curl -s -i web", "curl -sI web", "curl -s -D - -o /dev/null web"} {
		got := run(t, c, "", strings.Fields(command)...)
		head, body, _ := strings.Cut(got.out, "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || !strings.Contains(head, "X-Test: yes") || (body != "") != strings.Contains(command, "-i") {
			t.Errorf("%s: %+v", command, got)
		}
	}
}

func TestCurlTimeouts(t *testing.T) {
	t.Parallel()
	for command, want := range map[string]string{
		"curl -sS -m 5 web/slow":                          "curl: (28) Operation timed out after 5000 milliseconds with 0 bytes received\n",
		"curl -sS --connect-timeout 5 http://10.0.0.1:9/": "curl: (28) Connection timed out after 5000 milliseconds\n",
		"wget -qO- -T 5 http://10.0.0.1:9/":               "wget: download timed out\n",
		"curl -sS --max-time 5 http://10.0.0.1:9/ ":       "curl: (28) Operation timed out after 5000 milliseconds with 0 bytes received\n",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			c := world(t)
			clock := c.Clock.(*clockwork.FakeClock)
			results := make(chan result)
			go func() { results <- run(t, c, "", strings.Fields(command)...) }()
			if err := clock.BlockUntilContext(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			clock.Advance(5 * time.Second)
			if got := <-results; got.err != want || got.code == 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestHugeHead(t *testing.T) {
	t.Parallel()
	c := world(t)
	network := c.Network.(*cluster)
	for at := range network.sockets {
		network.sockets[at] = speaker(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nX: %s\r\n\r\n", strings.Repeat("x", headCapacity)))
	}
	if got := run(t, c, "", "curl", "-sS", "web"); got.code != curlReceive || !strings.Contains(got.err, "Too large response headers") {
		t.Errorf("%+v", got)
	}
}
