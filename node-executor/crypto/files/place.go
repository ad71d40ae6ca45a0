package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// opened are a tree's roots, each open.
type opened struct {
	*Tree
	dirs []*os.Root
}

func (t *Tree) open() (opened, error) {
	o := opened{Tree: t}
	for _, r := range t.roots {
		dir, err := os.OpenRoot(r.Host)
		if err != nil {
			o.close()
			return opened{}, err
		}
		o.dirs = append(o.dirs, dir)
	}
	return o, nil
}

// close gives the roots back. Nothing is written through them, so that nothing can be lost.
func (o opened) close() {
	for _, dir := range o.dirs {
		dir.Close()
	}
}

// locate finds a node path below the roots.
func (o opened) locate(node string) (place, error) {
	for i, r := range o.roots {
		if within(node, r.path()) {
			rel := strings.TrimPrefix(strings.TrimPrefix(node, strings.TrimSuffix(path.Clean(r.Node), "/")), "/")
			return place{o.dirs[i], rel}, nil
		}
	}
	return place{}, fmt.Errorf("cannot find %s: below no root", node)
}

// place is where a file is: below an open root, out of which no link leads.
type place struct {
	root *os.Root
	name string
}

func (p place) dir() place { return place{p.root, path.Dir(p.name)} }

// staged is the place of the file that takes this one's.
func (p place) staged() place {
	return place{p.root, path.Join(path.Dir(p.name), stagedPrefix+path.Base(p.name)+stagedSuffix)}
}

// open opens a regular file for reading, and returns its size in bytes. A link is not followed, and nothing is waited for.
func (p place) open() (*os.File, int64, error) {
	f, err := p.root.OpenFile(p.name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("cannot read %s: not a regular file", p.name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// readAll reads the size bytes that a file said it has, or what is left of them.
func readAll(f *os.File, size int64) ([]byte, error) {
	content := make([]byte, size)
	n, err := io.ReadFull(f, content)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil
	}
	return content[:n], err
}

// remove removes a file that may be missing.
func (p place) remove() error {
	if err := p.root.Remove(p.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// fileSystems are those of some directories, by device. They are opened before anything is written: what fails to reach the
// disk afterwards is told to whoever had the file system open by then.
type fileSystems map[uint64]*os.File

// add opens the file system that a directory is in.
func (systems fileSystems) add(dir place) error {
	d, err := dir.root.Open(dir.name)
	if err != nil {
		return err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(d.Fd()), &stat); err != nil {
		return errors.Join(err, d.Close())
	}
	if systems[stat.Dev] != nil {
		return d.Close()
	}
	systems[stat.Dev] = d
	return nil
}

// sync makes all that was written last. To flush some hundred files and directories one by one would take a file system
// as many commits of its journal.
func (systems fileSystems) sync(fault func(string) error) error {
	if err := fault("file.sync"); err != nil {
		return err
	}
	for _, d := range systems {
		if err := unix.Syncfs(int(d.Fd())); err != nil {
			return fmt.Errorf("cannot make changes last: %w", err)
		}
	}
	return nil
}

// close gives them back. Nothing is written through them, so that nothing can be lost.
func (systems fileSystems) close() {
	for _, d := range systems {
		d.Close()
	}
}
