package shell

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Files is a container's file system: files that are there, which nothing changes, and directories that can be written
// to. It is an fs.FS; names are without the first slash there. It is complete before it is used.
type Files struct {
	at      time.Time
	entries map[string]*entry // by name; "." is the root
	scratch map[string]*Scratch
}

// NewFiles makes a file system with the usual directories. All of its files have one time.
func NewFiles(at time.Time) *Files {
	f := &Files{at: at, entries: map[string]*entry{".": {mode: fs.ModeDir | 0o755}}, scratch: map[string]*Scratch{}}
	for _, name := range []string{"/dev", "/etc", "/root", "/usr/bin", "/var/log"} {
		f.AddDir(name)
	}
	f.entries["dev/null"] = &entry{mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}
	return f
}

// entry is a file or a directory.
type entry struct {
	mode fs.FileMode
	data []byte
}

// Add puts a file, and the directories that lead to it. What was there under that name is replaced.
func (f *Files) Add(name string, data []byte, mode fs.FileMode) {
	name = unrooted(name)
	f.AddDir(path.Dir(name))
	f.entries[name] = &entry{mode: mode.Perm(), data: data}
}

// AddDir puts a directory, and those that lead to it.
func (f *Files) AddDir(name string) {
	for name = unrooted(name); f.entries[name] == nil; name = path.Dir(name) {
		f.entries[name] = &entry{mode: fs.ModeDir | 0o755}
	}
}

// AddPrograms fills /bin and /usr/bin, which have the same in them.
func (f *Files) AddPrograms() {
	for _, name := range Names() {
		f.Add("/bin/"+name, nil, 0o755)
		f.Add("/usr/bin/"+name, nil, 0o755)
	}
}

// Mount puts a directory that can be written to.
func (f *Files) Mount(name string, s *Scratch) {
	f.AddDir(name)
	f.scratch[unrooted(name)] = s
}

// unrooted is a path as fs.FS has it.
func unrooted(name string) string {
	if name = strings.TrimPrefix(path.Clean("/"+name), "/"); name == "" {
		return "."
	}
	return name
}

// within finds the writable directory that holds a name, and the name inside it.
func (f *Files) within(name string) (*Scratch, string) {
	for dir := name; ; dir = path.Dir(dir) {
		if s := f.scratch[dir]; s != nil && dir != name {
			return s, strings.TrimPrefix(name, dir+"/")
		}
		if dir == "." {
			return nil, ""
		}
	}
}

// lookup gives what a name stands for; missing is nil.
func (f *Files) lookup(name string) *entry {
	if s, inner := f.within(name); s != nil {
		return s.lookup(inner)
	}
	return f.entries[name]
}

// Open implements fs.FS.
func (f *Files) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	e := f.lookup(name)
	if e == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOENT}
	}
	opened := &openFile{info: f.info(name, e), Reader: bytes.NewReader(e.data)}
	if e.mode.IsDir() {
		opened.list = f.list(name)
	}
	return opened, nil
}

// list gives what is in a directory, sorted.
func (f *Files) list(name string) []fs.DirEntry {
	found := map[string]*entry{}
	if s := f.scratch[name]; s != nil {
		found = s.all()
	} else {
		for other, e := range f.entries {
			if other != "." && path.Dir(other) == name {
				found[path.Base(other)] = e
			}
		}
	}
	var all []fs.DirEntry
	for _, base := range slices.Sorted(maps.Keys(found)) {
		all = append(all, fs.FileInfoToDirEntry(f.info(base, found[base])))
	}
	return all
}

func (f *Files) info(name string, e *entry) fs.FileInfo {
	return &info{name: path.Base(name), mode: e.mode, size: int64(len(e.data)), at: f.at}
}

