package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"

	"golang.org/x/sys/unix"
)

// bbolt's layout of a file, in the machine's byte order. It trusts all of it but the two meta pages, each of which has
// a checksum; and of those it takes the older without a word when the newer is damaged, which is a lost commit. A
// program that follows a damaged pointer or reuses a page that is in use destroys what was whole, so the file is
// checked before it is opened for writing.
const (
	pageHeader  = 16 // id, flags (2 bytes), count (2), overflow (4)
	pageElement = 16

	branchFlag   = 0x01
	leafFlag     = 0x02
	freelistFlag = 0x10
	bucketFlag   = 0x01 // of a leaf's element

	metaMagic  = 0xED0CDAED
	metaLength = 56 // what its checksum covers

	bucketHeader = 16 // root and sequence
	longFreelist = 0xFFFF
)

// pages is a file that is being checked.
type pages struct {
	file []byte
	size uint64 // of a page
	high uint64 // pages from here on were never used
	used []bool
}

// checkFile checks the structure of the file path.
func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map it into memory: %w", err)
	}
	err = checkPages(file)
	return errors.Join(err, unix.Munmap(file))
}

// checkPages wants both meta pages whole, and every page either in the tree, with its keys in order, or free.
func checkPages(file []byte) error {
	p := &pages{file: file}
	root, freelist, err := p.metas()
	if err != nil {
		return damage{err}
	}
	p.used = make([]bool, p.high)
	p.used[0], p.used[1] = true, true
	if _, err := p.tree(root, nil, nil); err != nil {
		return damage{err}
	}
	if err := p.free(freelist); err != nil {
		return damage{err}
	}
	for id, used := range p.used {
		if !used {
			return damage{fmt.Errorf("page %d belongs to nothing", id)}
		}
	}
	return nil
}

// metas finds where the newer of the two meta pages points to.
func (p *pages) metas() (root, freelist uint64, err error) {
	first, err := readMeta(p.file, 0)
	if err != nil {
		return 0, 0, err
	}
	size := uint64(number32(first[8:]))
	if size < smallest/2 || size&(size-1) != 0 || uint64(len(p.file)) < 2*size {
		return 0, 0, fmt.Errorf("its pages have %d bytes", size)
	}
	second, err := readMeta(p.file, size)
	if err != nil {
		return 0, 0, err
	}
	newer := first
	if number64(second[48:]) > number64(first[48:]) {
		newer = second
	}
	p.size, p.high = size, number64(newer[40:])
	if p.high < 4 || p.high > uint64(len(p.file))/size {
		return 0, 0, fmt.Errorf("the file has %d bytes of %d", len(p.file), p.high*size)
	}
	return number64(newer[16:]), number64(newer[32:]), nil
}

func readMeta(file []byte, at uint64) ([]byte, error) {
	if uint64(len(file)) < at+pageHeader+metaLength+8 {
		return nil, fmt.Errorf("the file has only %d bytes", len(file))
	}
	meta := file[at+pageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:metaLength])
	if number32(meta) != metaMagic || sum.Sum64() != number64(meta[metaLength:]) {
		return nil, fmt.Errorf("the meta page at byte %d is not as it was written", at)
	}
	return meta[:metaLength], nil
}

// page gives a page with those that it flows over into, and notes that they are used.
func (p *pages) page(id uint64) (flags, count uint16, page []byte, err error) {
	if id < 2 || id >= p.high {
		return 0, 0, nil, fmt.Errorf("there is no page %d", id)
	}
	page = p.file[id*p.size:]
	overflow := uint64(number32(page[12:]))
	if number64(page) != id || overflow >= p.high-id {
		return 0, 0, nil, fmt.Errorf("page %d has a damaged head", id)
	}
	for i := id; i <= id+overflow; i++ {
		if p.used[i] {
			return 0, 0, nil, fmt.Errorf("page %d is used twice", i)
		}
		p.used[i] = true
	}
	return number16(page[8:]), number16(page[10:]), page[:(overflow+1)*p.size], nil
}

