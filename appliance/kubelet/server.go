package kubelet

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Handler is the kubelet's own API, of all nodes at once:
//
//	GET /containerLogs/NAMESPACE/POD/CONTAINER?follow&tailLines&sinceSeconds&sinceTime&timestamps&limitBytes&previous
//	/exec/NAMESPACE/POD/CONTAINER?command&input&output&error&tty, /attach/…, /portForward/NAMESPACE/POD, as upgrades
//	GET /healthz
//
// Errors are one line of text with status 400, 404 or 500, as the API server passes them on.
func (k *Kubelet) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.serveLogs)
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.serveExec)
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", k.serveAttach)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.servePortForward)
	return mux
}

func (k *Kubelet) serveLogs(w http.ResponseWriter, r *http.Request) {
	options, err := logOptionsOf(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name, container := r.PathValue("pod"), r.PathValue("container")
	p := k.pods.find(types.NamespacedName{Namespace: r.PathValue("namespace"), Name: name})
	if p == nil {
		http.Error(w, fmt.Sprintf("pod %q does not exist", name), http.StatusNotFound)
		return
	}
	log, status, err := p.log(r, container, options.previous)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	options.now = k.options.Clock.Now()
	log.copy(r.Context(), w, http.NewResponseController(w).Flush, options)
}

// log finds a container's log, asking the pod's goroutine.
func (p *pod) log(r *http.Request, container string, previous bool) (*logBuffer, int, error) {
	type answer struct {
		log    *logBuffer
		status int
		err    error
	}
	answers := make(chan answer, 1)
	p.post(func() {
		log, status, err := p.logOf(container, previous)
		answers <- answer{log, status, err}
	})
	select {
	case a := <-answers:
		return a.log, a.status, a.err
	case <-p.ctx.Done():
		return nil, http.StatusNotFound, fmt.Errorf("pod %q does not exist", p.name.Name)
	case <-r.Context().Done():
		return nil, http.StatusBadRequest, r.Context().Err()
	}
}

func (p *pod) logOf(name string, previous bool) (*logBuffer, int, error) {
	for _, c := range p.containers {
		if c.spec.Name == name {
			log, err := c.log(previous)
			return log, http.StatusBadRequest, err
		}
	}
	return nil, http.StatusNotFound, fmt.Errorf("container %q not found in pod %q", name, p.name.Name)
}

// log is upstream's choice: the current execution's, or the last one's while the container waits to start again.
func (c *container) log(previous bool) (*logBuffer, error) {
	waits := c.state == waiting
	if log := c.logs.get(previous && !waits); log != nil && (!previous || c.everEnded) {
		return log, nil
	}
	switch {
	case previous:
		return nil, fmt.Errorf("previous terminated container %q in pod %q not found", c.spec.Name, c.pod.name.Name)
	case !waits || c.everEnded:
		return nil, fmt.Errorf("the log of container %q in pod %q is gone: logs are not kept over a restart of the appliance", c.spec.Name, c.pod.name.Name)
	}
	why := c.waitingFor.Reason
	switch why {
	case "ErrImagePull":
		why = "image can't be pulled"
	case "ImagePullBackOff":
		why = "trying and failing to pull image"
	}
	return nil, fmt.Errorf("container %q in pod %q is waiting to start: %s", c.spec.Name, c.pod.name.Name, why)
}

// logOptions is what of a log is wanted.
type logOptions struct {
	follow, timestamps, previous bool
	tail                         int // lines; negative for all
	limit                        int64
	since                        time.Time
	sinceSeconds                 int64
	now                          time.Time
}

func logOptionsOf(q url.Values) (logOptions, error) {
	o := logOptions{tail: -1, limit: -1}
	var errs []error
	o.follow, errs = flagOf(q, "follow", errs)
	o.timestamps, errs = flagOf(q, "timestamps", errs)
	o.previous, errs = flagOf(q, "previous", errs)
	if s := q.Get("tailLines"); s != "" && s != "all" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			errs = append(errs, fmt.Errorf("tailLines=%s: it must be a number of lines, 0 or more", s))
		}
		o.tail = int(n)
	}
	o.limit, errs = positive(q, "limitBytes", -1, errs)
	o.sinceSeconds, errs = positive(q, "sinceSeconds", 0, errs)
	if s := q.Get("sinceTime"); s != "" {
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("sinceTime=%s: it must be a time such as 2026-11-21T20:26:29Z", s))
		}
		o.since = t
	}
	if o.sinceSeconds > 0 && !o.since.IsZero() {
		errs = append(errs, errors.New("at most one of sinceTime or sinceSeconds may be specified"))
	}
	return o, errors.Join(errs...)
}

func flagOf(q url.Values, name string, errs []error) (bool, []error) {
	s := q.Get(name)
	if s == "" {
		return q.Has(name), errs
	}
	v, err := strconv.ParseBool(s)
	if err != nil {
		errs = append(errs, fmt.Errorf("%s=%s: it must be true or false", name, s))
	}
	return v, errs
}

func positive(q url.Values, name string, unset int64, errs []error) (int64, []error) {
	s := q.Get(name)
	if s == "" {
		return unset, errs
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 {
		return unset, append(errs, fmt.Errorf("%s=%s: it must be a number greater than 0", name, s))
	}
	return n, errs
}
