package testscripts

import (
	"context"
	"flag"
	"io"
	"net/url"
	"path/filepath"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/alb-appliance/appliance/appliance"
)

// browserLimit bounds what a browser may take to start and show a page on a busy machine.
const browserLimit = 90 * time.Second

// browser opens a page in Chromium and prints what an expression of JavaScript gives there: browser [-quic] [-wsquic]
// URL EXPRESSION. -quic makes it use HTTP/3 for the page's host, which it does not do by Alt-Svc for a private CA;
// -wsquic lets it use HTTP/3 for WebSockets too.
func browser(ts *testscript.TestScript, neg bool, args []string) {
	flags := flag.NewFlagSet("browser", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	quic, wsQUIC := flags.Bool("quic", false, ""), flags.Bool("wsquic", false, "")
	if err := flags.Parse(args); err != nil || neg || flags.NArg() != 2 {
		ts.Fatalf("usage: browser [-quic] [-wsquic] url expression")
	}
	target, err := url.Parse(flags.Arg(0))
	ts.Check(err)
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(lookPath(ts, "chromium")), chromedp.UserDataDir(filepath.Join(ts.Getenv("WORK"), "chromium")),
		chromedp.Env("HOME=" + ts.Getenv("HOME")), // where the certificates are that it trusts
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(browserLimit),
		chromedp.Flag("host-resolver-rules", "MAP "+target.Host+":443 "+secureSocket(ts, target.Hostname())),
	}
	if *quic {
		options = append(options, chromedp.Flag("origin-to-force-quic-on", target.Host+":443"))
	}
	if *wsQUIC {
		options = append(options, chromedp.Flag("enable-features", "EnableWebsocketsOverHttp3"))
	}
	limited, cancel := context.WithTimeout(context.Background(), browserLimit)
	defer cancel()
	allocator, cancel := chromedp.NewExecAllocator(limited, options...)
	defer cancel()
	page, cancel := chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(page, chromedp.Navigate(flags.Arg(0))); err != nil {
		ts.Fatalf("browser: open %s: %v\n%s", flags.Arg(0), err, logOf(ts))
	}
	shown, err := chromedp.Run(page, chromedp.Evaluate[string](flags.Arg(1), chromedp.EvalAwaitPromise))
	if err != nil {
		ts.Fatalf("browser: evaluate in %s: %v\n%s", flags.Arg(0), err, logOf(ts))
	}
	_, _ = io.WriteString(ts.Stdout(), shown+"\n")
	_ = chromedp.Cancel(page) // it has shown what was asked
}

// secureSocket is where a host's port 443 is bound.
func secureSocket(ts *testscript.TestScript, host string) string {
	var view appliance.Endpoints
	ts.Check(query(ts, &view, "endpoints", "-o", "json"))
	addresses, err := lookup(ts, host)
	ts.Check(err)
	socket, err := socketOf(&view, addresses[0], "443")
	ts.Check(err)
	return socket
}
