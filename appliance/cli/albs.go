package cli

import (
	"fmt"
	"io"

	"github.com/alb-appliance/appliance/appliance"
	"github.com/alb-appliance/appliance/cloudsim"
)

type albsCommand struct {
	List   albsListCommand   `cmd:"" default:"withargs" help:"List the instances."`
	Create albsCreateCommand `cmd:"" help:"Create an instance that no AlbConfig makes, as in the ALB console."`
	Delete albsDeleteCommand `cmd:"" help:"Delete an instance, as in the ALB console."`
}

type albsListCommand struct{ output }

// Help is the end of the command's --help.
func (albsListCommand) Help() string {
	return `Example:
  appliance cloud albs`
}

// Run prints the instances.
func (c *albsListCommand) Run(s *streams, g *grammar) error {
	var albs []cloudsim.LoadBalancer
	if err := g.ask("cloud/albs", nil, &albs); err != nil {
		return err
	}
	return c.print(s, albs, func(w io.Writer) {
		rows := [][]string{{"ID", "NAME", "STATUS", "EDITION", "ADDRESS TYPE", "ZONE", "ADDRESS"}}
		for _, lb := range albs {
			for n, z := range lb.ZoneMappings {
				row := []string{lb.LoadBalancerID, lb.Name, string(lb.Status), lb.Edition, lb.AddressType, z.ZoneID, z.Address}
				if n > 0 {
					copy(row, make([]string, 5))
				}
				rows = append(rows, row)
			}
		}
		table(w, rows...)
	})
}

type albsCreateCommand struct {
	Name        string   `arg:"" help:"The instance's name."`
	Vswitches   []string `help:"vSwitches, one for each zone, two at least." required:"" placeholder:"ID,ID"`
	AddressType string   `help:"Internet or Intranet." default:"Internet" enum:"Internet,Intranet"`
	Edition     string   `help:"Basic, Standard or StandardWithWaf." default:"Standard" enum:"Basic,Standard,StandardWithWaf"`
}

// Help is the end of the command's --help.
func (albsCreateCommand) Help() string {
	return `Example:
  appliance cloud albs create mine --vswitches vsw-1,vsw-2`
}

// Run prints the new instance's id.
func (c *albsCreateCommand) Run(s *streams, g *grammar) error {
	ask := appliance.ALBCreation{Name: c.Name, AddressType: c.AddressType, Edition: c.Edition, VSwitchIDs: c.Vswitches}
	return g.askID(s, "cloud/albs/create", ask)
}

type albsDeleteCommand struct {
	ID string `arg:"" help:"The instance's id."`
}

// Help is the end of the command's --help.
func (albsDeleteCommand) Help() string {
	return `Example:
  appliance cloud albs delete alb-1`
}

// Run deletes the instance.
func (c *albsDeleteCommand) Run(_ *streams, g *grammar) error {
	return g.ask("cloud/albs/delete", appliance.Identified{ID: c.ID}, &struct{}{})
}

// askID makes something and prints its id.
func (g *grammar) askID(s *streams, path string, body any) error {
	var made appliance.Identified
	if err := g.ask(path, body, &made); err != nil {
		return err
	}
	fmt.Fprintln(s.out, made.ID)
	return nil
}
