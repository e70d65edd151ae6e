package cli

import (
	"fmt"
	"io"

	"github.com/alb-appliance/appliance/appliance"
)

type addonCommand struct {
	List      addonListCommand      `cmd:"" default:"withargs" help:"List the add-ons."`
	Install   addonInstallCommand   `cmd:"" help:"Install an add-on."`
	Uninstall addonUninstallCommand `cmd:"" help:"Uninstall an add-on. ALB instances, AlbConfigs and their classes stay and go on serving; NGINX stops."`
}

type addonListCommand struct{ output }

// Help is the end of the command's --help.
func (addonListCommand) Help() string {
	return `Example:
  appliance addon list`
}

// Run prints the add-ons.
func (c *addonListCommand) Run(s *streams, g *grammar) error {
	var addons []appliance.Addon
	if err := g.ask("addons", nil, &addons); err != nil {
		return err
	}
	return c.print(s, addons, func(w io.Writer) {
		rows := [][]string{{"NAME", "INSTALLED", "OPTION"}}
		for _, a := range addons {
			rows = append(rows, []string{a.Name, fmt.Sprint(a.Installed), a.Option})
		}
		table(w, rows...)
	})
}

type addonInstallCommand struct {
	Name string `arg:"" help:"alb-ingress-controller or nginx-ingress-controller."`
	ALB  string `name:"alb" help:"What the ALB Ingress Controller makes: new, new-intranet, none or existing=ID (default: ${default})." default:"new" placeholder:"OPTION"`
}

// Help is the end of the command's --help.
func (addonInstallCommand) Help() string {
	return `Example:
  appliance addon install alb-ingress-controller --alb existing=alb-1`
}

// Run installs the add-on.
func (c *addonInstallCommand) Run(_ *streams, g *grammar) error {
	return g.ask("addons/install", appliance.AddonRequest{Name: c.Name, ALB: appliance.ALBOption(c.ALB)}, &struct{}{})
}

type addonUninstallCommand struct {
	Name string `arg:"" help:"alb-ingress-controller or nginx-ingress-controller."`
}

// Help is the end of the command's --help.
func (addonUninstallCommand) Help() string {
	return `Example:
  appliance addon uninstall nginx-ingress-controller`
}

// Run uninstalls the add-on.
func (c *addonUninstallCommand) Run(_ *streams, g *grammar) error {
	return g.ask("addons/uninstall", appliance.AddonRequest{Name: c.Name}, &struct{}{})
}
