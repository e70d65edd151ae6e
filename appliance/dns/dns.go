// Package dns is the embedded name server: it answers the names of load balancers and of Ingress hosts, over UDP and
// TCP, and refuses all others, so that a resolver can be told to ask it for these alone.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/alb-appliance/appliance/appliance/edge"
)

// ttl is that of every answer, as the real service gives (PLATFORM-FACTS section 4), in seconds.
const ttl = 60

// Server is the name server.
type Server struct {
	udp    net.PacketConn
	tcp    net.Listener
	zone   atomic.Pointer[zone]
	logger *slog.Logger
}

// zone is what is answered, by lower-case name without the last dot.
type zone map[string]edge.Name

// portTries is how often a port that the system picked for UDP is given up because TCP has it in use.
const portTries = 20

// Listen binds the address for UDP and TCP; port 0 picks one that is free for both.
func Listen(address string, logger *slog.Logger) (*Server, error) {
	for try := 1; ; try++ {
		s, err := listen(address, logger)
		if err == nil || try == portTries || !strings.HasSuffix(address, ":0") {
			return s, err
		}
	}
}

func listen(address string, logger *slog.Logger) (*Server, error) {
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for names: %w", err)
	}
	tcp, err := net.Listen("tcp", udp.LocalAddr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for names: %w", err), udp.Close())
	}
	s := &Server{udp: udp, tcp: tcp, logger: logger}
	s.zone.Store(&zone{})
	return s, nil
}

// Address is where the server answers.
func (s *Server) Address() string { return s.udp.LocalAddr().String() }

// Close gives the sockets back when Run was not called; after Run it does nothing.
func (s *Server) Close() error {
	err := errors.Join(s.udp.Close(), s.tcp.Close())
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Publish replaces all names.
func (s *Server) Publish(names []edge.Name) {
	z := zone{}
	for _, n := range names {
		z[strings.ToLower(n.Name)] = n
	}
	s.zone.Store(&z)
}

// Lookup gives the IPv4 addresses of a name, as an answer would; false for a name that is refused.
func (s *Server) Lookup(name string) ([]netip.Addr, bool) {
	z := s.zone.Load()
	entry, ok := z.find(name)
	if entry.Target != "" {
		entry, _ = z.find(entry.Target)
	}
	return addresses(entry), ok
}

// addresses are a name's that can be read.
func addresses(n edge.Name) []netip.Addr {
	var all []netip.Addr
	for _, text := range n.Addresses {
		if a, err := netip.ParseAddr(text); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	servers := []*dns.Server{{PacketConn: s.udp, Handler: s}, {Listener: s.tcp, Handler: s}}
	ended := make(chan error, len(servers))
	defer s.Close()
	for _, server := range servers {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- server.ActivateAndServe() }()
		select {
		case <-started:
		case err := <-ended:
			return fmt.Errorf("answer names: %w", err)
		}
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	for _, server := range servers {
		err = errors.Join(err, server.Shutdown())
	}
	if ctx.Err() != nil {
		return nil // what a closed socket says at the end is no news
	}
	return err
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	if err := w.WriteMsg(s.zone.Load().answer(q)); err != nil {
		s.logger.Debug("answer name", "err", err)
	}
}

func (z *zone) answer(q *dns.Msg) *dns.Msg {
	reply := &dns.Msg{}
	reply.SetReply(q)
	if q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		return reply.SetRcode(q, dns.RcodeRefused)
	}
	question := q.Question[0]
	entry, ok := z.find(question.Name)
	if !ok {
		return reply.SetRcode(q, dns.RcodeRefused)
	}
	reply.Authoritative = true
	owner := question.Name
	if entry.Target != "" {
		target := dns.Fqdn(entry.Target)
		reply.Answer = append(reply.Answer, &dns.CNAME{Hdr: header(owner, dns.TypeCNAME), Target: target})
		if question.Qtype == dns.TypeCNAME {
			return reply
		}
		owner = target
		entry, _ = z.find(target)
	}
	if question.Qtype == dns.TypeTXT {
		for _, text := range entry.Text {
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header(owner, dns.TypeTXT), Txt: []string{text}})
		}
	}
	if question.Qtype != dns.TypeA && question.Qtype != dns.TypeANY {
		return reply // the name exists, without other records
	}
	for _, a := range addresses(entry) {
		reply.Answer = append(reply.Answer, &dns.A{Hdr: header(owner, dns.TypeA), A: a.AsSlice()})
	}
	return reply
}

// find looks up a name, then the wildcards that cover it, nearest first.
func (z *zone) find(name string) (edge.Name, bool) {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if n, ok := (*z)[name]; ok {
		return n, true
	}
	for rest := name; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return edge.Name{}, false
		}
		if n, ok := (*z)["*."+parent]; ok {
			return n, true
		}
		rest = parent
	}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}
