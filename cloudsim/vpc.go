package cloudsim

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/alb-appliance/appliance/state/sqlite"
)

// The network of a new cluster: a VPC and a vSwitch in each of the region's first three zones.
const (
	networkVPC      = "192.168.0.0/16"
	networkVSwitch  = 19 // bits of each vSwitch
	networkVSwitchN = 3
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
