package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/alb-appliance/appliance/dataplane"
)

// managementPrefix is where the commands of a running appliance ask, on the API's port and behind its authentication.
const managementPrefix = "/appliance/"

// maxManagementBody bounds what a command may send.
const maxManagementBody = 1 << 20

// Clock is what the clock shows.
type Clock struct {
	Now time.Time `json:"now"`
	// Offset is how far it was moved, "1m0s".
	Offset string `json:"offset"`
}

// Advance asks to move the clock.
type Advance struct {
	// By is a Go duration, "60s".
	By string `json:"by"`
}

// management answers the commands.
func (a *Appliance) management() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, view func() any) {
		mux.HandleFunc("GET "+managementPrefix+path, func(w http.ResponseWriter, _ *http.Request) { respond(w, view(), nil) })
	}
	get("endpoints", func() any { return a.endpoints() })
	get("names", func() any { return a.nameView() })
	get("cloud/zones", func() any { return a.cloud.DescribeZones() })
	get("cloud/vpcs", func() any { return a.cloud.Inventory().VPCs })
	get("cloud/vswitches", func() any { return a.cloud.Inventory().VSwitches })
	get("cloud/albs", func() any { return a.cloud.Inventory().LoadBalancers })
	get("cloud/certificates", func() any { return a.certificateList() })
	get("cloud/clock", func() any { return a.clockView() })
	post(mux, "cloud/clock", func(_ context.Context, ask Advance) (Clock, error) { return a.advance(ask) })
	post(mux, "cloud/vpcs/create", a.createVPC)
	post(mux, "cloud/vswitches/create", a.createVSwitch)
	post(mux, "cloud/albs/create", a.createALB)
	post(mux, "cloud/albs/delete", a.deleteALB)
	post(mux, "cloud/certificates/upload", a.uploadCertificate)
	post(mux, "cloud/certificates/request", a.requestCertificate)
	post(mux, "cloud/certificates/renew", a.renewCertificate)
	post(mux, "cloud/certificates/delete", a.deleteCertificate)
	mux.HandleFunc("GET "+managementPrefix+"addons", func(w http.ResponseWriter, r *http.Request) {
		view, err := a.listAddons(r.Context())
		respond(w, view, err)
	})
	post(mux, "addons/install", func(ctx context.Context, ask AddonRequest) (done, error) { return done{}, a.installAddon(ctx, ask) })
	post(mux, "addons/uninstall", func(ctx context.Context, ask AddonRequest) (done, error) {
		return done{}, a.uninstallAddon(ctx, ask.Name)
	})
	post(mux, "explain", func(_ context.Context, ask ExplainRequest) (*Explanation, error) { return a.explain(ask) })
	mux.HandleFunc("GET "+managementPrefix+"snapshot", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, a.program().Snapshot())
	})
	mux.HandleFunc("GET "+managementPrefix+"backup", a.backup)
	mux.Handle("GET "+managementPrefix+"metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}))
	return mux
}

// program is what the data plane serves; empty before the first publication.
func (a *Appliance) program() *dataplane.Program {
	if p := a.engine.Program(); p != nil {
		return p
	}
	p, _ := dataplane.Compile(nil, &dataplane.Snapshot{})
	return p
}

func (a *Appliance) clockView() Clock {
	return Clock{Now: a.clock.Now().UTC(), Offset: a.clock.Offset().String()}
}

func (a *Appliance) advance(ask Advance) (Clock, error) {
	by, err := time.ParseDuration(ask.By)
	if err != nil || by <= 0 {
		return Clock{}, badRequest{fmt.Errorf("advance the clock by %q: give a positive duration such as 60s or 2h", ask.By)}
	}
	a.clock.Advance(by)
	a.logger("clock").Info("clock advanced", "by", by)
	return a.clockView(), nil
}

// post answers a command that sends something.
func post[Ask, View any](mux *http.ServeMux, path string, do func(context.Context, Ask) (View, error)) {
	mux.HandleFunc("POST "+managementPrefix+path, func(w http.ResponseWriter, r *http.Request) {
		var ask Ask
		if err := decode(w, r, &ask); err != nil {
			respond(w, nil, err)
			return
		}
		view, err := do(r.Context(), ask)
		respond(w, view, err)
	})
}

// done is the answer to a command that has nothing to tell.
type done struct{}

// badRequest is an error that is the asker's.
type badRequest struct{ error }

func decode(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxManagementBody))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return badRequest{fmt.Errorf("read request: %w", err)}
	}
	return nil
}

// respond writes a view as JSON, or an error as text for people.
func respond(w http.ResponseWriter, view any, err error) {
	if err != nil {
		status := http.StatusInternalServerError
		if errors.As(err, &badRequest{}) {
			status = http.StatusBadRequest
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(view) // a client that has gone needs no answer
}
