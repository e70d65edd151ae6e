package kv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// format is the version of the file's layout. A program refuses a newer one, and brings an older one up to date: the
// first had the bare revision where the state is now.
const (
	format      = 2
	firstFormat = 1
)

// lockTimeout is how long to try for the file's lock. It is not for waiting until
// another process ends: a process that this one is just starting holds copies of
// its files for a moment, and with them the lock that checkLength had.
const lockTimeout = 150 * time.Millisecond

// smallest is the size of the two meta pages a file has at least.
const smallest = 2 * 4096

// buckets and entries of the file.
const (
	metaBucket  = "meta"
	keyBucket   = "keys"
	leaseBucket = "leases"

	formatEntry   = "format"
	stateEntry    = "state"
	revisionEntry = "revision" // of the first format
)

// disk is the file: the newest version of each key, the leases and the revision.
type disk struct{ db *bolt.DB }

// openDisk opens or creates the file and reads it into v. bbolt maps the file
// and trusts it, so a damaged one can make it panic or fault: both become errors.
func openDisk(path string, v *view) (d *disk, err error) {
	faults := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(faults)
	defer func() {
		if cause := recover(); cause != nil {
			d, err = nil, damaged(path, fmt.Errorf("%v", cause))
		}
	}()
	if err := check(path); err != nil {
		return nil, openError(path, err)
	}
	db, err := bolt.Open(path, 0o600, boltOptions())
	if err != nil {
		return nil, openError(path, err)
	}
	d = &disk{db: db}
	if err := d.load(v); err != nil {
		return nil, errors.Join(openError(path, err), db.Close())
	}
	return d, nil
}

func boltOptions() *bolt.Options {
	return &bolt.Options{
		Timeout:      lockTimeout,
		FreelistType: bolt.FreelistMapType,
		NoStatistics: true,
	}
}

// check refuses a file that is damaged before anything trusts it.
func check(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errNotRegular
	}
	if info.Size() < smallest {
		return damage{fmt.Errorf("the file has only %d bytes", info.Size())}
	}
	o := boltOptions()
	o.ReadOnly = true
	db, err := bolt.Open(path, 0o600, o) // for its lock: nobody writes meanwhile
	if err != nil {
		return err
	}
	defer db.Close()
	return checkFile(path)
}

// load reads the file into v, after giving an empty one its buckets. One that has all it needs is not written: if a
// record in it is damaged, it stays as it is.
func (d *disk) load(v *view) error {
	err := d.db.View(initialise)
	if errors.Is(err, bolterrors.ErrTxNotWritable) {
		err = d.db.Update(initialise)
	}
	if err != nil {
		return err
	}
	return d.db.View(func(tx *bolt.Tx) error {
		s, err := decodeState(tx.Bucket([]byte(metaBucket)).Get([]byte(stateEntry)))
		if err != nil {
			return damage{err}
		}
		v.revision = s.revision
		if v.revision > 1 {
			v.compacted = v.revision
		}
		found, err := loadRecords(tx, v)
		if err == nil {
			err = s.leases.adds("leases", found.leases)
		}
		if err == nil {
			err = s.keys.adds("keys", found.keys)
		}
		if err != nil {
			return damage{err}
		}
		return nil
	})
}

// loadRecords reads leases and keys into v and adds them up.
func loadRecords(tx *bolt.Tx, v *view) (found state, err error) {
	found.revision = v.revision
	err = tx.Bucket([]byte(leaseBucket)).ForEach(func(name, record []byte) error {
		l, err := decodeLease(name, record)
		if err != nil {
			return fmt.Errorf("lease %x: %w", name, err)
		}
		found.leases.add(record)
		v.leases.ReplaceOrInsert(l)
		v.deadlines.ReplaceOrInsert(l)
		return nil
	})
	if err != nil {
		return found, err
	}
	err = tx.Bucket([]byte(keyBucket)).ForEach(func(name, record []byte) error {
		kv, err := decodeKey(name, record)
		if err != nil {
			return fmt.Errorf("key %q: %w", name, err)
		}
		if kv.ModRevision > v.revision {
			return fmt.Errorf("key %q is at revision %d, the store at %d", name, kv.ModRevision, v.revision)
		}
		found.keys.add(record)
		v.keys.ReplaceOrInsert(&key{name: string(name), versions: []*mvccpb.KeyValue{kv}})
		if kv.Lease != 0 {
			v.attached.ReplaceOrInsert(attachment{kv.Lease, string(name)})
		}
		return nil
	})
	return found, err
}

