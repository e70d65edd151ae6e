package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/alb-appliance/appliance/appliance"
)

// table writes rows in columns, the first row being the titles.
func table(w io.Writer, rows ...[]string) {
	t := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush()
}

type endpointsCommand struct{ output }

// Help is the end of the command's --help.
func (endpointsCommand) Help() string {
	return `Example:
  appliance endpoints -o json`
}

// Run prints every load balancer.
func (c *endpointsCommand) Run(s *streams, g *grammar) error {
	var view appliance.Endpoints
	if err := g.ask("endpoints", nil, &view); err != nil {
		return err
	}
	return c.print(s, view, func(w io.Writer) {
		rows := [][]string{{"NAME", "CLASS", "ADDRESSES", "LISTENER", "SOCKETS", "HOSTNAME"}}
		for _, lb := range view.LoadBalancers {
			var addresses []string
			for _, z := range lb.Zones {
				addresses = append(addresses, z.Address)
			}
			for _, l := range lb.Listeners {
				sockets := strings.Join(l.Sockets, ",")
				if l.Error != "" {
					sockets = strings.TrimPrefix(sockets+" ("+l.Error+")", " ")
				}
				rows = append(rows, []string{lb.Name, lb.Class, strings.Join(addresses, ","), fmt.Sprintf("%s:%d", l.Protocol, l.Port), sockets, lb.Hostname})
			}
			if len(lb.Listeners) == 0 {
				rows = append(rows, []string{lb.Name, lb.Class, strings.Join(addresses, ","), "-", "-", lb.Hostname})
			}
		}
		table(w, rows...)
	})
}

type hostsCommand struct {
	output
	Write  bool   `help:"Put the block into the hosts file; needs the right to write it." xor:"do"`
	Remove bool   `help:"Take the block out of the hosts file." xor:"do"`
	File   string `help:"The hosts file." default:"/etc/hosts" type:"path"`
}

// Help is the end of the command's --help.
func (hostsCommand) Help() string {
	return `Example:
  sudo appliance hosts --data-dir "$HOME/.local/share/appliance" --write`
}

// Marks around the block in a hosts file.
const (
	hostsBegin = "# appliance: begin"
	hostsEnd   = "# appliance: end"
)

// Run prints, installs or removes the block.
func (c *hostsCommand) Run(s *streams, g *grammar) error {
	var view appliance.Names
	if !c.Remove {
		if err := g.ask("names", nil, &view); err != nil {
			return err
		}
	}
	block := hostsBlock(view)
	if !c.Write && !c.Remove {
		return c.print(s, view, func(w io.Writer) { fmt.Fprint(w, block) })
	}
	old, err := os.ReadFile(c.File)
	if err != nil {
		return fmt.Errorf("read %s: %w", c.File, err)
	}
	if err := replaceFile(c.File, withBlock(old, block)); err != nil {
		return fmt.Errorf("write %s: %w; run it with the right to change that file", c.File, err)
	}
	return nil
}

// hostsBlock has a line for each name: its first address, for a hosts file knows no second.
func hostsBlock(view appliance.Names) string {
	if len(view.Hosts) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintln(&b, hostsBegin)
	for _, h := range view.Hosts {
		if len(h.Addresses) > 0 {
			fmt.Fprintf(&b, "%s %s\n", h.Addresses[0], h.Name)
		}
	}
	fmt.Fprintln(&b, hostsEnd)
	return b.String()
}

// withBlock replaces the block in a hosts file, or appends it.
func withBlock(file []byte, block string) []byte {
	begin := bytes.Index(file, []byte(hostsBegin+"\n"))
	end := bytes.Index(file, []byte(hostsEnd+"\n"))
	if begin < 0 || end < begin {
		if len(file) > 0 && file[len(file)-1] != '\n' {
			file = append(file, '\n')
		}
		return append(file, block...)
	}
	rest := file[end+len(hostsEnd)+1:]
	return append(append(append([]byte{}, file[:begin]...), block...), rest...)
}

// replaceFile writes a new file and renames it over the old one; where that is not possible (a hosts file may be a
// mount of its own) it writes into the old one.
func replaceFile(name string, content []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".hosts-*")
	if err != nil {
		return os.WriteFile(name, content, info.Mode())
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Chmod(f.Name(), info.Mode())
	}
	if err != nil {
		return err
	}
	if os.Rename(f.Name(), name) == nil {
		return nil
	}
	return os.WriteFile(name, content, info.Mode())
}

type explainCommand struct {
	output
	URL    string   `arg:"" help:"The request's URL."`
	LB     string   `name:"lb" help:"Load balancer: an AlbConfig's name, an id or a DNS name." placeholder:"NAME"`
	Header []string `short:"H" help:"A header of the request, \"Name: value\"." sep:"none" placeholder:"HEADER"`
	Method string   `short:"X" help:"The request's method." default:"GET"`
}

// Help is the end of the command's --help.
func (explainCommand) Help() string {
	return `Example:
  appliance explain http://ingress-demo.com/coffee`
}

// Run prints what would happen.
func (c *explainCommand) Run(s *streams, g *grammar) error {
	var view appliance.Explanation
	ask := appliance.ExplainRequest{Method: c.Method, URL: c.URL, LoadBalancer: c.LB, Headers: c.Header}
	if err := g.ask("explain", ask, &view); err != nil {
		return err
	}
	return c.print(s, view, func(w io.Writer) { printExplanation(w, &view) })
}

func printExplanation(w io.Writer, e *appliance.Explanation) {
	rows := [][]string{{"request", e.Request}, {"load balancer", e.LoadBalancer + " " + e.ID}}
	if e.Listener != "" {
		rows = append(rows, []string{"listener", e.Listener})
	}
	if c := e.Certificate; c != nil {
		text := fmt.Sprintf("%s for %s until %s: %s", c.ID, strings.Join(c.Names, ", "), c.NotAfter.Format(time.DateOnly), c.Why)
		if c.Problem != "" {
			text += "; clients refuse it: " + c.Problem
		}
		rows = append(rows, []string{"certificate", text})
	}
	table(w, rows...)
	for _, r := range e.Rules {
		verdict := "no "
		if r.Matched {
			verdict = "yes"
		}
		fmt.Fprintf(w, "  %s  %s", verdict, r.Name)
		if r.Source != "" {
			fmt.Fprintf(w, "  (%s)", r.Source)
		}
		fmt.Fprintln(w)
		for _, why := range r.Why {
			fmt.Fprintf(w, "         %s\n", why)
		}
	}
	if e.ServerGroup != "" {
		table(w, []string{"server group", e.ServerGroup})
	}
	for _, server := range e.Servers {
		notes := fmt.Sprintf("weight %d", server.Weight)
		if !server.Healthy {
			notes += ", unhealthy"
		}
		if server.Chosen {
			notes += ", chosen"
		}
		fmt.Fprintf(w, "  %s  %s\n", server.Address, notes)
	}
	table(w, []string{"outcome", e.Outcome})
	for _, o := range e.Recent {
		fmt.Fprintf(w, "  %s  %s: %d %s, %s", o.Time.Format(time.TimeOnly), o.Request, o.Status, o.Reason, o.Why)
		if o.Server != "" {
			fmt.Fprintf(w, " (%s)", o.Server)
		}
		fmt.Fprintln(w)
	}
}
