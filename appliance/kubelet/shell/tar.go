package shell

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// tarOptions are what tar is told.
type tarOptions struct {
	create, extract, list, verbose bool
	file, dir                      string
	names                          []string
}

// runTar is tar, as `kubectl cp` uses it: it packs to the output and unpacks from the input.
func runTar(_ context.Context, p *process) int {
	o, unknown := parseTar(p.args[1:])
	switch {
	case unknown != "":
		return p.fail(1, "unrecognized option: %s", unknown)
	case o.file != "-" && o.file != "":
		return p.fail(1, "can't open '%s': this tar knows the input and the output only, -f -", o.file)
	case o.create:
		return p.pack(o)
	case o.extract || o.list:
		return p.unpack(o)
	default:
		return p.fail(1, "must specify one of -c, -x, -t")
	}
}

// parseTar reads the command line; the first word may lack its dash.
func parseTar(args []string) (o tarOptions, unknown string) {
	o.dir = "."
	for first := true; len(args) > 0; first = false {
		word := args[0]
		args = args[1:]
		switch {
		case word == "--no-same-permissions" || word == "--no-same-owner" || word == "--":
			continue
		case strings.HasPrefix(word, "--"):
			return o, word
		case !first && (len(word) < 2 || word[0] != '-'):
			o.names = append(o.names, word)
			continue
		}
		for _, letter := range strings.TrimPrefix(word, "-") {
			switch letter {
			case 'c':
				o.create = true
			case 'x':
				o.extract = true
			case 't':
				o.list = true
			case 'v':
				o.verbose = true
			case 'm', 'p', 'o':
			case 'f', 'C':
				if len(args) == 0 {
					return o, word
				}
				if letter == 'f' {
					o.file = args[0]
				} else {
					o.dir = args[0]
				}
				args = args[1:]
			default:
				return o, string(letter)
			}
		}
	}
	return o, ""
}

// pack writes files and what is below directories.
func (p *process) pack(o tarOptions) int {
	code, w := 0, tar.NewWriter(p.out)
	for _, name := range o.names {
		root := unrooted(path.Join(p.abs(o.dir), name))
		if path.IsAbs(name) {
			root = unrooted(name)
			p.fail(0, "removing leading '/' from member names")
		}
		err := fs.WalkDir(p.Files, root, func(at string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			inner := path.Join(strings.TrimPrefix(name, "/"), strings.TrimPrefix(at, root))
			return p.packOne(w, at, inner, d)
		})
		if err != nil {
			code = p.fail(1, "%s: %s", name, reason(err))
		}
	}
	if err := w.Close(); err != nil {
		return p.fail(1, "write error: %v", err)
	}
	return code
}

func (p *process) packOne(w *tar.Writer, at, inner string, d fs.DirEntry) error {
	found, err := d.Info()
	if err != nil || !found.IsDir() && !found.Mode().IsRegular() {
		return err // devices are left out
	}
	head := &tar.Header{Name: inner, Mode: int64(found.Mode().Perm()), ModTime: found.ModTime(), Size: found.Size(), Typeflag: tar.TypeReg, Uname: "root", Gname: "root"}
	if found.IsDir() {
		head.Typeflag, head.Name, head.Size = tar.TypeDir, inner+"/", 0
	}
	if err := w.WriteHeader(head); err != nil || found.IsDir() {
		return err
	}
	data, err := fs.ReadFile(p.Files, at)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// unpack writes the files of an archive, or lists them. Directories cannot be made: what is in one goes where there is one.
func (p *process) unpack(o tarOptions) int {
	for r := tar.NewReader(p.in); ; {
		head, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return 0
		case err != nil:
			return p.fail(1, "invalid tar magic")
		case o.list || o.verbose:
			p.printf("%s\n", head.Name)
		}
		if o.list || head.Typeflag == tar.TypeDir {
			continue
		}
		target := path.Join(p.abs(o.dir), path.Join("/", head.Name))
		f, err := p.Files.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
		if err == nil {
			_, err = io.Copy(f, r)
		}
		if err != nil {
			return p.fail(1, "can't open '%s': %s", head.Name, reason(err))
		}
	}
}
