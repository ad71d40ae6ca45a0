package files_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

var errStopped = errors.New("stopped")

// stopAt returns a fault function that fails from the nth step on, counted from 1.
func stopAt(n int) func(string) error {
	return func(string) error {
		if n--; n < 1 {
			return errStopped
		}
		return nil
	}
}

// everyStop makes the changes again and again in new trees that prepare makes, and stops at every step: each attempt is followed by a
// second one that is stopped soon after it, and by one that is not. It returns the names of all steps.
func everyStop(t *testing.T, prepare func(t *testing.T) (*files.Tree, []site.Change), after func(t *testing.T)) (steps []string) {
	t.Helper()
	tree, changes := prepare(t)
	if err := tree.Apply(t.Context(), changes, func(step string) error { steps = append(steps, step); return nil }); err != nil {
		t.Fatal(err)
	}
	after(t)
	for n := range steps {
		for _, second := range []int{1, 2, 3} {
			tree, changes := prepare(t)
			if err := tree.Apply(t.Context(), changes, stopAt(n+1)); !errors.Is(err, errStopped) {
				t.Fatalf("step %d, %s: got error %v", n+1, steps[n], err)
			}
			if err := tree.Apply(t.Context(), changes, stopAt(second)); err != nil && !errors.Is(err, errStopped) {
				t.Fatalf("again after step %d, %s: got error %v", n+1, steps[n], err)
			}
			if err := errors.Join(tree.Apply(t.Context(), changes, never), tree.Confirm(t.Context(), changes)); err != nil {
				t.Fatalf("at last after step %d, %s: got error %v", n+1, steps[n], err)
			}
			after(t)
			if t.Failed() {
				t.Fatalf("after step %d, %s", n+1, steps[n])
			}
		}
	}
	return steps
}

// contents are the files below a directory, as they are.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func stat(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Lstat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// One file under several names stays one, wherever it is stopped.
func TestHardLinks(t *testing.T) {
	var dir string
	prepare := func(t *testing.T) (*files.Tree, []site.Change) {
		dir = t.TempDir()
		write(t, filepath.Join(dir, "a/key"), "old")
		write(t, filepath.Join(dir, "alone"), "old")
		write(t, filepath.Join(dir, "b/c/d"), "x")
		for _, name := range []string{"b/key", "b/c/key", "other"} {
			if err := os.Link(filepath.Join(dir, "a/key"), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		return newTree(t, dir), []site.Change{
			change("/etc/a/key", "old", "new"), change("/etc/alone", "old", "new"),
			change("/etc/b/c/key", "old", "new"), change("/etc/b/key", "old", "new"),
			change("/etc/other", "old", "of its own"), // as a rule may want it that knows the path
		}
	}
	everyStop(t, prepare, func(t *testing.T) {
		want := map[string]string{"a/key": "new", "alone": "new", "b/c/d": "x", "b/c/key": "new", "b/key": "new", "other": "of its own"}
		got := contents(t, dir)
		if len(got) != len(want) {
			t.Errorf("got files %v, want %v", got, want)
		}
		first := stat(t, filepath.Join(dir, "a/key"))
		for name, content := range want {
			s := stat(t, filepath.Join(dir, name))
			linked := strings.HasSuffix(name, "key")
			if got[name] != content || linked != (s.Ino == first.Ino) || linked != (s.Nlink == 3) {
				t.Errorf("%s: got %q, inode %d with %d names; a/key has %d", name, got[name], s.Ino, s.Nlink, first.Ino)
			}
		}
	})
}

func check(t *testing.T, tree *files.Tree, changes ...site.Change) (found []string) {
	t.Helper()
	obstacles, err := tree.Check(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range obstacles {
		found = append(found, o.Name+" "+o.What)
	}
	return found
}

// A name outside of the tree would keep the old key.
func TestCheckFindsLinksFromOutside(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		write(t, filepath.Join(dir, name), "old")
	}
	for from, to := range map[string]string{"a": filepath.Join(outside, "a"), "b": filepath.Join(dir, "b2")} {
		if err := os.Link(filepath.Join(dir, from), to); err != nil {
			t.Fatal(err)
		}
	}
	tree := newTree(t, dir)
	remove := change("/etc/c", "old", "")
	remove.Delete = true
	create := change("/etc/d", "", "new")
	create.Create, create.Like = true, "/etc/c"
	got := check(t, tree, change("/etc/a", "old", "new"), change("/etc/b", "old", "new"), change("/etc/b2", "old", "new"), create, remove)
	if len(got) != 1 || !strings.HasPrefix(got[0], "/etc/a has 1 more names (hard links)") {
		t.Errorf("got %q, want one about /etc/a", got)
	}
	if got := check(t, tree, change("/etc/b", "old", "new")); len(got) != 1 {
		t.Errorf("got %q for a file of which one name is not changed", got)
	}
	if _, err := tree.Check(context.Background(), []site.Change{change("/etc/c", "other", "new")}); !errors.Is(err, site.ErrForeignWrite) {
		t.Errorf("got error %v for a file that changed meanwhile", err)
	}
	want := map[string]string{"a": "old", "b": "old", "b2": "old", "c": "old"}
	if got := contents(t, dir); len(got) != len(want) || slices.ContainsFunc([]string{"a", "b", "b2", "c"}, func(n string) bool { return got[n] != want[n] }) {
		t.Errorf("a check left %v", got)
	}
}
