package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/alb-appliance/appliance/appliance"
	"github.com/alb-appliance/appliance/cloudsim"
)

type cloudCommand struct {
	Zones        zonesCommand        `cmd:"" help:"The region's zones."`
	Vpcs         vpcsCommand         `cmd:"" help:"The VPCs; the cluster is in the first."`
	Vswitches    vswitchesCommand    `cmd:"" help:"The vSwitches of the VPCs."`
	Albs         albsCommand         `cmd:"" help:"The ALB instances."`
	Certificates certificatesCommand `cmd:"" help:"The certificates of the certificate service."`
	Clock        clockCommand        `cmd:"" help:"The one clock."`
}

type zonesCommand struct{ output }

// Help is the end of the command's --help.
func (zonesCommand) Help() string {
	return `Example:
  appliance cloud zones`
}

// Run prints the zones.
func (c *zonesCommand) Run(s *streams, g *grammar) error {
	var zones []cloudsim.Zone
	if err := g.ask("cloud/zones", nil, &zones); err != nil {
		return err
	}
	return c.print(s, zones, func(w io.Writer) {
		rows := [][]string{{"ZONE", "NAME"}}
		for _, z := range zones {
			rows = append(rows, []string{z.ZoneID, z.LocalName})
		}
		table(w, rows...)
	})
}

type clockCommand struct {
	Show    clockShowCommand    `cmd:"" default:"withargs" help:"What the clock shows."`
	Advance clockAdvanceCommand `cmd:"" help:"Move the clock forward: every timer that this passes rings."`
}

type clockShowCommand struct{ output }

// Help is the end of the command's --help.
func (clockShowCommand) Help() string {
	return `Example:
  appliance cloud clock`
}

// Run prints the clock.
func (c *clockShowCommand) Run(s *streams, g *grammar) error {
	var clock appliance.Clock
	if err := g.ask("cloud/clock", nil, &clock); err != nil {
		return err
	}
	return c.print(s, clock, func(w io.Writer) { printClock(w, clock) })
}

type clockAdvanceCommand struct {
	output
	By time.Duration `arg:"" help:"How far, such as 60s or 2h."`
}

// Help is the end of the command's --help.
func (clockAdvanceCommand) Help() string {
	return `The clock goes back to the machine's time when the appliance is started again.

Example:
  appliance cloud clock advance 60s`
}

// Run moves the clock.
func (c *clockAdvanceCommand) Run(s *streams, g *grammar) error {
	var clock appliance.Clock
	if err := g.ask("cloud/clock", appliance.Advance{By: c.By.String()}, &clock); err != nil {
		return err
	}
	return c.print(s, clock, func(w io.Writer) { printClock(w, clock) })
}

func printClock(w io.Writer, c appliance.Clock) {
	fmt.Fprintf(w, "%s (moved by %s)\n", c.Now.Format(time.RFC3339), c.Offset)
}
