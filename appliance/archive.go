package appliance

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// archiveFormat is the version of a backup's layout: a tar of the data directory's files and, last, the manifest.
// A program refuses a newer one.
const archiveFormat = 1

// manifestName is the last file of a backup. One without it was cut off.
const manifestName = "manifest.json"

// Manifest says what a backup holds.
type Manifest struct {
	Format  int       `json:"format"`
	Version string    `json:"version"` // of the program
	Created time.Time `json:"created"`
	Region  string    `json:"region"`
	// Revision is the newest write of the object store that is in it.
	Revision int64          `json:"revision"`
	Files    []ManifestFile `json:"files"`
}

// ManifestFile is one file of a backup.
type ManifestFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// archive writes a backup.
type archive struct {
	tar      *tar.Writer
	manifest Manifest
}

// add copies a file.
func (a *archive) add(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	name := filepath.Base(path)
	if err := a.tar.WriteHeader(a.header(name, info.Size())); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(a.tar, sum), f, info.Size()); err != nil {
		return err
	}
	a.manifest.Files = append(a.manifest.Files, ManifestFile{name, info.Size(), hex.EncodeToString(sum.Sum(nil))})
	return nil
}

func (a *archive) header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.manifest.Created, Format: tar.FormatPAX}
}

// end writes the manifest.
func (a *archive) end() error {
	raw, err := json.MarshalIndent(a.manifest, "", "  ")
	if err != nil {
		return err
	}
	if err := a.tar.WriteHeader(a.header(manifestName, int64(len(raw)))); err != nil {
		return err
	}
	if _, err := a.tar.Write(raw); err != nil {
		return err
	}
	return a.tar.Close()
}

var errNoManifest = errors.New("it ends without its manifest")

// CheckBackup reads a whole backup and tells what it holds; what is not as it was written is an error.
func CheckBackup(r io.Reader) (*Manifest, error) {
	return readArchive(r, func(string, io.Reader) error { return nil })
}

// readArchive gives each file of a backup to take, and compares them with the manifest.
func readArchive(r io.Reader, take func(name string, content io.Reader) error) (*Manifest, error) {
	found := map[string]ManifestFile{}
	for t := tar.NewReader(r); ; {
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil, errNoManifest
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg || header.Name != filepath.Base(header.Name) || !fs.ValidPath(header.Name) || header.Name == "." {
			return nil, fmt.Errorf("it holds %q, which no backup does", header.Name)
		}
		if header.Name == manifestName {
			return readManifest(t, found)
		}
		if _, twice := found[header.Name]; twice {
			return nil, fmt.Errorf("it holds %s twice", header.Name)
		}
		sum := sha256.New()
		content := io.TeeReader(t, sum)
		if err := take(header.Name, content); err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, content); err != nil {
			return nil, err
		}
		found[header.Name] = ManifestFile{header.Name, header.Size, hex.EncodeToString(sum.Sum(nil))}
	}
}

func readManifest(r io.Reader, found map[string]ManifestFile) (*Manifest, error) {
	var m Manifest
	if err := json.NewDecoder(io.LimitReader(r, maxManagementBody)).Decode(&m); err != nil {
		return nil, fmt.Errorf("read its manifest: %w", err)
	}
	if m.Format > archiveFormat {
		return nil, fmt.Errorf("version %s of this program wrote it, which is newer; upgrade", m.Version)
	}
	if len(found) != len(m.Files) {
		return nil, fmt.Errorf("it holds %d files, its manifest names %d", len(found), len(m.Files))
	}
	for _, f := range m.Files {
		if found[f.Name] != f {
			return nil, fmt.Errorf("%s in it is not as it was written", f.Name)
		}
	}
	return &m, nil
}
