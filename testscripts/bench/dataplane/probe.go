//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// probe asserts that a contestant has on what all have on: routes, fields about the client, the access log, metrics,
// limits, TLS.
func probe(c *contestant) error {
	for _, check := range []func(*contestant) error{probeForward, probeUnknown, probeLimits, probeTLS, probeLog, probeMetrics} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

// ask sends a request and gives the answer with its body.
func ask(c *contestant, secure bool, host, path string, change func(*http.Request)) (*http.Response, string, error) {
	url := "http://" + address(c.ports.http) + path
	if secure {
		url = "https://" + address(c.ports.https) + path
	}
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, "", err
	}
	r.Host = host
	r.Header.Set("User-Agent", "probe")
	if change != nil {
		change(r)
	}
	t := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: host, CurvePreferences: []tls.CurveID{tls.X25519}},
	}
	answer, err := (&http.Client{Transport: t, Timeout: 10 * time.Second}).Do(r)
	if err != nil {
		return nil, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return answer, string(body), err
}

// probeForward looks at the fields that the backend and the client get, over HTTP and HTTPS.
func probeForward(c *contestant) error {
	for _, secure := range []bool{false, true} {
		answer, head, err := ask(c, secure, hostName(3), pathOf(7)+"echo", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.9") })
		if err != nil {
			return err
		}
		proto, port := "http", c.ports.http
		if secure {
			proto, port = "https", c.ports.https
		}
		for _, want := range []string{
			"GET " + pathOf(7) + "echo HTTP/1.1", "Host: " + hostName(3), "X-Forwarded-Proto: " + proto, "X-Forwarded-Port: " + strconv.Itoa(port),
			"X-Forwarded-Host: " + hostName(3), "X-Real-IP: 127.0.0.1",
		} {
			if !strings.Contains(strings.ToLower(head), strings.ToLower(want)+"\r\n") {
				return fmt.Errorf("the backend did not get %q but\n%s", want, head)
			}
		}
		if got := forwardedFor(head); got != "203.0.113.9, 127.0.0.1" {
			return fmt.Errorf("X-Forwarded-For is %q, not the client's list and the client", got)
		}
		if answer.StatusCode != 200 || answer.Header.Get(responseField) != responseValue {
			return fmt.Errorf("the client got %s and %s %q, not 200 and %q", answer.Status, responseField, answer.Header.Get(responseField), responseValue)
		}
	}
	return nil
}

// forwardedFor joins the values of X-Forwarded-For, for a list may be several fields.
func forwardedFor(head string) string {
	var all []string
	for line := range strings.SplitSeq(head, "\r\n") {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "X-Forwarded-For") {
			all = append(all, strings.TrimSpace(value))
		}
	}
	return strings.Join(all, ", ")
}

// probeUnknown wants 404 where no route is.
func probeUnknown(c *contestant) error {
	for _, unknown := range [][2]string{{"unknown.example", pathOf(1)}, {hostName(1), "/unknown"}} {
		answer, _, err := ask(c, false, unknown[0], unknown[1], nil)
		if err != nil {
			return err
		}
		if answer.StatusCode != http.StatusNotFound {
			return fmt.Errorf("%s%s gets %s, not 404", unknown[0], unknown[1], answer.Status)
		}
	}
	return nil
}

// probeLimits wants a body and a head refused that are too long.
func probeLimits(c *contestant) error {
	answer, _, err := ask(c, false, hostName(0), pathOf(0)+"echo", func(r *http.Request) {
		r.Method, r.Body, r.ContentLength = http.MethodPost, io.NopCloser(bytes.NewReader(make([]byte, maxBody+1))), maxBody+1
	})
	if err == nil && answer.StatusCode < 400 { // Caddy says 502
		return fmt.Errorf("a body of more than %d bytes gets %s, not an error", maxBody, answer.Status)
	}
	answer, _, err = ask(c, false, hostName(0), pathOf(0)+"echo", func(r *http.Request) { r.Header.Set("X-Long", strings.Repeat("x", maxHead+2048)) })
	if err == nil && answer.StatusCode < 400 {
		return fmt.Errorf("a head of more than %d bytes gets %s, not an error", maxHead, answer.Status)
	}
	return nil
}

