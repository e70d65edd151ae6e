package testscripts

import (
	"cmp"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// raw sends the bytes of a file to a URL's host and port and prints what comes back until the other side closes: raw
// [-later DURATION] [-hangup] [-tls VERSION] URL FILE. -later moves the clock until something comes back; -hangup leaves
// right after sending; -tls speaks TLS of that least version and prints why a handshake fails. Lines of the file end in
// CRLF on the wire.
func raw(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("raw", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	later, hangup, version := flags.String("later", "", ""), flags.Bool("hangup", false, ""), flags.String("tls", "", "")
	if err := flags.Parse(args); err != nil || neg || flags.NArg() != 2 {
		ts.Fatalf("usage: raw [-later duration] [-hangup] [-tls version] url file")
	}
	target, err := url.Parse(flags.Arg(0))
	ts.Check(err)
	port := cmp.Or(target.Port(), map[string]string{"http": "80", "https": "443"}[target.Scheme])
	conn, err := dialer(ts)(context.Background(), "tcp", net.JoinHostPort(target.Hostname(), port))
	ts.Check(err)
	defer conn.Close()
	ts.Check(conn.SetDeadline(time.Now().Add(awaitLimit)))
	if *version != "" {
		least := map[string]uint16{"1.0": tls.VersionTLS10, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[*version]
		secure := tls.Client(conn, &tls.Config{ServerName: target.Hostname(), InsecureSkipVerify: true, MinVersion: least})
		if err := secure.Handshake(); err != nil {
			fmt.Fprintln(ts.Stdout(), err)
			return
		}
		conn = secure
	}
	_, err = io.WriteString(conn, strings.ReplaceAll(ts.ReadFile(flags.Arg(1)), "\n", "\r\n"))
	ts.Check(err)
	if *hangup {
		return
	}
	answered := make(chan struct{})
	if *later != "" {
		go advance(ts, *later, answered)
	}
	answer, err := io.ReadAll(conn)
	close(answered)
	if err != nil && len(answer) == 0 {
		ts.Fatalf("raw: %v\n%s", err, logOf(ts))
	}
	_, _ = ts.Stdout().Write(answer)
}
