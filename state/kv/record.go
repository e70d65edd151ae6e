package kv

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// What a value in the file looks like. Numbers are varints, the checksum is
// Castagnoli's CRC-32 over the bucket's key and all that follows it:
//
//	key:   checksum, create revision, mod revision, version, lease, value
//	lease: checksum, time to live in seconds, deadline in Unix milliseconds
//
// bbolt checks only its meta pages, so without the checksum a flipped bit would
// come back as an object.

var (
	errShort    = errors.New("record is cut short")
	errChecksum = errors.New("checksum does not match")
	errFields   = errors.New("record makes no sense")
)

const checksumSize = 4

func checksum(name, body []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(name, table), table, body)
}

// seal fills in the checksum for which record has left room.
func seal(name, record []byte) []byte {
	binary.BigEndian.PutUint32(record, checksum(name, record[checksumSize:]))
	return record
}

// unseal returns what follows the checksum.
func unseal(name, record []byte) ([]byte, error) {
	if len(record) < checksumSize {
		return nil, errShort
	}
	body := record[checksumSize:]
	if binary.BigEndian.Uint32(record) != checksum(name, body) {
		return nil, errChecksum
	}
	return body, nil
}

func encodeKey(kv *mvccpb.KeyValue) []byte {
	record := make([]byte, checksumSize, checksumSize+4*binary.MaxVarintLen64+len(kv.Value))
	for _, n := range []int64{kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease} {
		record = binary.AppendVarint(record, n)
	}
	return seal(kv.Key, append(record, kv.Value...))
}

// decodeKey reads the record of the key name into memory of its own.
func decodeKey(name, record []byte) (*mvccpb.KeyValue, error) {
	body, err := unseal(name, record)
	if err != nil {
		return nil, err
	}
	var n [4]int64
	for i := range n {
		if n[i], body, err = varint(body); err != nil {
			return nil, err
		}
	}
	kv := &mvccpb.KeyValue{CreateRevision: n[0], ModRevision: n[1], Version: n[2], Lease: n[3]}
	if len(name) == 0 || kv.CreateRevision < 1 || kv.ModRevision < kv.CreateRevision || kv.Version < 1 {
		return nil, errFields
	}
	kv.Key = append([]byte(nil), name...)
	kv.Value = append([]byte(nil), body...)
	return kv, nil
}

func leaseName(id int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(id)) }

func encodeLease(l *lease) []byte {
	record := make([]byte, checksumSize, checksumSize+2*binary.MaxVarintLen64)
	record = binary.AppendVarint(record, l.ttl)
	record = binary.AppendVarint(record, l.deadline.UnixMilli())
	return seal(leaseName(l.id), record)
}

func decodeLease(name, record []byte) (*lease, error) {
	body, err := unseal(name, record)
	if err != nil {
		return nil, err
	}
	ttl, body, err := varint(body)
	if err != nil {
		return nil, err
	}
	deadline, body, err := varint(body)
	if err != nil {
		return nil, err
	}
	if len(name) != 8 || len(body) != 0 || ttl < minTTL || ttl > maxTTL {
		return nil, errFields
	}
	return &lease{
		id:       int64(binary.BigEndian.Uint64(name)),
		ttl:      ttl,
		deadline: time.UnixMilli(deadline),
	}, nil
}

func varint(b []byte) (int64, []byte, error) {
	n, size := binary.Varint(b)
	if size <= 0 {
		return 0, nil, errShort
	}
	return n, b[size:], nil
}
