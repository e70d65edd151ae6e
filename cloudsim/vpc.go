package cloudsim

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/alb-appliance/appliance/state/sqlite"
)

// The network of a new cluster: a VPC and a vSwitch in each of the region's first three zones.
const (
	networkVPC      = "192.168.0.0/16"
	networkVSwitch  = 19 // bits of each vSwitch
	networkVSwitchN = 3
)

// How many bits of a block of addresses may be fixed.
const (
	minVPCBits, maxVPCBits         = 8, 28
	minVSwitchBits, maxVSwitchBits = 16, 29
)

// createNetwork makes the VPC that a cluster made with default options has.
func (c *Cloud) createNetwork(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	vpc := VPC{VPCID: newID("vpc-", 21), Name: "appliance", CIDRBlock: networkVPC, Status: StatusAvailable}
	changes := []change{insertVPC(vpc)}
	base := netip.MustParsePrefix(networkVPC).Addr().As4()
	for i, zone := range c.DescribeZones() {
		if i == networkVSwitchN {
			break
		}
		block := base
		block[2] = byte(i << (24 - networkVSwitch))
		changes = append(changes, insertVSwitch(VSwitch{
			VSwitchID: newID("vsw-", 21), VPCID: vpc.VPCID, ZoneID: zone.ZoneID, Name: "appliance-" + zone.ZoneID,
			CIDRBlock: netip.PrefixFrom(netip.AddrFrom4(block), networkVSwitch).String(), Status: StatusAvailable,
		}))
	}
	if err := c.commit(ctx, changes...); err != nil {
		return fmt.Errorf("make the first VPC: %w", err)
	}
	return nil
}

// CreateVPC makes a VPC, as the VPC console does. A cluster stays in the one that it was made with.
func (c *Cloud) CreateVPC(ctx context.Context, name, cidrBlock string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !validName(name) {
		return "", errIllegal("VpcName")
	}
	if _, ok := block(cidrBlock, minVPCBits, maxVPCBits); !ok {
		return "", errIllegal("CidrBlock")
	}
	v := VPC{VPCID: newID("vpc-", 21), Name: name, CIDRBlock: cidrBlock, Status: StatusAvailable}
	return v.VPCID, c.commit(ctx, insertVPC(v))
}

// CreateVSwitch makes a vSwitch in a zone: a part of its VPC's addresses that no other vSwitch has.
func (c *Cloud) CreateVSwitch(ctx context.Context, in CreateVSwitchInput) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.Inventory()
	vpc := found(i.VPCs, func(v *VPC) bool { return v.VPCID == in.VPCID })
	if vpc == nil {
		return "", errNotFound("Vpc", in.VPCID)
	}
	if !slices.ContainsFunc(c.DescribeZones(), func(z Zone) bool { return z.ZoneID == in.ZoneID }) {
		return "", errIllegal("ZoneId")
	}
	if !validName(in.Name) {
		return "", errIllegal("VSwitchName")
	}
	prefix, ok := block(in.CIDRBlock, minVSwitchBits, maxVSwitchBits)
	if whole, err := netip.ParsePrefix(vpc.CIDRBlock); !ok || err != nil || whole.Bits() > prefix.Bits() || !whole.Contains(prefix.Addr()) {
		return "", errIllegal("CidrBlock")
	}
	for _, other := range i.VSwitches {
		if taken, err := netip.ParsePrefix(other.CIDRBlock); err == nil && other.VPCID == in.VPCID && taken.Overlaps(prefix) {
			return "", errDuplicated("CidrBlock")
		}
	}
	v := VSwitch{VSwitchID: newID("vsw-", 21), VPCID: in.VPCID, ZoneID: in.ZoneID, Name: in.Name, CIDRBlock: in.CIDRBlock, Status: StatusAvailable}
	return v.VSwitchID, c.commit(ctx, insertVSwitch(v))
}

// block reads a block of private IPv4 addresses of a size that is allowed, written from its first address.
func block(text string, minBits, maxBits int) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(text)
	return p, err == nil && p == p.Masked() && p.Addr().Is4() && p.Addr().IsPrivate() && p.Bits() >= minBits && p.Bits() <= maxBits
}

func insertVPC(v VPC) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO vpcs (vpc_id, name, cidr_block, status) VALUES (?, ?, ?, ?)`, v.VPCID, v.Name, v.CIDRBlock, v.Status)
			return err
		},
		apply: func(i *Inventory) { i.VPCs = appended(i.VPCs, v) },
	}
}

func insertVSwitch(v VSwitch) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			_, err := tx.Exec(`INSERT INTO vswitches (vswitch_id, vpc_id, zone_id, name, cidr_block, status) VALUES (?, ?, ?, ?, ?, ?)`,
				v.VSwitchID, v.VPCID, v.ZoneID, v.Name, v.CIDRBlock, v.Status)
			return err
		},
		apply: func(i *Inventory) { i.VSwitches = appended(i.VSwitches, v) },
	}
}
