package appliance

import (
	"net/netip"
	"testing"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"default", func(*Config) {}, ""},
		{"any address", func(c *Config) { c.Listen = "0.0.0.0:0" }, ""},
		{"no port", func(c *Config) { c.Listen = "127.0.0.1" }, "--listen 127.0.0.1: address 127.0.0.1: missing port in address; give HOST:PORT"},
		{"a name", func(c *Config) { c.Listen = "localhost:6443" }, `--listen localhost:6443: "localhost" is not an IP address; give one such as 127.0.0.1:6443`},
		{"no range", func(c *Config) { c.VIPRange = netip.Prefix{} }, "must be a loopback range"},
		{"not loopback", func(c *Config) { c.VIPRange = netip.MustParsePrefix("10.0.0.0/8") }, "--vip-range 10.0.0.0/8: it must be a loopback range of at least 256 addresses"},
		{"IPv6", func(c *Config) { c.VIPRange = netip.MustParsePrefix("::1/128") }, "must be a loopback range"},
		{"small", func(c *Config) { c.VIPRange = netip.MustParsePrefix("127.77.0.0/25") }, "at least 256 addresses"},
		{"region", func(c *Config) { c.Region = "mars" }, "--region mars: there is no such region"},
		{"two stores", func(c *Config) { c.Ephemeral, c.EtcdServers = true, []string{"http://e"} }, "--ephemeral and --etcd-servers exclude each other"},
		{"plugin", func(c *Config) { c.NetworkPlugin = "calico" }, "--network-plugin calico: it must be one of [terway flannel]"},
		{"add-on", func(c *Config) { c.ALB = "old" }, "--alb old: it must be new, new-intranet, none or existing=ID"},
		{"delays", func(c *Config) { c.CloudDelays = "long" }, "--cloud-delays long: it must be one of [none real]"},
		{"mode", func(c *Config) { c.AddressMode = "magic" }, "--address-mode magic: it must be one of [auto native ports]"},
	} {
		c := DefaultConfig()
		row.change(&c)
		check(t, row.name, c.Validate(), row.want)
	}
}

func TestReachable(t *testing.T) {
	t.Parallel()
	for listens, want := range map[string]string{
		"127.0.0.1:6443": "127.0.0.1:6443", "[::]:6443": "127.0.0.1:6443", "0.0.0.0:1": "127.0.0.1:1", "[::1]:1": "[::1]:1",
	} {
		if got := reachable(listens); got != want {
			t.Errorf("%s is reached at %s, want %s", listens, got, want)
		}
	}
}
