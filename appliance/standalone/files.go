package standalone

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/alb-appliance/appliance/dataplane"
)

// CertificateFiles are the files of a certificate's chain and of its key, PEM.
type CertificateFiles struct{ Chain, Key string }

// files is what a snapshot is read from.
type files struct {
	snapshot     string
	certificates map[string]CertificateFiles
	// loaded is what the files were like when they were last read.
	loaded []version
}

// version tells a file's contents apart without reading them.
type version struct {
	modified time.Time
	size     int64
}

// names lists the files, the snapshot first.
func (f *files) names() []string {
	var certificates []string
	for _, c := range f.certificates {
		certificates = append(certificates, c.Chain, c.Key)
	}
	slices.Sort(certificates)
	return append([]string{f.snapshot}, certificates...)
}

// look tells what the files are like; one that is not there has the zero version.
func (f *files) look() []version {
	var all []version
	for _, name := range f.names() {
		v := version{}
		if info, err := os.Stat(name); err == nil {
			v = version{info.ModTime(), info.Size()}
		}
		all = append(all, v)
	}
	return all
}

// changed reports whether the files are others than those that were read last.
func (f *files) changed() bool { return !slices.Equal(f.look(), f.loaded) }

// watch tells of whatever happens in the files' directories: a file may be replaced by another of its name.
func (f *files) watch() (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch the snapshot: %w", err)
	}
	for _, name := range f.names() {
		if err := w.Add(filepath.Dir(name)); err != nil {
			w.Close()
			return nil, fmt.Errorf("watch %s: %w", filepath.Dir(name), err)
		}
	}
	return w, nil
}

// read gives the snapshot with what its text does not carry: keys, and how endpoints are reached.
func (f *files) read() (*dataplane.Snapshot, error) {
	f.loaded = f.look()
	text, err := os.ReadFile(f.snapshot)
	if err != nil {
		return nil, fmt.Errorf("read the snapshot: %w; `kubectl get --raw /appliance/snapshot` prints that of a running appliance", err)
	}
	snap, err := dataplane.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w; mend that line", f.snapshot, err)
	}
	for i := range snap.Upstreams {
		for j := range snap.Upstreams[i].Endpoints {
			e := &snap.Upstreams[i].Endpoints[j]
			e.Open = dataplane.OpenTCP(e.Addr)
		}
	}
	return snap, f.readCertificates(snap)
}

// readCertificates gives the snapshot's certificates their chains and keys.
func (f *files) readCertificates(snap *dataplane.Snapshot) (err error) {
	for i := range snap.Certificates {
		c := &snap.Certificates[i]
		from, ok := f.certificates[c.ID]
		if !ok {
			return fmt.Errorf("certificate %s (%s) has no key, for a snapshot's text carries none; say --certificate %s=CERT.pem,KEY.pem",
				c.ID, strings.Join(c.Info.Names, ", "), c.ID)
		}
		if c.Chain, err = os.ReadFile(from.Chain); err != nil {
			return fmt.Errorf("certificate %s: read its chain: %w; --certificate %s= has to name a file in PEM", c.ID, err, c.ID)
		}
		if c.Key, err = os.ReadFile(from.Key); err != nil {
			return fmt.Errorf("certificate %s: read its key: %w; --certificate %s= has to name a file in PEM", c.ID, err, c.ID)
		}
	}
	return nil
}