// initialise gives an empty file its buckets, and checks that another is ours.
func initialise(tx *bolt.Tx) error {
	if meta := tx.Bucket([]byte(metaBucket)); meta != nil {
		return checkFormat(tx, meta)
	}
	if name, _ := tx.Cursor().First(); name != nil {
		return errForeign
	}
	for _, name := range []string{metaBucket, keyBucket, leaseBucket} {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	return putState(tx.Bucket([]byte(metaBucket)), state{revision: 1})
}

func checkFormat(tx *bolt.Tx, meta *bolt.Bucket) error {
	f := meta.Get([]byte(formatEntry))
	if len(f) != 1 {
		return errForeign
	}
	if f[0] > format {
		return errNewer
	}
	if f[0] < firstFormat {
		return damage{fmt.Errorf("there is no format %d", f[0])}
	}
	if tx.Bucket([]byte(keyBucket)) == nil || tx.Bucket([]byte(leaseBucket)) == nil {
		return damage{errors.New("a bucket is missing")}
	}
	if f[0] == firstFormat {
		return upgrade(tx, meta)
	}
	return nil
}

// upgrade adds up what a file of the first format holds.
func upgrade(tx *bolt.Tx, meta *bolt.Bucket) error {
	revision := meta.Get([]byte(revisionEntry))
	if len(revision) != 8 {
		return damage{errors.New("the revision is missing")}
	}
	v := newView()
	v.revision = int64(binary.BigEndian.Uint64(revision))
	found, err := loadRecords(tx, v)
	if err != nil {
		return damage{err}
	}
	if err := meta.Delete([]byte(revisionEntry)); err != nil {
		return err
	}
	return putState(meta, found)
}

// write makes the changed keys and leases what v says they are, durably.
func (d *disk) write(v *view, c changes) error {
	return d.db.Update(func(tx *bolt.Tx) error {
		meta := tx.Bucket([]byte(metaBucket))
		// Not from memory: after an error nobody knows which state the file is in, but it does.
		s, err := decodeState(meta.Get([]byte(stateEntry)))
		if err != nil {
			return err
		}
		s.revision = v.revision
		if err := writeKeys(tx.Bucket([]byte(keyBucket)), &s.keys, v, c); err != nil {
			return err
		}
		if err := writeLeases(tx.Bucket([]byte(leaseBucket)), &s.leases, v, c); err != nil {
			return err
		}
		return meta.Put([]byte(stateEntry), s.encode())
	})
}

func writeKeys(b *bolt.Bucket, t *tally, v *view, c changes) error {
	for name := range c.keys {
		var record []byte
		if kv := v.current(name); kv != nil {
			record = encodeKey(kv)
		}
		if err := t.replace(b, []byte(name), record); err != nil {
			return err
		}
	}
	return nil
}

func writeLeases(b *bolt.Bucket, t *tally, v *view, c changes) error {
	for id := range c.leases {
		var record []byte
		if l := v.lease(id); l != nil {
			record = encodeLease(l)
		}
		if err := t.replace(b, leaseName(id), record); err != nil {
			return err
		}
	}
	return nil
}

func putState(meta *bolt.Bucket, s state) error {
	if err := meta.Put([]byte(formatEntry), []byte{format}); err != nil {
		return err
	}
	return meta.Put([]byte(stateEntry), s.encode())
}

// size is the size of the file in bytes, with the pages free for reuse.
func (d *disk) size() (bytes int64, err error) {
	err = d.db.View(func(tx *bolt.Tx) error {
		bytes = tx.Size()
		return nil
	})
	return bytes, err
}

func (d *disk) close() error { return d.db.Close() }

var (
	errNotRegular = errors.New("not a regular file")
	errForeign    = errors.New("it belongs to another program")
	errNewer      = errors.New("a newer version of this program wrote it")
)

// damage marks what is wrong inside the file.
type damage struct{ error }

func damaged(path string, cause error) error {
	return fmt.Errorf("open store %s: the file is damaged (%w); restore it from a backup, or move it away to start empty", path, cause)
}

// openError says what keeps the file from being opened, and what to do.
func openError(path string, err error) error {
	var d damage
	advice := ""
	switch {
	case errors.As(err, &d), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum),
		errors.Is(err, bolterrors.ErrVersionMismatch):
		return damaged(path, err)
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("open store %s: another process has it open; stop that process or use another directory", path)
	case errors.Is(err, fs.ErrNotExist):
		advice = fmt.Sprintf("create the directory %s first", filepath.Dir(path))
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		advice = "make the file and its directory writable or use another directory"
	case errors.Is(err, syscall.ENOSPC):
		advice = "free some space"
	case errors.Is(err, errForeign), errors.Is(err, errNotRegular):
		advice = "move it away or use another directory"
	case errors.Is(err, errNewer):
		advice = "upgrade the program or use another directory"
	default:
		advice = "use another directory"
	}
	return fmt.Errorf("open store %s: %w; %s", path, err, advice)
}
