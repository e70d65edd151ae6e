package appliance

import (
	"slices"
	"strings"

	"github.com/alb-appliance/appliance/appliance/controllers/nginx"
	"github.com/alb-appliance/appliance/appliance/edge"
	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/dataplane"
)

// Endpoints is what `appliance endpoints -o json` prints: part of the contract (DESIGN section 4).
type Endpoints struct {
	LoadBalancers []LoadBalancer `json:"loadBalancers"`
}

// LoadBalancer is one way into the cluster.
type LoadBalancer struct {
	// Name is the AlbConfig's, or the instance's when no AlbConfig made it.
	Name      string     `json:"name"`
	ID        string     `json:"id"`
	Class     string     `json:"class"`
	Hostname  string     `json:"hostname"`
	Zones     []Zone     `json:"zones"`
	Listeners []Listener `json:"listeners"`
}

// Zone is a load balancer's presence in a zone.
type Zone struct {
	Zone    string `json:"zone"`
	Address string `json:"address"`
	Healthy bool   `json:"healthy"`
}

// Listener is a port of a load balancer and where it is bound on this machine.
type Listener struct {
	// ID is the cloud's, "lsn-…"; empty for NGINX, which is no cloud resource.
	ID       string   `json:"id,omitempty"`
	Protocol string   `json:"protocol"`
	Port     int      `json:"port"`
	Sockets  []string `json:"sockets"`
	Error    string   `json:"error"`
}

// albConfigTag is where the ALB controller writes the AlbConfig that an instance belongs to.
const albConfigTag = "ingress.k8s.alibaba/albconfig"

func (a *Appliance) endpoints() Endpoints {
	status := map[string]dataplane.ListenerStatus{}
	for _, s := range a.engine.Listeners() {
		status[s.ID] = s
	}
	i := a.cloud.Inventory()
	all := Endpoints{LoadBalancers: []LoadBalancer{}}
	for _, lb := range i.LoadBalancers {
		view := LoadBalancer{Name: albName(&lb), ID: lb.LoadBalancerID, Class: string(dataplane.ClassALB), Hostname: lb.DNSName, Zones: []Zone{}, Listeners: []Listener{}}
		for _, z := range lb.ZoneMappings {
			view.Zones = append(view.Zones, Zone{z.ZoneID, z.Address, z.Status == cloudsim.StatusActive})
		}
		for _, l := range i.Listeners {
			if l.LoadBalancerID == lb.LoadBalancerID {
				view.Listeners = append(view.Listeners, listenerView(&l, status))
			}
		}
		all.LoadBalancers = append(all.LoadBalancers, view)
	}
	if view, ok := a.nginxEndpoint(status); ok {
		all.LoadBalancers = append(all.LoadBalancers, view)
	}
	return all
}

// nginxEndpoint is the NGINX Ingress Controller's entry: an address, no name and no id (DESIGN section 4).
func (a *Appliance) nginxEndpoint(status map[string]dataplane.ListenerStatus) (LoadBalancer, bool) {
	view := LoadBalancer{
		Name: nginx.LoadBalancer, Class: string(dataplane.ClassNGINX), Listeners: []Listener{},
		Zones: []Zone{{Address: a.addresses.NGINX().String(), Healthy: true}},
	}
	for _, l := range a.program().Snapshot().Listeners {
		if l.Class == dataplane.ClassNGINX {
			view.Listeners = append(view.Listeners, boundView(Listener{Protocol: string(l.Protocol), Port: l.Port}, status[l.ID]))
		}
	}
	return view, len(view.Listeners) > 0
}

func albName(lb *cloudsim.LoadBalancer) string {
	for _, t := range lb.Tags {
		if t.Key == albConfigTag {
			return t.Value[strings.IndexByte(t.Value, '/')+1:]
		}
	}
	return lb.Name
}

func listenerView(l *cloudsim.Listener, status map[string]dataplane.ListenerStatus) Listener {
	view := Listener{ID: l.ListenerID, Protocol: l.Protocol, Port: l.Port, Sockets: []string{}}
	s, served := status[l.ListenerID]
	if !served {
		view.Error = "not serving yet: the listener is " + string(l.Status)
		return view
	}
	return boundView(view, s)
}

// boundView fills in where a listener is bound, and who holds what it is not bound to.
func boundView(view Listener, s dataplane.ListenerStatus) Listener {
	view.Error, view.Sockets = s.Error, []string{}
	for _, socket := range s.Sockets {
		if socket.Bound != "" {
			view.Sockets = append(view.Sockets, socket.Bound)
			continue
		}
		if who := holder(socket.Configured); who != "" {
			view.Error += "; " + socket.Configured + " is held by " + who
		}
	}
	return view
}

// Names is what `appliance hosts` prints.
type Names struct {
	Nameserver string     `json:"nameserver"`
	Hosts      []HostName `json:"hosts"`
}

// HostName is a name and the addresses behind it.
type HostName struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"`
}

// nameView gives every name that a hosts file can hold: wildcards it cannot.
func (a *Appliance) nameView() Names {
	view := Names{Nameserver: a.names.Address(), Hosts: []HostName{}}
	names := a.publisher.Names()
	for _, n := range names {
		if strings.HasPrefix(n.Name, "*") {
			continue
		}
		addresses := n.Addresses
		if at := slices.IndexFunc(names, func(o edge.Name) bool { return o.Name == n.Target }); at >= 0 {
			addresses = names[at].Addresses
		}
		view.Hosts = append(view.Hosts, HostName{n.Name, addresses})
	}
	return view
}
