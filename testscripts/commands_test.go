package testscripts

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/alb-appliance/appliance/appliance"
)

// awaitLimit is how long `await` tries.
const awaitLimit = 30 * time.Second

// await runs a program again and again until its output matches a regular expression: await RE PROGRAM ARGS…
// `await curl …` uses the curl of scenarios.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: await regexp program args...")
	}
	want := regexp.MustCompile("(?m)" + args[0])
	deadline := time.Now().Add(awaitLimit)
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, 250*time.Millisecond) {
		out := run(ts, args[1:])
		if want.MatchString(out) != neg {
			_, _ = io.WriteString(ts.Stdout(), out)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("await %q: after %s the output is\n%s\n%s", args[0], awaitLimit, out, logOf(ts))
		}
		time.Sleep(wait)
	}
}

func logOf(ts *testscript.TestScript) string {
	if p := processOf(ts); p.log != nil {
		return "the appliance's log:\n" + p.log.String()
	}
	return ""
}

func run(ts *testscript.TestScript, args []string) string {
	if args[0] == "curl" {
		out, err := curlOutput(ts, args[1:])
		if err != nil {
			return out + err.Error()
		}
		return out
	}
	cmd := exec.Command(lookPath(ts, args[0]), args[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = environment(ts)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"HOME", "PATH", "KUBECONFIG", "XDG_DATA_HOME"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

// curl does a request as curl does, with names from the appliance's name server and the sockets of its endpoints.
// It knows -s -i -k -H -X -d -o -w --cacert --http2 --http3, and of -w only %{http_code}.
func curl(ts *testscript.TestScript, neg bool, args []string) {
	out, err := curlOutput(ts, args)
	_, _ = io.WriteString(ts.Stdout(), out)
	if (err != nil) != neg {
		ts.Fatalf("curl: %v\n%s", err, logOf(ts))
	}
	if err != nil {
		_, _ = io.WriteString(ts.Stderr(), err.Error())
	}
}

type headers []string

func (h *headers) String() string     { return strings.Join(*h, ", ") }
func (h *headers) Set(v string) error { *h = append(*h, v); return nil }

func curlOutput(ts *testscript.TestScript, args []string) (string, error) {
	flags := flag.NewFlagSet("curl", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var fields headers
	flags.Var(&fields, "H", "header")
	method := flags.String("X", "GET", "method")
	data := flags.String("d", "", "body")
	output := flags.String("o", "", "file")
	write := flags.String("w", "", "format")
	include := flags.Bool("i", false, "show head")
	insecure := flags.Bool("k", false, "take any certificate")
	roots := flags.String("cacert", "", "file of certificates to trust")
	http2 := flags.Bool("http2", false, "offer HTTP/2")
	quic := flags.Bool("http3", false, "speak HTTP/3")
	flags.Bool("s", false, "silent")
	var target string
	for len(args) > 0 { // flags may follow the URL
		if err := flags.Parse(args); err != nil {
			return "", err
		}
		if args = flags.Args(); len(args) > 0 {
			target, args = args[0], args[1:]
		}
	}
	request, err := http.NewRequest(*method, target, strings.NewReader(*data))
	if err != nil {
		return "", err
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ":")
		if strings.EqualFold(name, "Host") {
			request.Host = strings.TrimSpace(value)
			continue
		}
		request.Header.Add(name, strings.TrimSpace(value))
	}
	transport := http.RoundTripper(&http.Transport{
		DialContext: dialer(ts), DisableKeepAlives: true, TLSClientConfig: tlsConfig(ts, *insecure, *roots), ForceAttemptHTTP2: *http2,
	})
	if *quic {
		http3 := http3Transport(ts, tlsConfig(ts, *insecure, *roots))
		defer http3.Close()
		transport = http3
	}
	client := http.Client{
		Timeout:       10 * time.Minute,
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if sent := processOf(ts).sent; sent != nil {
		processOf(ts).sent = nil
		request = request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { sent() },
		}))
	}
	if by := processOf(ts).later; by != "" {
		processOf(ts).later = ""
		answered, moving := make(chan struct{}), sync.WaitGroup{}
		defer moving.Wait()
		defer close(answered)
		request = request.WithContext(httptrace.WithClientTrace(request.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { moving.Go(func() { advance(ts, by, answered) }) },
		}))
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if *include {
		fmt.Fprintf(&out, "%s %s\n", response.Proto, response.Status)
		_ = response.Header.Write(&out)
		out.WriteByte('\n')
	}
	if *output == "" {
		out.Write(body)
	}
	format := strings.NewReplacer("%{http_code}", strconv.Itoa(response.StatusCode), `\n`, "\n")
	out.WriteString(format.Replace(*write))
	return out.String(), nil
}

// tlsConfig trusts a file's certificates alone, or anything.
func tlsConfig(ts *testscript.TestScript, insecure bool, roots string) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: insecure}
	if roots != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(ts.ReadFile(roots))) {
			ts.Fatalf("%s holds no certificate", roots)
		}
	}
	return c
}

// dialer connects to what the appliance says is behind a name and port.
func dialer(ts *testscript.TestScript) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		socket := address
		if address != ts.Getenv("SOCKET") && address != ts.Getenv("METRICS") { // of an engine alone
			if socket, err = socketFor(ts, host, port); err != nil {
				return nil, err
			}
		}
		var d net.Dialer
		return d.DialContext(ctx, network, socket)
	}
}

