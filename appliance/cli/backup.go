package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"github.com/alb-appliance/appliance/appliance"
)

type backupCommand struct {
	File string `arg:"" help:"The file to write; one that is there is replaced once the backup is complete." type:"path"`
}

// Help is the end of the command's --help.
func (backupCommand) Help() string {
	return `The appliance runs on meanwhile. The file holds objects and cloud as they are at one moment, and the internal CA with its
key: keep it as you would keep a key.

Example:
  appliance backup monday.tar`
}

// Run writes a backup: the whole of it, or nothing.
func (c *backupCommand) Run(s *streams, g *grammar) error {
	response, err := g.send("backup", nil, 0)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	manifest, err := c.write(&progress{from: response.Body, terminal: terminalOf(s.err)})
	if err != nil {
		return fmt.Errorf("write backup %s: %w; nothing was written there", c.File, err)
	}
	fmt.Fprintf(s.out, "%s: objects at revision %d and the cloud of region %s\n", c.File, manifest.Revision, manifest.Region)
	return nil
}

// write puts the backup beside its place, reads it again, and moves it there.
func (c *backupCommand) write(from *progress) (m *appliance.Manifest, err error) {
	f, err := os.CreateTemp(filepath.Dir(c.File), "."+filepath.Base(c.File)+"-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = io.Copy(f, from)
	from.end()
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		m, err = appliance.CheckBackup(f)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return m, os.Rename(f.Name(), c.File)
}

type restoreCommand struct {
	File string `arg:"" help:"A file that backup has written." type:"path"`
}

// Help is the end of the command's --help.
func (restoreCommand) Help() string {
	return `No appliance may run on the data directory meanwhile. What is there is moved into a directory before-restore-* in it.

Example:
  appliance restore monday.tar
  appliance --data-dir /tmp/copy restore monday.tar`
}

// Run restores a backup.
func (c *restoreCommand) Run(s *streams, g *grammar) error {
	done, err := appliance.Restore(context.Background(), g.DataDir, c.File, time.Now())
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "restored the backup of %s: objects at revision %d and the cloud of region %s\n", done.Created.Local().Format(time.DateTime), done.Revision, done.Region)
	if done.Aside != "" {
		fmt.Fprintf(s.out, "what was there is in %s\n", done.Aside)
	}
	fmt.Fprintln(s.out, "start it with `appliance serve`")
	return nil
}

// progress shows on a terminal how much of something large has come.
type progress struct {
	from     io.Reader
	terminal io.Writer // nil where there is none
	come     int64
	shown    int64
}

// shownEvery is after how many bytes progress is shown: a small backup is there before anybody could read it.
const shownEvery = 8 << 20

// Read implements io.Reader.
func (p *progress) Read(b []byte) (int, error) {
	n, err := p.from.Read(b)
	if p.come += int64(n); p.terminal != nil && p.come-p.shown >= shownEvery {
		p.shown = p.come
		fmt.Fprintf(p.terminal, "\r%d MiB", p.come>>20)
	}
	return n, err
}

func (p *progress) end() {
	if p.shown > 0 {
		fmt.Fprintln(p.terminal)
	}
}

func terminalOf(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return w
	}
	return nil
}
