package testscripts

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/alb-appliance/appliance/appliance/edge"
)

// Pebble reads its settings from the environment, when it is made.
func init() {
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
}

// pebble starts Pebble, an ACME server to practise with: pebble VARIABLE CA-FILE. The variable gets its directory's URL,
// the file whom to trust as it. It finds hosts by the appliance's name server and knocks where the appliance binds 80
// and 443.
func pebble(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pebble variable ca-file")
	}
	p := processOf(ts)
	pool, err := netip.ParsePrefix(p.vips)
	ts.Check(err)
	addresses, err := edge.NewAddresses(pool, edge.Mode(p.mode))
	ts.Check(err)
	port := func(of int) int {
		at, err := netip.ParseAddrPort(addresses.Socket(addresses.NGINX().String(), of))
		ts.Check(err)
		return int(at.Port())
	}
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	authority := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{
		// As the best-known server's profile of that name: with a common name, which an ALB insists on.
		"classic": {Description: "ninety days", ValidityPeriod: 90 * 24 * 3600, PromoteCommonName: true},
		"short":   {Description: "six days", ValidityPeriod: 6 * 24 * 3600},
	})
	knocks := va.New(quiet, port(80), port(443), true, addresses.Socket(addresses.DNS().String(), 53), store)
	front := wfe.New(quiet, store, knocks, authority, nil, true, false, 1, 1)

	chain, key, err := selfSigned([]string{"127.0.0.1"})
	ts.Check(err)
	pair, err := tls.X509KeyPair(chain, key)
	ts.Check(err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	ts.Check(err)
	server := &http.Server{Handler: front.Handler(), ErrorLog: quiet}
	go func() { _ = server.Serve(listener) }() // until the scenario ends
	ts.Defer(func() { _ = server.Close() })
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), chain, 0o600))
	ts.Setenv(args[0], "https://"+listener.Addr().(*net.TCPAddr).String()+"/dir")
}