// socketFor finds the socket behind a name or address and a port.
func socketFor(ts *testscript.TestScript, host, port string) (string, error) {
	var view appliance.Endpoints
	if err := query(ts, &view, "endpoints", "-o", "json"); err != nil {
		return "", err
	}
	addresses := []string{host}
	if net.ParseIP(host) == nil {
		var err error
		if addresses, err = lookup(ts, host); err != nil {
			return "", err
		}
	}
	return socketOf(&view, addresses[0], port)
}

// socketOf finds the socket of an address and port; where sockets share one address, their order tells the zone.
func socketOf(view *appliance.Endpoints, address, port string) (string, error) {
	for _, lb := range view.LoadBalancers {
		zone := slices.IndexFunc(lb.Zones, func(z appliance.Zone) bool { return z.Address == address })
		if zone < 0 {
			continue
		}
		for _, l := range lb.Listeners {
			if strconv.Itoa(l.Port) == port && zone < len(l.Sockets) {
				return l.Sockets[zone], nil
			}
		}
	}
	return "", fmt.Errorf("connect to %s port %s: connection refused: endpoints show no such socket", address, port)
}

func query(ts *testscript.TestScript, view any, args ...string) error {
	cmd := exec.Command(lookPath(ts, "appliance"), append([]string{"--data-dir", processOf(ts).data}, args...)...)
	cmd.Env = environment(ts)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("appliance %s: %w %s", strings.Join(args, " "), err, out)
	}
	return json.Unmarshal(out, view)
}

// lookup asks the appliance's name server.
func lookup(ts *testscript.TestScript, host string) ([]string, error) {
	var names appliance.Names
	if err := query(ts, &names, "hosts", "-o", "json"); err != nil {
		return nil, err
	}
	var addresses []string
	for _, network := range []string{"udp", "tcp"} {
		question := new(dns.Msg)
		question.SetQuestion(dns.Fqdn(host), dns.TypeA)
		answer, _, err := (&dns.Client{Net: network}).Exchange(question, names.Nameserver)
		if err != nil {
			return nil, err
		}
		if answer.Rcode != dns.RcodeSuccess {
			return nil, fmt.Errorf("resolve %s: %s", host, dns.RcodeToString[answer.Rcode])
		}
		addresses = nil
		for _, r := range answer.Answer {
			if a, ok := r.(*dns.A); ok {
				addresses = append(addresses, a.A.String())
			}
		}
	}
	if len(addresses) == 0 {
		return nil, fmt.Errorf("resolve %s: no address", host)
	}
	return addresses, nil
}

// resolve prints what the name server answers for a name, over UDP and TCP alike.
func resolve(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: resolve name")
	}
	addresses, err := lookup(ts, args[0])
	if (err != nil) != neg {
		ts.Fatalf("resolve: %v %v", addresses, err)
	}
	for _, a := range addresses {
		fmt.Fprintln(ts.Stdout(), a)
	}
}

// load keeps asking a URL while a program runs and wants every answer to have the status: load STATUS HOST URL PROGRAM ARGS…
func load(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: load status host url program args...")
	}
	target, err := url.Parse(args[2])
	ts.Check(err)
	dial := dialer(ts)
	first, err := dial(context.Background(), "tcp", net.JoinHostPort(target.Hostname(), cmp.Or(target.Port(), map[string]string{"http": "80", "https": "443"}[target.Scheme])))
	ts.Check(err)
	socket := first.RemoteAddr().String()
	ts.Check(first.Close())
	client := http.Client{Transport: &http.Transport{
		// Whether the certificate is good is another command's question.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, socket)
		},
	}}
	defer client.CloseIdleConnections()
	end, bad := make(chan struct{}), make(chan string, 1)
	var asked sync.WaitGroup
	var total int
	asked.Go(func() {
		for {
			select {
			case <-end:
				return
			default:
			}
			total++
			request, _ := http.NewRequest(http.MethodGet, args[2], nil)
			request.Host = args[1]
			response, err := client.Do(request)
			text := fmt.Sprint(err)
			if err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				text = strconv.Itoa(response.StatusCode)
			}
			if text != args[0] {
				select {
				case bad <- text:
				default:
				}
			}
		}
	})
	out := run(ts, args[3:])
	close(end)
	asked.Wait()
	_, _ = io.WriteString(ts.Stdout(), out)
	select {
	case text := <-bad:
		ts.Fatalf("load: an answer was %s, not %s\n%s", text, args[0], logOf(ts))
	default:
		ts.Logf("load: %d answers, all %s", total, args[0])
	}
}

// endpoint puts a load balancer's host name into a variable: endpoint VARIABLE NAME.
func endpoint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: endpoint variable load-balancer")
	}
	var view appliance.Endpoints
	ts.Check(query(ts, &view, "endpoints", "-o", "json"))
	for _, lb := range view.LoadBalancers {
		if lb.Name == args[1] {
			ts.Setenv(args[0], lb.Hostname)
			return
		}
	}
	ts.Fatalf("endpoint: there is no load balancer %s", args[1])
}

// advance moves the clock until there is an answer: the first move may come before the timer that it is meant for.
func advance(ts *testscript.TestScript, by string, answered <-chan struct{}) {
	for {
		var view appliance.Clock
		if err := query(ts, &view, "cloud", "clock", "advance", "-o", "json", by); err != nil {
			ts.Logf("advance the clock: %v", err)
		}
		select {
		case <-answered:
			return
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// later moves the appliance's clock once the next request is on its way: later DURATION.
func later(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: later duration")
	}
	processOf(ts).later = args[0]
}
