package files_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

func never(string) error { return nil }

func newTree(t *testing.T, dir string, skip ...string) *files.Tree {
	t.Helper()
	tree, err := files.New([]files.Root{{Host: dir, Node: "/etc"}}, skip)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func walk(t *testing.T, tree *files.Tree) []string {
	t.Helper()
	var names []string
	if err := tree.Walk(context.Background(), func(s site.Site) error {
		name := s.Name
		if s.TooLarge {
			name += " (too large)"
		}
		names = append(names, name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWalk(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "secret"), "not the node's")
	write(t, filepath.Join(dir, "a/b"), "x")
	write(t, filepath.Join(dir, ".hidden/c"), "x")
	write(t, filepath.Join(dir, "ssh/host_key"), "x")
	write(t, filepath.Join(dir, "a/.reroot-crypto.b.staged"), "left by a crash")
	write(t, filepath.Join(dir, "large"), strings.Repeat("x", files.MaxFile+1))
	write(t, filepath.Join(dir, "suspicious"), strings.Repeat("x", files.MaxFile-5)+"PRIVATE KEY-----")
	for link, to := range map[string]string{"link": "a/b", "away": filepath.Join(outside, "secret"), "dir": outside} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []string{"/etc/.hidden/c", "/etc/a/b", "/etc/large", "/etc/suspicious (too large)"}
	if got := walk(t, newTree(t, dir, "/etc/ssh")); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestNestedRootsAreRefused(t *testing.T) {
	if _, err := files.New([]files.Root{{Host: "/a", Node: "/etc"}, {Host: "/b", Node: "/etc/kubernetes"}}, nil); err == nil {
		t.Error("accepted")
	}
	if _, err := files.New([]files.Root{{Host: "/a", Node: "/etc"}, {Host: "/b", Node: "/etcetera"}}, nil); err != nil {
		t.Errorf("got error %v for roots beside each other", err)
	}
}

func change(name, before, after string) site.Change {
	return site.Change{Ref: site.Ref{Store: site.File, Name: name}, Before: site.HashOf([]byte(before)), After: []byte(after)}
}

func TestApply(t *testing.T) {
	remove := change("/etc/a", "old", "")
	remove.Delete, remove.After = true, nil
	create := change("/etc/b", "", "new")
	create.Create, create.Like = true, "/etc/a"
	for _, test := range []struct {
		name   string
		change site.Change
		before map[string]string
		want   map[string]string
		err    error
	}{
		{"replace", change("/etc/a", "old", "new"), map[string]string{"a": "old"}, map[string]string{"a": "new"}, nil},
		{"replaced already", change("/etc/a", "old", "new"), map[string]string{"a": "new"}, map[string]string{"a": "new"}, nil},
		{"someone else wrote", change("/etc/a", "old", "new"), map[string]string{"a": "other"}, map[string]string{"a": "other"}, site.ErrForeignWrite},
		{"someone else removed", change("/etc/a", "old", "new"), map[string]string{}, map[string]string{}, site.ErrForeignWrite},
		{"remove", remove, map[string]string{"a": "old", "c": "x"}, map[string]string{"c": "x"}, nil},
		{"removed already", remove, map[string]string{"c": "x"}, map[string]string{"c": "x"}, nil},
		{"remove what changed", remove, map[string]string{"a": "other"}, map[string]string{"a": "other"}, site.ErrForeignWrite},
		{"create", create, map[string]string{"a": "old"}, map[string]string{"a": "old", "b": "new"}, nil},
		{"created already", create, map[string]string{"a": "old", "b": "new"}, map[string]string{"a": "old", "b": "new"}, nil},
		{"create over another", create, map[string]string{"a": "old", "b": "other"}, map[string]string{"a": "old", "b": "other"}, site.ErrForeignWrite},
		{"left by a crash", change("/etc/a", "old", "new"), map[string]string{"a": "old", ".reroot-crypto.a.staged": "half"}, map[string]string{"a": "new"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range test.before {
				write(t, filepath.Join(dir, name), content)
			}
			tree, changes := newTree(t, dir), []site.Change{test.change}
			if err := tree.Apply(context.Background(), changes, never); !errors.Is(err, test.err) {
				t.Errorf("got error %v, want %v", err, test.err)
			}
			if err := tree.Confirm(context.Background(), changes); !errors.Is(err, test.err) {
				t.Errorf("confirming: got error %v, want %v", err, test.err)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != len(test.want) {
				t.Errorf("got %v, %v; want %v", entries, err, test.want)
			}
			for name, want := range test.want {
				if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
					t.Errorf("%s: got %q, %v; want %q", name, got, err, want)
				}
			}
		})
	}
}

func TestConfirmWantsTheNewContent(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "old")
	if err := newTree(t, dir).Confirm(context.Background(), []site.Change{change("/etc/a", "old", "new")}); !errors.Is(err, site.ErrForeignWrite) {
		t.Errorf("got error %v for a file that is as it was, want %v", err, site.ErrForeignWrite)
	}
}

// A link in the place of a file is not followed, wherever it leads.
func TestLinksAreNotFollowed(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "passwd")
	write(t, outside, "old")
	if err := os.Symlink(outside, filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	if err := newTree(t, dir).Apply(context.Background(), []site.Change{change("/etc/a", "old", "new")}, never); err == nil {
		t.Error("a link was followed")
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "old" {
		t.Errorf("got %q, %v outside of the tree", content, err)
	}
}

// A file that is too large to be opened is shown in pieces that leave nothing out, not even between two of them.
func TestWindows(t *testing.T) {
	dir := t.TempDir()
	const secret = "0123456789abcdef"
	for _, at := range []int{0, 1<<20 - 8, 2<<20 - 1<<10 - 8, 20 << 20, files.MaxFile} {
		content := bytes.Repeat([]byte{'x'}, files.MaxFile+len(secret))
		copy(content[at:], secret)
		write(t, filepath.Join(dir, "large"), string(content))
		found, size := 0, 0
		err := newTree(t, dir).Walk(t.Context(), func(s site.Site) error {
			if s.Content != nil || s.TooLarge {
				t.Errorf("got %d bytes, too large: %t", len(s.Content), s.TooLarge)
			}
			for window, err := range s.Windows {
				if err != nil {
					return err
				}
				size += len(window)
				found += bytes.Count(window, []byte(secret))
			}
			return nil
		})
		if err != nil || found == 0 || size < len(content) {
			t.Errorf("secret at %d: found %d times in %d bytes, %v", at, found, size, err)
		}
	}
}
