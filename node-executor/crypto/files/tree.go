// Package files is the store of the node's files: it walks directories without following links and
// replaces files atomically with everything they had: owner, mode, extended attributes, ACL, capabilities and label included.
//
// A file is replaced by renaming a new one over it. There are two kinds of files for which that is not all:
//
//   - What several names of a root lead to (hard links) stays one file. If there is a name that is not changed, in a place that nobody
//     looks at, the old content would stay there: [Tree.Check] tells before anything is written.
//   - A file that is itself a mount point cannot be renamed over. It is written to, page by page, from the new file beside it,
//     which stays until all is on disk, so that a half-written one is recognised and finished.
//
// Times are not kept, neither a file's nor those of the directory that it is renamed in: it did change then, and who looks for changes
// by time, such as a backup, has to see it. Nothing else of a directory changes.
package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// MaxFile is the size in bytes up to which a file is opened. A larger one is shown in windows, and only searched for signs of
// a private key.
const MaxFile = 32 << 20

// Root maps a directory of this host to its place on the node.
type Root struct {
	Host string // e.g. /sysroot/ostree/deploy/new/deploy/….0/etc
	Node string // e.g. /etc
	// Only, when set, is the one file below that is meant.
	Only string
}

// path is what the root is for, on the node.
func (r Root) path() string { return path.Join(r.Node, r.Only) }

// Tree is the files below some roots.
type Tree struct {
	roots []Root
	skip  []string
}

// New returns the tree of the roots, which must not lie within each other. Node paths in skip, and
// what is below them, are left out.
func New(roots []Root, skip []string) (*Tree, error) {
	for i, a := range roots {
		for j, b := range roots {
			if i != j && within(b.path(), a.path()) {
				return nil, fmt.Errorf("cannot use roots %s and %s: one lies within the other", a.path(), b.path())
			}
		}
	}
	t := &Tree{roots: slices.Clone(roots)}
	for _, s := range skip {
		t.skip = append(t.skip, path.Clean(s))
	}
	return t, nil
}

func within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

// Walk visits every regular file once, by path. Links are not followed: their targets are visited where they
// are, and what lies outside the roots is not the node's.
func (t *Tree) Walk(ctx context.Context, visit func(site.Site) error) error {
	for _, r := range t.roots {
		if err := t.walkRoot(ctx, r, visit); err != nil {
			return fmt.Errorf("cannot read files of %s: %w", r.Node, err)
		}
	}
	return nil
}

func (t *Tree) walkRoot(ctx context.Context, r Root, visit func(site.Site) error) error {
	root, err := os.OpenRoot(r.Host)
	if err != nil {
		return err
	}
	defer root.Close()
	w := walk{Tree: t, root: r, visit: visit}
	if r.Only == "" {
		return w.directory(ctx, root, "")
	}
	info, err := root.Lstat(r.Only)
	if err != nil {
		return err
	}
	return w.entry(ctx, root, "", fs.FileInfoToDirEntry(info))
}

// walk is one pass over a root. Each directory is opened once and its entries by their bare name: looking up a path
// from the root would open every directory on the way again for every file.
type walk struct {
	*Tree
	root  Root
	visit func(site.Site) error
}

// directory visits what is below an open directory, whose path is relative to the root; "" is the root itself.
func (w walk) directory(ctx context.Context, dir *os.Root, name string) error {
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := w.entry(ctx, dir, name, entry); err != nil {
			return err
		}
	}
	return nil
}

// entry visits what an open directory has under a name.
func (w walk) entry(ctx context.Context, dir *os.Root, dirName string, entry fs.DirEntry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name := path.Join(dirName, entry.Name())
	node := path.Join(w.root.Node, name)
	switch {
	case slices.ContainsFunc(w.skip, func(s string) bool { return within(node, s) }):
		return nil
	case entry.IsDir():
		below, err := dir.OpenRoot(entry.Name())
		if err != nil {
			return err
		}
		return errors.Join(w.directory(ctx, below, name), below.Close())
	case !entry.Type().IsRegular() || isStaged(entry.Name()):
		return nil
	}
	found, err := w.read(dir, entry.Name(), name)
	if err != nil {
		return err
	}
	found.Ref = site.Ref{Store: site.File, Name: node}
	return w.visit(found)
}

// read reads the file that an open directory has under a base name; name is its path below the root.
func (w walk) read(dir *os.Root, base, name string) (found site.Site, err error) {
	f, size, err := place{dir, base}.open()
	if err != nil {
		return site.Site{}, err
	}
	defer f.Close()
	if size > MaxFile {
		found.Windows = Windows(w.root.Host, name)
		found.TooLarge, err = mentionsKey(found.Windows)
		return found, err
	}
	found.Content, err = readAll(f, size)
	return found, err
}
