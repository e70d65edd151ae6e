package cli

import (
	"io"

	"github.com/alb-appliance/appliance/appliance"
	"github.com/alb-appliance/appliance/cloudsim"
)

type vpcsCommand struct {
	List   vpcsListCommand   `cmd:"" default:"withargs" help:"List the VPCs; the cluster is in the first."`
	Create vpcsCreateCommand `cmd:"" help:"Create a VPC beside the cluster's, as in the VPC console."`
}

type vpcsListCommand struct{ output }

// Help is the end of the command's --help.
func (vpcsListCommand) Help() string {
	return `Example:
  appliance cloud vpcs`
}

// Run prints the VPCs.
func (c *vpcsListCommand) Run(s *streams, g *grammar) error {
	var vpcs []cloudsim.VPC
	if err := g.ask("cloud/vpcs", nil, &vpcs); err != nil {
		return err
	}
	return c.print(s, vpcs, func(w io.Writer) {
		rows := [][]string{{"VPC", "NAME", "CIDR", "STATUS"}}
		for _, v := range vpcs {
			rows = append(rows, []string{v.VPCID, v.Name, v.CIDRBlock, string(v.Status)})
		}
		table(w, rows...)
	})
}

type vpcsCreateCommand struct {
	Name string `arg:"" help:"The VPC's name."`
	CIDR string `arg:"" name:"cidr" help:"Its private addresses, 8 to 28 bits of them fixed." placeholder:"10.0.0.0/8"`
}

// Help is the end of the command's --help.
func (vpcsCreateCommand) Help() string {
	return `Example:
  appliance cloud vpcs create other 10.0.0.0/8`
}

// Run prints the new VPC's id.
func (c *vpcsCreateCommand) Run(s *streams, g *grammar) error {
	return g.askID(s, "cloud/vpcs/create", appliance.VPCCreation{Name: c.Name, CIDRBlock: c.CIDR})
}

type vswitchesCommand struct {
	List   vswitchesListCommand   `cmd:"" default:"withargs" help:"List the vSwitches."`
	Create vswitchesCreateCommand `cmd:"" help:"Create a vSwitch, as in the VPC console."`
}

type vswitchesListCommand struct{ output }

// Help is the end of the command's --help.
func (vswitchesListCommand) Help() string {
	return `Example:
  appliance cloud vswitches`
}

// Run prints the vSwitches.
func (c *vswitchesListCommand) Run(s *streams, g *grammar) error {
	var vswitches []cloudsim.VSwitch
	if err := g.ask("cloud/vswitches", nil, &vswitches); err != nil {
		return err
	}
	return c.print(s, vswitches, func(w io.Writer) {
		rows := [][]string{{"VSWITCH", "ZONE", "CIDR", "VPC", "STATUS"}}
		for _, v := range vswitches {
			rows = append(rows, []string{v.VSwitchID, v.ZoneID, v.CIDRBlock, v.VPCID, string(v.Status)})
		}
		table(w, rows...)
	})
}

type vswitchesCreateCommand struct {
	Name string `arg:"" help:"The vSwitch's name."`
	Zone string `arg:"" help:"Its zone; appliance cloud zones lists them."`
	CIDR string `arg:"" name:"cidr" help:"Its part of the VPC's addresses, 16 to 29 bits of them fixed." placeholder:"192.168.96.0/19"`
	VPC  string `name:"vpc" help:"Its VPC; the cluster's by default." placeholder:"ID"`
}

// Help is the end of the command's --help.
func (vswitchesCreateCommand) Help() string {
	return `Example:
  appliance cloud vswitches create more cn-wulanchabu-c 192.168.96.0/19`
}

// Run prints the new vSwitch's id.
func (c *vswitchesCreateCommand) Run(s *streams, g *grammar) error {
	return g.askID(s, "cloud/vswitches/create", appliance.VSwitchCreation{Name: c.Name, VPCID: c.VPC, ZoneID: c.Zone, CIDRBlock: c.CIDR})
}
