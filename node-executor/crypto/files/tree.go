// Package files is the store of the node's files: it walks directories without following links and
// replaces files atomically with everything they had, owner, mode, extended attributes and label included.
package files

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// MaxFile is the size in bytes up to which a file is opened. A larger one is only searched for signs of
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
	return &Tree{roots: slices.Clone(roots), skip: slices.Clone(skip)}, nil
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
	return fs.WalkDir(root.FS(), cmp.Or(r.Only, "."), func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		node := path.Join(r.Node, name)
		if slices.ContainsFunc(t.skip, func(s string) bool { return within(node, path.Clean(s)) }) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() || isStaged(entry.Name()) {
			return nil
		}
		found, err := read(root, name)
		if err != nil {
			return err
		}
		found.Ref = site.Ref{Store: site.File, Name: node}
		return visit(found)
	})
}

func read(root *os.Root, name string) (site.Site, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return site.Site{}, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return site.Site{}, err
	}
	if len(content) <= MaxFile {
		return site.Site{Content: content}, nil
	}
	suspicious, err := mentionsKey(io.MultiReader(bytes.NewReader(content), f))
	return site.Site{TooLarge: suspicious}, err
}

// keyMarks are signs of a private key in text and in base64 at each of its three alignments.
var keyMarks = [][]byte{
	[]byte("PRIVATE KEY-----"), []byte("UFJJVkFURSBLRVkt"), []byte("BSSVZBVEUgS0VZLS"), []byte("QUklWQVRFIEtFWS0t"),
}

func mentionsKey(r io.Reader) (bool, error) {
	const overlap = 32
	buffer := make([]byte, 1<<20)
	kept := 0
	for {
		n, err := r.Read(buffer[kept:])
		window := buffer[:kept+n]
		for _, mark := range keyMarks {
			if bytes.Contains(window, mark) {
				return true, nil
			}
		}
		kept = copy(buffer, window[max(0, len(window)-overlap):])
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// locate finds the root that holds a node path.
func (t *Tree) locate(node string) (r Root, rel string, err error) {
	for _, r := range t.roots {
		if within(node, r.path()) {
			rel := strings.TrimPrefix(strings.TrimPrefix(node, strings.TrimSuffix(path.Clean(r.Node), "/")), "/")
			return r, rel, nil
		}
	}
	return Root{}, "", fmt.Errorf("cannot find %s: below no root", node)
}
