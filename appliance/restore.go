package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/alb-appliance/appliance/cloudsim"
	"github.com/alb-appliance/appliance/state"
	"github.com/alb-appliance/appliance/state/kv"
	"github.com/alb-appliance/appliance/state/sqlite"
)

const (
	// stagingPrefix begins the names of directories into which a backup is unpacked.
	stagingPrefix = ".restore-"
	// asidePrefix begins the names of directories into which what was there is moved.
	asidePrefix = "before-restore-"
	// fileRestoring is there while files change places.
	fileRestoring = "restore.unfinished"
)

// Restored tells what a restore has done.
type Restored struct {
	Manifest
	// Aside is where the files are that were there before; empty when there were none.
	Aside string
}

// Restore replaces what the data directory holds by a backup. It needs the directory for itself: a running appliance
// has its stores open, and would go on writing what it has in memory. Nothing is replaced before the whole backup is
// unpacked, compared with its manifest and opened; what was there is moved aside, never removed.
func Restore(ctx context.Context, dataDir, file string, now time.Time) (*Restored, error) {
	dir, err := state.OpenDir(dataDir)
	if err != nil {
		return nil, err
	}
	done, err := restore(ctx, dir, file, now)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("restore %s: %w", file, err)
	}
	return done, nil
}

func restore(ctx context.Context, dir *state.Dir, file string, now time.Time) (*Restored, error) {
	if err := sweep(dir.Path("")); err != nil {
		return nil, err
	}
	staging, err := os.MkdirTemp(dir.Path(""), stagingPrefix)
	if err != nil {
		return nil, fmt.Errorf("%w; free some space", err)
	}
	defer os.RemoveAll(staging)
	manifest, err := unpack(file, staging)
	if err != nil {
		return nil, fmt.Errorf("%w; nothing was changed: take another backup", err)
	}
	if err := open(ctx, staging); err != nil {
		return nil, fmt.Errorf("%w; nothing was changed", err)
	}
	aside, err := exchange(dir, staging, now)
	if err != nil {
		return nil, fmt.Errorf("%w; what was there is in %s: mend the cause and restore again", err, aside)
	}
	return &Restored{*manifest, aside}, nil
}

// unpack writes the files of a backup into a directory, durably.
func unpack(file, into string) (*Manifest, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	manifest, err := readArchive(f, func(name string, content io.Reader) error {
		mode := fs.FileMode(0o600)
		if filepath.Ext(name) == ".crt" {
			mode = 0o644
		}
		to, err := os.OpenFile(filepath.Join(into, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(to, content)
		return errors.Join(err, to.Sync(), to.Close())
	})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{fileObjects, fileCloud, fileCA, fileCAKey} {
		if _, err := os.Stat(filepath.Join(into, name)); err != nil {
			return nil, fmt.Errorf("it holds no %s", name)
		}
	}
	return manifest, nil
}

// open opens both stores, which check what they hold.
func open(_ context.Context, dir string) error {
	store, err := kv.Open(filepath.Join(dir, fileObjects), kv.Options{})
	if err != nil {
		return err
	}
	db, err := sqlite.Open(filepath.Join(dir, fileCloud), cloudsim.Migrations(), sqlite.Options{})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	return errors.Join(db.Close(), store.Close())
}

// exchange moves what is there aside and what was unpacked to its place. Killed in between, it leaves a file for which
// the appliance does not start: a mixture would look like what it is not.
func exchange(dir *state.Dir, staging string, now time.Time) (aside string, err error) {
	if err := writeFile(dir.Path(fileRestoring), []byte("a restore has not come to its end\n"), 0o600); err != nil {
		return "", err
	}
	old, err := storedFiles(dir)
	if err != nil {
		return "", err
	}
	if len(old) > 0 {
		if aside, err = asideDir(dir, now); err != nil {
			return "", err
		}
	}
	for _, path := range old {
		if err := os.Rename(path, filepath.Join(aside, filepath.Base(path))); err != nil {
			return aside, err
		}
	}
	made, err := filepath.Glob(filepath.Join(staging, "*"))
	if err != nil {
		return aside, err
	}
	for _, path := range made {
		if err := os.Rename(path, dir.Path(filepath.Base(path))); err != nil {
			return aside, err
		}
	}
	if err := syncDir(dir.Path("")); err != nil {
		return aside, err
	}
	return aside, errors.Join(os.Remove(dir.Path(fileRestoring)), syncDir(dir.Path("")))
}

// storedFiles are the files of the data directory that a backup replaces, with what belongs to them.
func storedFiles(dir *state.Dir) ([]string, error) {
	files, err := keyFiles(dir.Path(""))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{fileObjects, fileCloud, fileCloud + "-wal", fileCloud + "-shm", fileKubeconfig} {
		if _, err := os.Lstat(dir.Path(name)); err == nil {
			files = append(files, dir.Path(name))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return files, nil
}

func asideDir(dir *state.Dir, now time.Time) (string, error) {
	base := dir.Path(asidePrefix + now.UTC().Format("20060102-150405"))
	for n, path := 2, base; ; n++ {
		err := os.Mkdir(path, 0o700)
		if !errors.Is(err, fs.ErrExist) {
			return path, err
		}
		path = fmt.Sprintf("%s-%d", base, n)
	}
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// checkRestored refuses a data directory in which a restore was cut off, and removes what else was.
func checkRestored(dir *state.Dir) error {
	if _, err := os.Stat(dir.Path(fileRestoring)); err == nil {
		return fmt.Errorf("data directory %s: a restore was cut off while files changed places; run `appliance restore FILE` again, what was there is in its %s directories", dir.Path(""), asidePrefix+"*")
	}
	return sweep(dir.Path(""))
}
