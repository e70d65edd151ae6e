package kv

import (
	"context"
	"errors"
	"fmt"
	"io"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// errUnsupported answers the parts of etcd's maintenance that a store inside
// the process has no use for.
var errUnsupported = errors.New("not supported by the store in this process; it has no cluster to maintain")

type maintenance struct{ store *Store }

// Status reports the release and the sizes of the file.
func (m maintenance) Status(ctx context.Context, _ string) (*clientv3.StatusResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	resp := &clientv3.StatusResponse{
		Header:         m.store.view.Load().header(),
		Version:        version,
		StorageVersion: "3.6.0",
		Leader:         1,
		RaftTerm:       1,
	}
	if m.store.disk != nil {
		size, err := m.store.disk.size()
		if err != nil {
			return nil, fmt.Errorf("measure store: %w", err)
		}
		resp.DbSize, resp.DbSizeInUse = size, size
	}
	return resp, nil
}

// AlarmList is empty: a full disk is reported to the writer and raises no alarm.
func (m maintenance) AlarmList(ctx context.Context) (*clientv3.AlarmResponse, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &clientv3.AlarmResponse{Header: m.store.view.Load().header()}, nil
}

func (maintenance) AlarmDisarm(context.Context, *clientv3.AlarmMember) (*clientv3.AlarmResponse, error) {
	return nil, errUnsupported
}

func (maintenance) Defragment(context.Context, string) (*clientv3.DefragmentResponse, error) {
	return nil, errUnsupported
}

func (maintenance) HashKV(context.Context, string, int64) (*clientv3.HashKVResponse, error) {
	return nil, errUnsupported
}

func (maintenance) SnapshotWithVersion(context.Context) (*clientv3.SnapshotResponse, error) {
	return nil, errUnsupported
}

func (maintenance) Snapshot(context.Context) (io.ReadCloser, error) {
	return nil, errUnsupported
}

func (maintenance) MoveLeader(context.Context, uint64) (*clientv3.MoveLeaderResponse, error) {
	return nil, errUnsupported
}

func (maintenance) Downgrade(context.Context, clientv3.DowngradeAction, string) (*clientv3.DowngradeResponse, error) {
	return nil, errUnsupported
}
