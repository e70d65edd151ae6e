package appliance

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/alb-appliance/appliance/appliance/edge"
	"github.com/alb-appliance/appliance/cloudsim"
)

func TestExplainedRequest(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		url     string
		headers []string
		want    string // scheme, authority, path, query, port
		err     string
	}{
		{"http://a.com/coffee?x=1", nil, "http a.com /coffee x=1 80", ""},
		{"a.com", nil, "http a.com /  80", ""},
		{"https://a.com/a%20b", nil, "https a.com /a%20b  443", ""},
		{"http://a.com:8080/", nil, "http a.com:8080 /  8080", ""},
		{"ws://a.com/chat", nil, "http a.com /chat  80", ""},
		{"wss://a.com/chat", nil, "https a.com /chat  443", ""},
		{"http://127.77.0.2/", []string{"host:  a.com "}, "http a.com /  80", ""},
		{"http://", nil, "", "it is not a URL"},
		{"http://a b/", nil, "", "it is not a URL"},
		{"http://a.com/", []string{"no colon"}, "", `write it as "Name: value"`},
	} {
		r, port, err := explainedRequest(ExplainRequest{URL: row.url, Headers: row.headers})
		check(t, row.url, err, row.err)
		if err != nil {
			continue
		}
		if got := r.Scheme + " " + r.Authority + " " + r.Path + " " + r.Query + " " + strconv.Itoa(port); got != row.want {
			t.Errorf("%s: got %q, want %q", row.url, got, row.want)
		}
	}
}

// handmade has two instances; hosts of rules are the second's.
func handmade() *cloudsim.Inventory {
	lb := func(id, config, address string) cloudsim.LoadBalancer {
		return cloudsim.LoadBalancer{
			LoadBalancerID: id, Name: "name-" + id, DNSName: id + ".example.net", Status: cloudsim.StatusActive,
			Tags:         []cloudsim.Tag{{Key: albConfigTag, Value: "kube-system/" + config}},
			ZoneMappings: []cloudsim.ZoneMapping{{ZoneID: "a", Address: address, Status: cloudsim.StatusActive}},
		}
	}
	return &cloudsim.Inventory{
		LoadBalancers: []cloudsim.LoadBalancer{lb("alb-1", "one", "127.77.0.2"), lb("alb-2", "two", "127.77.0.3")},
		Listeners:     []cloudsim.Listener{{ListenerID: "lsn-1", LoadBalancerID: "alb-2", Port: 80, Protocol: "HTTP"}},
		Rules: []cloudsim.Rule{{RuleID: "rule-1", ListenerID: "lsn-1", Priority: 1, Conditions: []cloudsim.Condition{
			{Type: cloudsim.ConditionHost, Values: []string{"shop.example.com", "*.wild.example.com"}},
		}}},
	}
}

func TestFindLoadBalancer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		named bool
		want  string
		err   string
	}{
		{"one", true, "alb-1", ""},
		{"alb-2", true, "alb-2", ""},
		{"NAME-alb-2", true, "alb-2", ""},
		{"alb-2.example.net", false, "alb-2", ""},
		{"127.77.0.2", false, "alb-1", ""},
		{"Shop.Example.com", false, "alb-2", ""},
		{"a.b.wild.example.com", false, "alb-2", ""},
		{"other.example.com", false, "", "no rule has host other.example.com, so name the load balancer with --lb: one, two"},
		{"three", true, "", "there is no load balancer three; there are: one, two"},
	} {
		lb, err := findLoadBalancer(handmade(), row.name, row.named)
		check(t, row.name, err, row.err)
		if err == nil && lb.LoadBalancerID != row.want {
			t.Errorf("%s finds %s, want %s", row.name, lb.LoadBalancerID, row.want)
		}
	}
	_, err := findLoadBalancer(&cloudsim.Inventory{}, "a.com", false)
	check(t, "empty cloud", err, "there is no load balancer; apply an AlbConfig")
	alone := handmade()
	alone.LoadBalancers = alone.LoadBalancers[:1]
	if lb, err := findLoadBalancer(alone, "a.com", false); err != nil || lb.LoadBalancerID != "alb-1" {
		t.Errorf("an unknown host with one instance: %v, %v", lb, err)
	}
}

// TestExplainedListener takes the port of the listener and, in address mode ports, the one that it is bound to.
func TestExplainedListener(t *testing.T) {
	t.Parallel()
	addresses, err := edge.NewAddresses(netip.MustParsePrefix("127.77.0.0/16"), edge.ModePorts)
	if err != nil {
		t.Fatal(err)
	}
	a, i := &Appliance{addresses: addresses}, handmade()
	bound, err := netip.ParseAddrPort(addresses.Socket("127.77.0.3", 80))
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[int]bool{80: true, int(bound.Port()): true, 81: false} {
		if l := a.explainedListener(i, &i.LoadBalancers[1], "HTTP", port); (l != nil) != want {
			t.Errorf("port %d: got %v", port, l)
		}
	}
	if l := a.explainedListener(i, &i.LoadBalancers[1], "HTTPS", 80); l != nil {
		t.Errorf("HTTPS: got %v", l)
	}
}