// OpenFile opens a file of a full path, with os.O_… flags: written ones are put in place when they are closed.
func (f *Files) OpenFile(full string, flags int) (io.ReadWriteCloser, error) {
	name := unrooted(full)
	refuse := func(why error) (io.ReadWriteCloser, error) {
		return nil, &fs.PathError{Op: "open", Path: full, Err: why}
	}
	e := f.lookup(name)
	if e != nil && e.mode&fs.ModeDevice != 0 {
		return nothing{}, nil
	}
	if flags&(syscall.O_WRONLY|syscall.O_RDWR) == 0 {
		switch {
		case e == nil:
			return refuse(syscall.ENOENT)
		case e.mode.IsDir():
			return refuse(syscall.EISDIR)
		}
		return reading{bytes.NewReader(e.data)}, nil
	}
	s, inner := f.within(name)
	parent := f.lookup(path.Dir(name))
	switch {
	case e != nil && e.mode.IsDir():
		return refuse(syscall.EISDIR)
	case parent == nil || !parent.mode.IsDir():
		return refuse(syscall.ENOENT)
	case s == nil:
		return refuse(syscall.EROFS)
	}
	w := &writing{scratch: s, name: inner}
	if e != nil && flags&syscall.O_APPEND != 0 {
		w.data = bytes.Clone(e.data)
	}
	return w, s.put(inner, w.data)
}

// openFile is a file or directory that is read.
type openFile struct {
	*bytes.Reader
	info fs.FileInfo
	list []fs.DirEntry
}

// Stat implements fs.File.
func (o *openFile) Stat() (fs.FileInfo, error) { return o.info, nil }

// Close implements fs.File.
func (o *openFile) Close() error { return nil }

// Read implements fs.File.
func (o *openFile) Read(b []byte) (int, error) {
	if o.info.IsDir() {
		return 0, &fs.PathError{Op: "read", Path: o.info.Name(), Err: syscall.EISDIR}
	}
	return o.Reader.Read(b)
}

// ReadDir implements fs.ReadDirFile.
func (o *openFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if !o.info.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: o.info.Name(), Err: syscall.ENOTDIR}
	}
	if n <= 0 {
		n = len(o.list)
	} else if len(o.list) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(o.list))
	next := o.list[:n]
	o.list = o.list[n:]
	return next, nil
}

// info describes a file.
type info struct {
	name string
	mode fs.FileMode
	size int64
	at   time.Time
}

// Name, Size, Mode, ModTime and IsDir implement fs.FileInfo; Sys is in sys_*.go.
func (i *info) Name() string       { return i.name }
func (i *info) Size() int64        { return i.size }
func (i *info) Mode() fs.FileMode  { return i.mode }
func (i *info) ModTime() time.Time { return i.at }
func (i *info) IsDir() bool        { return i.mode.IsDir() }

// scratchCapacity bounds what a writable directory holds, in bytes, names counted too.
const scratchCapacity = 4 << 20

// Scratch is a directory that can be written to, without directories inside. It is safe for concurrent use, and several
// file systems may mount it.
type Scratch struct {
	mu    sync.Mutex
	files map[string][]byte
	size  int
}

func (s *Scratch) lookup(name string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.files[name]
	if !ok {
		return nil
	}
	return &entry{mode: 0o644, data: data}
}

func (s *Scratch) all() map[string]*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*entry{}
	for name, data := range s.files {
		all[name] = &entry{mode: 0o644, data: data}
	}
	return all
}

// put writes a file; the data are its own from now on.
func (s *Scratch) put(name string, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := s.size + len(name) + len(data)
	if old, ok := s.files[name]; ok {
		size -= len(name) + len(old)
	}
	if size > scratchCapacity {
		return &fs.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
	}
	if s.files == nil {
		s.files = map[string][]byte{}
	}
	s.files[name], s.size = data, size
	return nil
}

// errReadOnly is what a write to a file gives that was opened for reading.
var errReadOnly = errors.New("bad file descriptor")

type reading struct{ *bytes.Reader }

func (reading) Write([]byte) (int, error) { return 0, errReadOnly }
func (reading) Close() error              { return nil }

// writing is a file that is written. Each write is there at once.
type writing struct {
	scratch *Scratch
	name    string
	mu      sync.Mutex
	data    []byte
}

func (w *writing) Read([]byte) (int, error) { return 0, errReadOnly }
func (w *writing) Close() error             { return nil }

func (w *writing) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := append(w.data[:len(w.data):len(w.data)], b...)
	if err := w.scratch.put(w.name, next); err != nil {
		return 0, err
	}
	w.data = next
	return len(b), nil
}

// nothing is /dev/null.
type nothing struct{}

func (nothing) Read([]byte) (int, error)    { return 0, io.EOF }
func (nothing) Write(b []byte) (int, error) { return len(b), nil }
func (nothing) Close() error                { return nil }
