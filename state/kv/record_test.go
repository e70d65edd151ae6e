package kv

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	for _, kv := range []*mvccpb.KeyValue{
		{Key: []byte("a"), Value: []byte("v"), CreateRevision: 1, ModRevision: 1, Version: 1},
		{Key: []byte("a"), CreateRevision: 2, ModRevision: 1 << 62, Version: 1 << 61, Lease: -5},
	} {
		got, err := decodeKey(kv.Key, encodeKey(kv))
		if err != nil || got.String() != kv.String() {
			t.Errorf("got %v, %v, want %v", got, err, kv)
		}
	}
	l := &lease{id: -3, ttl: maxTTL, deadline: time.UnixMilli(1 << 45)}
	if got, err := decodeLease(leaseName(l.id), encodeLease(l)); err != nil || *got != *l {
		t.Errorf("got %v, %v, want %v", got, err, l)
	}
}

func TestRecordsRefuse(t *testing.T) {
	t.Parallel()
	name := []byte("a")
	good := encodeKey(&mvccpb.KeyValue{Key: name, Value: []byte("value"), CreateRevision: 1, ModRevision: 1, Version: 1})
	body := func(b ...byte) []byte { return seal(name, append(make([]byte, checksumSize), b...)) }
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if _, err := decodeKey(name, bad); !errors.Is(err, errChecksum) {
			t.Errorf("byte %d changed: %v", i, err)
		}
	}
	for what, tc := range map[string]struct {
		record []byte
		want   error
	}{
		"empty":            {nil, errShort},
		"checksum alone":   {body(), errShort},
		"cut in a number":  {body(2, 2, 0x80), errShort},
		"no create":        {body(0, 2, 2, 0), errFields},
		"create after mod": {body(4, 2, 2, 0), errFields},
		"a tombstone":      {body(2, 2, 0, 0), errFields},
		"moved elsewhere":  {encodeKey(&mvccpb.KeyValue{Key: []byte("b"), CreateRevision: 1, ModRevision: 1, Version: 1}), errChecksum},
	} {
		if _, err := decodeKey(name, tc.record); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", what, err, tc.want)
		}
	}
	for what, tc := range map[string]struct{ name, record []byte }{
		"empty":      {leaseName(1), nil},
		"short name": {name, body(8, 8)},
		"tail":       {leaseName(1), seal(leaseName(1), append(make([]byte, checksumSize), 8, 8, 8))},
		"no time":    {leaseName(1), seal(leaseName(1), append(make([]byte, checksumSize), 8))},
		"short time": {leaseName(1), seal(leaseName(1), append(make([]byte, checksumSize), 2, 8))},
	} {
		if _, err := decodeLease(tc.name, tc.record); err == nil {
			t.Errorf("lease, %s: no error", what)
		}
	}
}

// FuzzDecode feeds the decoders records that pass the checksum, which is where
// decoding begins: they must not panic, and what they accept must survive being
// written again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("a"), []byte{2, 2, 2, 0, 'v'})
	f.Add(leaseName(1), []byte{120, 8})
	f.Add([]byte{}, []byte{0x80})
	f.Fuzz(func(t *testing.T, name, body []byte) {
		record := seal(name, append(make([]byte, checksumSize), body...))
		if kv, err := decodeKey(name, record); err == nil {
			again, err := decodeKey(name, encodeKey(kv))
			if err != nil || again.String() != kv.String() {
				t.Errorf("got %v, %v, want %v", again, err, kv)
			}
		}
		if l, err := decodeLease(name, record); err == nil {
			again, err := decodeLease(name, encodeLease(l))
			if err != nil || *again != *l {
				t.Errorf("got %v, %v, want %v", again, err, l)
			}
		}
		_, _ = decodeKey(name, body) // and without a checksum
		_, _ = decodeLease(name, body)
	})
}