// probeTLS wants the protocol, cipher and group that all have.
func probeTLS(c *contestant) error {
	answer, _, err := ask(c, true, hostName(0), pathOf(0)+"hello", nil)
	if err != nil {
		return err
	}
	s := answer.TLS
	if s.Version != tls.VersionTLS13 || s.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || s.CurveID != tls.X25519 {
		return fmt.Errorf("it speaks %s, %s, %s, not TLS 1.3, TLS_AES_128_GCM_SHA256, X25519", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite), s.CurveID)
	}
	if got := s.PeerCertificates[0].PublicKeyAlgorithm.String(); got != "ECDSA" {
		return fmt.Errorf("its key is %s, not ECDSA", got)
	}
	return nil
}

// logLimit is how long a line of the access log may stay in memory.
const logLimit = 3 * time.Second

// probeLog wants a line with all fields for a request.
func probeLog(c *contestant) error {
	mark := fmt.Sprintf("probe-%d", time.Now().UnixNano())
	_, _, err := ask(c, true, hostName(2), pathOf(5)+"hello?"+mark, func(r *http.Request) { r.Header.Set("Referer", `http://"quoted"/`) })
	if err != nil {
		return err
	}
	line := map[string]any{}
	for end := time.Now().Add(logLimit); ; time.Sleep(50 * time.Millisecond) {
		if found, err := findLine(c.kind.logFile(c.dir), mark, &line); found || err != nil {
			if err != nil {
				return err
			}
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("the access log has no line for a request after %s", logLimit)
		}
	}
	if own, ok := c.kind.(ownLog); ok {
		return own.checkLog(line, mark)
	}
	return checkLog(c, line, mark)
}

// checkLog wants the fields of our access log, and the values of those that are known.
func checkLog(c *contestant, line map[string]any, mark string) error {
	for key, want := range map[string]any{
		"app_lb_id": loadBalancer, "slb_vport": float64(c.ports.https), "client_ip": "127.0.0.1", "host": hostName(2), "http_host": hostName(2), "http_user_agent": "probe",
		"http_referer": `http://"quoted"/`, "request_method": "GET", "request_uri": pathOf(5) + "hello?" + mark, "scheme": "https", "server_protocol": "HTTP/1.1",
		"status": 200., "ssl_protocol": "TLSv1.3", "ssl_cipher": "TLS_AES_128_GCM_SHA256", "route": routeID(2, 5), "upstream": upstreamID(2),
	} {
		if line[key] != want {
			return fmt.Errorf("the access log says %s=%v, not %v", key, line[key], want)
		}
	}
	for _, key := range []string{
		"time", "http_x_forwarded_for", "http_x_real_ip", "body_bytes_sent", "request_length", "request_time", "read_request_time", "upstream_addr",
		"upstream_status", "upstream_response_time", "vip_addr", "write_response_time", "reason", "listener",
	} {
		if _, ok := line[key]; !ok {
			return fmt.Errorf("the access log has no %s", key)
		}
	}
	return nil
}

// findLine reads the JSON object around a mark.
func findLine(file, mark string, into any) (found bool, err error) {
	raw, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return false, err
	}
	at := bytes.Index(raw, []byte(mark))
	if at < 0 {
		return false, nil
	}
	begin := bytes.LastIndex(raw[:at], []byte(`{"time"`)) // HAProxy's has no ends of lines
	if begin < 0 {
		begin = bytes.LastIndexByte(raw[:at], '\n') + 1
	}
	if err := json.NewDecoder(bytes.NewReader(raw[begin:])).Decode(into); err != nil {
		return false, fmt.Errorf("the access log has a line that is no JSON: %w", err)
	}
	return true, nil
}

// probeMetrics wants requests counted.
func probeMetrics(c *contestant) error {
	before, err := countRequests(c)
	if err != nil {
		return err
	}
	const more = 5
	for range more {
		if _, _, err := ask(c, false, hostName(0), pathOf(0)+"hello", nil); err != nil {
			return err
		}
	}
	after, err := countRequests(c)
	if err != nil {
		return err
	}
	if after-before < more { // asking for metrics may count, too
		return fmt.Errorf("the metrics count %d requests where there were %d", after-before, more)
	}
	return nil
}

func countRequests(c *contestant) (total int, err error) {
	path, expression := c.kind.metrics()
	answer, err := http.Get("http://" + address(c.ports.metrics) + path)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(expression).FindAllSubmatch(body, -1)
	if len(found) == 0 {
		return 0, fmt.Errorf("%s shows no count of requests:\n%.2000s", path, body)
	}
	for _, m := range found {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
