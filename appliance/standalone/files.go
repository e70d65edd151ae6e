package standalone

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alb-appliance/appliance/dataplane"
)

// CertificateFiles are the files of a certificate's chain and of its key, PEM.
type CertificateFiles struct{ Chain, Key string }

// files is what a snapshot is read from.
type files struct {
	snapshot     string
	certificates map[string]CertificateFiles
	// loaded is what the files were like when they were last read, seen when they were last looked at.
	loaded, seen []version
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

// changed reports whether the files are others than those that were read last, and have come to rest.
func (f *files) changed() bool {
	now := f.look()
	rest := slices.Equal(now, f.seen)
	f.seen = now
	return rest && !slices.Equal(now, f.loaded)
}

// read gives the snapshot with what its text does not carry: keys, and how endpoints are reached.
func (f *files) read() (*dataplane.Snapshot, error) {
	f.loaded = f.look()
	f.seen = f.loaded
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
