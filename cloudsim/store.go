package cloudsim

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/alb-appliance/appliance/state/sqlite"
)

// asJSON encodes the nested part of a row. What it gets are plain values of this package, which always encode.
func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// jsonColumn scans a column that asJSON wrote.
type jsonColumn struct{ to any }

func (c jsonColumn) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("decode column: it is %T, not text", src)
	}
	return json.Unmarshal([]byte(text), c.to)
}

// repeated gives what an earlier call with the same client token made; "" when there was none.
func (c *Cloud) repeated(ctx context.Context, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	var id string
	err := c.db.View(ctx, func(tx *sqlite.Tx) error {
		return tx.QueryRow(`SELECT resource_id FROM client_tokens WHERE token = ?`, token).Scan(&id)
	})
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look up client token: %w", err)
	}
	return id, nil
}

func insertToken(token, id string) change {
	return change{
		store: func(tx *sqlite.Tx) error {
			if token == "" {
				return nil
			}
			_, err := tx.Exec(`INSERT INTO client_tokens (token, resource_id, created) VALUES (?, ?, ?)`, token, id, tx.Now.Format(time.RFC3339))
			return err
		},
		apply: func(*Inventory) {},
	}
}

// load reads everything and checks that the database is of this region.
func (c *Cloud) load(ctx context.Context) error {
	next := Inventory{Region: c.options.Region}
	err := c.db.Update(ctx, func(tx *sqlite.Tx) error {
		if err := checkRegion(tx, c.options.Region); err != nil {
			return err
		}
		return next.read(tx)
	})
	if err != nil {
		return fmt.Errorf("read the cloud: %w", err)
	}
	c.inventory.Store(&next)
	return nil
}

func checkRegion(tx *sqlite.Tx, region string) error {
	if _, err := tx.Exec(`INSERT INTO settings (name, value) VALUES ('region', ?) ON CONFLICT DO NOTHING`, region); err != nil {
		return err
	}
	var stored string
	if err := tx.QueryRow(`SELECT value FROM settings WHERE name = 'region'`).Scan(&stored); err != nil {
		return err
	}
	if stored != region {
		return fmt.Errorf("its resources are in region %s, not %s; start with --region %s or with another --data-dir", stored, region, stored)
	}
	return nil
}

func (i *Inventory) read(tx *sqlite.Tx) (err error) {
	if i.VPCs, err = rows(tx, `SELECT vpc_id, name, cidr_block, status FROM vpcs ORDER BY seq`, func(v *VPC) []any {
		return []any{&v.VPCID, &v.Name, &v.CIDRBlock, &v.Status}
	}); err != nil {
		return err
	}
	if i.VSwitches, err = rows(tx, `SELECT vswitch_id, vpc_id, zone_id, name, cidr_block, status FROM vswitches ORDER BY seq`, func(v *VSwitch) []any {
		return []any{&v.VSwitchID, &v.VPCID, &v.ZoneID, &v.Name, &v.CIDRBlock, &v.Status}
	}); err != nil {
		return err
	}
	if i.LoadBalancers, err = rows(tx, `SELECT load_balancer_id, name, status, address_type, edition, vpc_id, dns_name, zone_mappings, tags, create_time FROM load_balancers ORDER BY seq`, func(lb *LoadBalancer) []any {
		return []any{&lb.LoadBalancerID, &lb.Name, &lb.Status, &lb.AddressType, &lb.Edition, &lb.VPCID, &lb.DNSName, jsonColumn{&lb.ZoneMappings}, jsonColumn{&lb.Tags}, &lb.CreateTime}
	}); err != nil {
		return err
	}
	if i.Listeners, err = rows(tx, `SELECT listener_id, load_balancer_id, port, protocol, description, status, idle_timeout, request_timeout, x_forwarded_for, default_server_group_id, certificates, security_policy_id, http2_enabled, quic_config, tags FROM listeners ORDER BY seq`, func(l *Listener) []any {
		return []any{&l.ListenerID, &l.LoadBalancerID, &l.Port, &l.Protocol, &l.Description, &l.Status, &l.IdleTimeout, &l.RequestTimeout, jsonColumn{&l.XForwardedFor}, &l.DefaultServerGroupID,
			jsonColumn{&l.Certificates}, &l.SecurityPolicyID, &l.HTTP2Enabled, jsonColumn{&l.QUICConfig}, jsonColumn{&l.Tags}}
	}); err != nil {
		return err
	}
	if i.Rules, err = rows(tx, `SELECT rule_id, listener_id, name, priority, status, conditions, actions, tags FROM rules ORDER BY seq`, func(r *Rule) []any {
		return []any{&r.RuleID, &r.ListenerID, &r.Name, &r.Priority, &r.Status, jsonColumn{&r.Conditions}, jsonColumn{&r.Actions}, jsonColumn{&r.Tags}}
	}); err != nil {
		return err
	}
	if i.Certificates, err = rows(tx, `SELECT certificate_id, name, source, chain, private_key, create_time FROM certificates ORDER BY seq`, func(v *Certificate) []any {
		return []any{&v.CertificateID, &v.Name, &v.Source, &v.Chain, (*[]byte)(&v.Key), &v.CreateTime}
	}); err != nil {
		return err
	}
	for n := range i.Certificates {
		if err := i.Certificates[n].describe(); err != nil {
			return fmt.Errorf("read certificate %s: %w", i.Certificates[n].CertificateID, err)
		}
	}
	i.ServerGroups, err = rows(tx, `SELECT server_group_id, name, type, protocol, scheduler, vpc_id, status, servers, tags FROM server_groups ORDER BY seq`, func(g *ServerGroup) []any {
		return []any{&g.ServerGroupID, &g.Name, &g.Type, &g.Protocol, &g.Scheduler, &g.VPCID, &g.Status, jsonColumn{&g.Servers}, jsonColumn{&g.Tags}}
	})
	return err
}

// rows reads a query's rows into values.
func rows[T any](tx *sqlite.Tx, query string, columns func(*T) []any) ([]T, error) {
	result, err := tx.Query(query)
	if err != nil {
		return nil, err
	}
	defer result.Close()
	var all []T
	for result.Next() {
		var v T
		if err := result.Scan(columns(&v)...); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, result.Err()
}
