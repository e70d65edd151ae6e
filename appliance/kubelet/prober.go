package kubelet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/alb-appliance/appliance/appliance/podnet"
)

// prober asks a container of a pod over the cluster's network.
type prober struct {
	network   *podnet.Network
	container *corev1.Container
	ip        netip.Addr
	version   string
	// run runs a program in the container: what it printed, and its exit code.
	run func(ctx context.Context, command []string) (string, int, error)
}

// probeError says that a probe could not be asked; that counts as a bad answer, in other words.
type probeError struct{ error }

// ask asks once; nil is a good answer.
func (p prober) ask(ctx context.Context, spec *corev1.Probe) error {
	switch {
	case spec.Exec != nil:
		printed, code, err := p.run(ctx, spec.Exec.Command)
		switch {
		case err != nil:
			return probeError{fmt.Errorf("rpc error: code = Unknown desc = %w", err)}
		case code != 0:
			return errors.New(printed)
		}
		return nil
	case spec.HTTPGet != nil:
		return p.get(ctx, spec.HTTPGet)
	case spec.TCPSocket != nil:
		address, err := p.address(spec.TCPSocket.Host, spec.TCPSocket.Port)
		if err != nil {
			return err
		}
		c, err := p.network.DialContext(ctx, address)
		if err != nil {
			return err
		}
		return c.Close()
	default:
		return errors.New("missing probe handler")
	}
}

// address is where a handler points: the pod, when it names no host.
func (p prober) address(host string, at intstr.IntOrString) (string, error) {
	if host == "" {
		host = p.ip.String()
	}
	port, err := p.port(at)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}

func (p prober) port(at intstr.IntOrString) (int, error) {
	port := at.IntValue()
	if at.Type == intstr.String {
		for _, named := range p.container.Ports {
			if named.Name == at.StrVal {
				port = int(named.ContainerPort)
			}
		}
	}
	if port < 1 || port > 65535 {
		return 0, fmt.Errorf("invalid port number: %s", at.String())
	}
	return port, nil
}

// get is a GET whose answer must be 200 to 399. Redirects are followed on the same host only; one elsewhere is good.
func (p prober) get(ctx context.Context, h *corev1.HTTPGetAction) error {
	address, err := p.address(h.Host, h.Port)
	if err != nil {
		return err
	}
	request, err := p.request(ctx, h, address)
	if err != nil {
		return err
	}
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext:     func(ctx context.Context, _, to string) (net.Conn, error) { return p.network.DialContext(ctx, to) },
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // a probe asks whether it answers, not who it is
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(next *http.Request, before []*http.Request) error {
		if next.URL.Hostname() != before[0].URL.Hostname() || len(before) >= 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.CopyN(io.Discard, response.Body, 10<<10) // upstream reads as much; what follows does not matter
	if response.StatusCode < 200 || response.StatusCode >= 400 {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}

func (p prober) request(ctx context.Context, h *corev1.HTTPGetAction, address string) (*http.Request, error) {
	target, err := url.Parse(h.Path)
	if err != nil {
		target = &url.URL{Path: h.Path}
	}
	target.Scheme, target.Host = strings.ToLower(string(h.Scheme)), address
	if target.Scheme == "" {
		target.Scheme = "http"
	}
	if target.Path == "" {
		target.Path = "/"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	minor := strings.Join(strings.SplitN(strings.TrimPrefix(p.version, "v"), ".", 3)[:2], ".")
	request.Header.Set("User-Agent", "kube-probe/"+minor)
	request.Header.Set("Accept", "*/*")
	for _, header := range h.HTTPHeaders {
		if http.CanonicalHeaderKey(header.Name) == "Host" {
			request.Host = header.Value
		} else {
			request.Header.Add(header.Name, header.Value)
		}
	}
	return request, nil
}
