package appliance

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// backupPrefix begins the names of directories in which backups are put together.
const backupPrefix = ".backup-"

// backup sends both stores, as they are at one moment, and the keys. A backup that breaks off has no manifest, and its
// connection ends without the last chunk: who reads it sees both.
func (a *Appliance) backup(w http.ResponseWriter, r *http.Request) {
	copies, err := a.collect(r.Context())
	if err != nil {
		respond(w, nil, err)
		return
	}
	defer os.RemoveAll(copies.dir)
	w.Header().Set("Content-Type", "application/x-tar")
	if err := a.writeBackup(w, copies); err != nil {
		a.logger("backup").Error("send backup", "err", err)
		panic(http.ErrAbortHandler) // the status is sent: only the connection can tell
	}
}

// copies are both stores as they were at one moment.
type copies struct {
	dir      string
	revision int64 // of the object store
}

// collect copies both stores into a directory of its own, and says where. While it does, the cloud holds still, so that
// there is a moment at which each store was just what its copy is: no instance is in one that the other does not know
// of, but for what a kill -9 at that moment would have left, too. The API goes on; what changes the cloud waits for some
// milliseconds. How fast the copies are read then holds up nobody.
func (a *Appliance) collect(ctx context.Context) (c copies, err error) {
	switch {
	case a.config.Ephemeral:
		return c, badRequest{errors.New("back up: this appliance is ephemeral and keeps nothing; serve without --ephemeral to have something to back up")}
	case a.store == nil:
		return c, badRequest{errors.New("back up: the objects are in etcd servers; back those up with `etcdctl snapshot save`")}
	}
	if c.dir, err = os.MkdirTemp(a.dir.Path(""), backupPrefix); err != nil {
		return c, fmt.Errorf("back up: %w; free some space", err)
	}
	err = a.cloud.Hold(func() (err error) {
		if c.revision, err = a.copyObjects(filepath.Join(c.dir, fileObjects)); err != nil {
			return err
		}
		return a.cloudDB.CopyTo(ctx, filepath.Join(c.dir, fileCloud))
	})
	if err != nil {
		return c, fmt.Errorf("back up: %w; free some space", errors.Join(err, os.RemoveAll(c.dir)))
	}
	return c, nil
}

// copyObjects copies the object store and tells its revision.
func (a *Appliance) copyObjects(path string) (revision int64, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	snapshot, err := a.store.Snapshot()
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	if revision, err = snapshot.Revision(); err == nil {
		_, err = snapshot.WriteTo(f)
	}
	return revision, errors.Join(err, snapshot.Close(), f.Close())
}

func (a *Appliance) writeBackup(w io.Writer, c copies) error {
	keys, err := keyFiles(a.dir.Path(""))
	if err != nil {
		return err
	}
	archive := &archive{tar: tar.NewWriter(w), manifest: Manifest{
		Format: archiveFormat, Version: a.config.Version, Created: time.Now().UTC().Truncate(time.Second), Region: a.config.Region, Revision: c.revision,
	}}
	for _, file := range append(keys, filepath.Join(c.dir, fileCloud), filepath.Join(c.dir, fileObjects)) {
		if err := archive.add(file); err != nil {
			return err
		}
	}
	return archive.end()
}

// keyFiles are the CA and whatever else the appliance signs with: with them kubeconfigs and tokens go on being good.
func keyFiles(dir string) ([]string, error) {
	var files []string
	for _, pattern := range []string{"*.crt", "*.key"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	return files, nil
}

// sweep removes what backups and restores that were killed have left behind.
func sweep(dir string) error {
	for _, prefix := range []string{backupPrefix, stagingPrefix} {
		left, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
		if err != nil {
			return err
		}
		for _, one := range left {
			if err := os.RemoveAll(one); err != nil {
				return fmt.Errorf("remove what is left of a backup or restore: %w", err)
			}
		}
	}
	return nil
}