// tree checks a page of a tree and what is below it: keys ascend, none is below low, if there is one, and all are below
// high. It returns the last key.
func (p *pages) tree(id uint64, low, high []byte) (last []byte, err error) {
	flags, count, page, err := p.page(id)
	if err != nil {
		return nil, err
	}
	switch {
	case flags == leafFlag:
		return p.leaf(id, page, count, low, high)
	case flags != branchFlag || count == 0:
		return nil, fmt.Errorf("page %d is no page of a tree", id)
	}
	last = low
	for i := range int(count) {
		key, child, err := branchElement(page, i, count)
		if err == nil {
			err = inOrder(i, key, last, high)
		}
		if err != nil {
			return nil, fmt.Errorf("page %d: %w", id, err)
		}
		below := high
		if i+1 < int(count) {
			if below, _, err = branchElement(page, i+1, count); err != nil {
				return nil, fmt.Errorf("page %d: %w", id, err)
			}
		}
		if last, err = p.tree(child, key, below); err != nil {
			return nil, err
		}
	}
	return last, nil
}

// leaf checks the elements of a page, or of one that lies in its bucket's value.
func (p *pages) leaf(id uint64, page []byte, count uint16, low, high []byte) (last []byte, err error) {
	last = low
	for i := range int(count) {
		flags, key, value, err := leafElement(page, i, count)
		if err == nil {
			err = inOrder(i, key, last, high)
		}
		if err == nil && flags != 0 {
			err = p.bucket(id, flags, value)
		}
		if err != nil {
			return nil, fmt.Errorf("page %d: %w", id, err)
		}
		last = key
	}
	return last, nil
}

func (p *pages) bucket(id uint64, flags uint32, value []byte) error {
	if flags != bucketFlag || len(value) < bucketHeader {
		return errors.New("a bucket is damaged")
	}
	if root := number64(value); root != 0 {
		_, err := p.tree(root, nil, nil)
		return err
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader || number16(inline[8:]) != leafFlag {
		return errors.New("a bucket is damaged")
	}
	_, err := p.leaf(id, inline, number16(inline[10:]), nil, nil)
	return err
}

// free checks that what is to be reused is not in use.
func (p *pages) free(id uint64) error {
	flags, count, page, err := p.page(id)
	if err != nil {
		return err
	}
	ids, n := page[pageHeader:], uint64(count)
	if n == longFreelist {
		n, ids = number64(ids), ids[8:]
	}
	if flags != freelistFlag || n > uint64(len(ids)/8) {
		return fmt.Errorf("page %d is no list of free pages", id)
	}
	for i := range n {
		one := number64(ids[8*i:])
		if one < 2 || one >= p.high || p.used[one] {
			return fmt.Errorf("page %d is in use and listed as free", one)
		}
		p.used[one] = true
	}
	return nil
}

// branchElement is the i-th key of a branch and the page below it.
func branchElement(page []byte, i int, count uint16) (key []byte, child uint64, err error) {
	e, err := element(page, i, count)
	if err != nil {
		return nil, 0, err
	}
	key, err = part(e, uint64(number32(e)), uint64(number32(e[4:])))
	return key, number64(e[8:]), err
}

// leafElement is the i-th key of a leaf and its value.
func leafElement(page []byte, i int, count uint16) (flags uint32, key, value []byte, err error) {
	e, err := element(page, i, count)
	if err != nil {
		return 0, nil, nil, err
	}
	at, keySize, valueSize := uint64(number32(e[4:])), uint64(number32(e[8:])), uint64(number32(e[12:]))
	if key, err = part(e, at, keySize); err == nil {
		value, err = part(e, at+keySize, valueSize)
	}
	return number32(e), key, value, err
}

func element(page []byte, i int, count uint16) ([]byte, error) {
	if len(page) < pageHeader+int(count)*pageElement {
		return nil, errors.New("it has more elements than room")
	}
	return page[pageHeader+i*pageElement:], nil
}

func part(e []byte, at, size uint64) ([]byte, error) {
	if at+size > uint64(len(e)) {
		return nil, errors.New("an element reaches beyond its end")
	}
	return e[at : at+size], nil
}

// inOrder wants the i-th key of a page after the one before it; the first may equal that of the page above.
func inOrder(i int, key, last, high []byte) error {
	c := bytes.Compare(last, key)
	if last != nil && (c > 0 || c == 0 && i > 0) || high != nil && bytes.Compare(key, high) >= 0 {
		return fmt.Errorf("key %q is out of order", key)
	}
	return nil
}

func number16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
func number32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func number64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }
