package sqlite

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The layout of SQLite's write-ahead log. After a crash SQLite reads it up to the first frame that is not whole, and
// takes that for the write that was cut off. If frames follow that are whole, nothing was cut off: then a bit has
// flipped, and every commit behind it would be lost without a word.
const (
	walHeader   = 32 // magic, version, page size, checkpoints, 2 salts, 2 checksums
	frameHeader = 24 // page, size after a commit, 2 salts, 2 checksums
	walMagic    = 0x377f0682
)

// checkLog wants the log beside a database to be whole up to its end.
func checkLog(path string) error {
	f, err := os.Open(path + "-wal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	log, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return checkFrames(log)
}

func checkFrames(log []byte) error {
	if len(log) <= walHeader {
		return nil // killed before its first frame
	}
	magic := binary.BigEndian.Uint32(log)
	pageSize := int(binary.BigEndian.Uint32(log[8:]))
	order := binary.ByteOrder(binary.LittleEndian)
	if magic&1 == 1 {
		order = binary.BigEndian
	}
	if magic&^1 != walMagic || pageSize < smallest || logSum(order, pair{}, log[:24]) != storedSum(log[24:]) {
		return fmt.Errorf("%w: the head of its log is not as it was written", errStructure)
	}
	broken, sum := -1, storedSum(log[24:])
	frame := func(n int) []byte { return log[walHeader+n*(frameHeader+pageSize):] }
	for n := 0; len(frame(n)) >= frameHeader+pageSize; n++ {
		f := frame(n)
		current := binary.BigEndian.Uint64(f[8:]) == binary.BigEndian.Uint64(log[16:]) // its salts are the log's
		whole := current && logSum(order, logSum(order, sum, f[:8]), f[frameHeader:frameHeader+pageSize]) == storedSum(f[16:])
		switch {
		case !whole && broken < 0:
			broken = n
		case whole && broken >= 0:
			return fmt.Errorf("%w: frame %d of its log is not as it was written", errStructure, broken+1)
		}
		sum = storedSum(f[16:])
		if len(frame(n)) < 2*(frameHeader+pageSize) {
			break
		}
	}
	return nil
}

// pair is SQLite's checksum.
type pair struct{ a, b uint32 }

func storedSum(b []byte) pair {
	return pair{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

func logSum(order binary.ByteOrder, s pair, data []byte) pair {
	for ; len(data) >= 8; data = data[8:] {
		s.a += order.Uint32(data) + s.b
		s.b += order.Uint32(data[4:]) + s.a
	}
	return s
}
