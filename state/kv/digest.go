package kv

import (
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// tally counts records and adds up their checksums: a record that is lost, doubled or exchanged for an older one shows,
// and a change costs no more than the records it touches.
type tally struct{ count, sum uint64 }

func (t *tally) add(record []byte) {
	t.count++
	t.sum += uint64(binary.BigEndian.Uint32(record))
}

func (t *tally) remove(record []byte) {
	t.count--
	t.sum -= uint64(binary.BigEndian.Uint32(record))
}

// replace writes a record, or deletes it when record is nil, and keeps the tally.
func (t *tally) replace(b *bolt.Bucket, name, record []byte) error {
	if old := b.Get(name); len(old) >= checksumSize {
		t.remove(old)
	}
	if record == nil {
		return b.Delete(name)
	}
	t.add(record)
	return b.Put(name, record)
}

// state is what the file says of itself as a whole, in one record that changes with every commit.
type state struct {
	revision     int64
	keys, leases tally
}

func (s state) encode() []byte {
	record := make([]byte, checksumSize, checksumSize+5*8)
	for _, n := range []uint64{uint64(s.revision), s.keys.count, s.keys.sum, s.leases.count, s.leases.sum} {
		record = binary.BigEndian.AppendUint64(record, n)
	}
	return seal([]byte(stateEntry), record)
}

func decodeState(record []byte) (s state, err error) {
	body, err := unseal([]byte(stateEntry), record)
	if err != nil {
		return s, fmt.Errorf("the store's own record: %w", err)
	}
	if len(body) != 5*8 {
		return s, errors.New("the store's own record is missing")
	}
	number := func(i int) uint64 { return binary.BigEndian.Uint64(body[8*i:]) }
	s.revision, s.keys, s.leases = int64(number(0)), tally{number(1), number(2)}, tally{number(3), number(4)}
	if s.revision < 1 {
		return s, errors.New("the store's own record makes no sense")
	}
	return s, nil
}

// adds wants the records that were found to be those that were written.
func (t tally) adds(what string, found tally) error {
	switch {
	case found.count != t.count:
		return fmt.Errorf("%d %s are there, %d were written", found.count, what, t.count)
	case found.sum != t.sum:
		return fmt.Errorf("the %s are not those that were written last", what)
	}
	return nil
}
