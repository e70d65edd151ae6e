package kv

import (
	"errors"
	"fmt"
	"io"

	bolt "go.etcd.io/bbolt"
)

// Snapshot is the store at one moment. While it is open the file grows with every write, so it is to be closed soon.
type Snapshot struct{ tx *bolt.Tx }

// Snapshot takes one; writes go on meanwhile. Its file can be opened as a store.
func (s *Store) Snapshot() (*Snapshot, error) {
	if s.disk == nil {
		return nil, errors.New("take a snapshot of the store: it is in memory only")
	}
	tx, err := s.disk.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("take a snapshot of the store: %w", err)
	}
	return &Snapshot{tx}, nil
}

// WriteTo writes the whole file.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) { return s.tx.WriteTo(w) }

// Revision is that of the newest write in it.
func (s *Snapshot) Revision() (int64, error) {
	found, err := decodeState(s.tx.Bucket([]byte(metaBucket)).Get([]byte(stateEntry)))
	return found.revision, err
}

// Close ends the snapshot.
func (s *Snapshot) Close() error { return s.tx.Rollback() }
