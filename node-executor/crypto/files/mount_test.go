package files_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// inNamespace tells whether mounts are the test's own. If not, the test has been run in a process where they are.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const variable = "REROOT_TEST_NAMESPACE"
	if os.Getenv(variable) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("only root may mount")
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), variable+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := child.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("may not make a mount namespace: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v:\n%s", err, out)
	}
	return false
}

func mount(t *testing.T, from, to string, more uintptr) {
	t.Helper()
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if more != 0 {
		if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|more, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
}

// A file that something is mounted on cannot be replaced. It is written to, and finished by a later attempt wherever the first was
// stopped.
func TestMountedFiles(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	long, longer, short := strings.Repeat("old content ", 1000), strings.Repeat("new content! ", 1200), strings.Repeat("n", 5000)
	capability := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) // VFS_CAP_REVISION_2, CAP_NET_BIND_SERVICE
	for name, renewed := range map[string]string{"longer": longer, "shorter": short, "of the same length": strings.ToUpper(long)} {
		t.Run(name, func(t *testing.T) {
			var dir, outside string
			prepare := func(t *testing.T) (*files.Tree, []site.Change) {
				dir, outside = t.TempDir(), t.TempDir()
				write(t, filepath.Join(outside, "source"), long)
				if err := os.Chmod(filepath.Join(outside, "source"), 0o640); err != nil {
					t.Fatal(err)
				}
				if err := unix.Setxattr(filepath.Join(outside, "source"), "security.capability", []byte(capability), 0); err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "mounted"), "covered")
				write(t, filepath.Join(dir, "inside"), long)
				write(t, filepath.Join(dir, "also"), "covered")
				mount(t, filepath.Join(outside, "source"), filepath.Join(dir, "mounted"), 0)
				mount(t, filepath.Join(dir, "inside"), filepath.Join(dir, "also"), 0) // what is seen twice
				return newTree(t, dir), []site.Change{
					change("/etc/also", long, renewed), change("/etc/inside", long, renewed), change("/etc/mounted", long, renewed),
				}
			}
			steps := everyStop(t, prepare, func(t *testing.T) {
				got := contents(t, dir)
				if len(got) != 3 || got["mounted"] != renewed || got["inside"] != renewed || got["also"] != renewed {
					t.Errorf("got %d files, of %d, %d and %d bytes", len(got), len(got["mounted"]), len(got["inside"]), len(got["also"]))
				}
				if got := contents(t, outside); len(got) != 1 || got["source"] != renewed {
					t.Errorf("got %d files outside, of %d bytes", len(got), len(got["source"]))
				}
				if got := attribute(t, filepath.Join(dir, "mounted"), "security.capability"); got != capability {
					t.Errorf("got capability %q", got)
				}
				if s := stat(t, filepath.Join(dir, "mounted")); s.Mode != unix.S_IFREG|0o640 {
					t.Errorf("got mode %o", s.Mode)
				}
			})
			for _, step := range []string{"file.overwrite", "file.restore", "file.unstage"} {
				if !slices.Contains(steps, step) {
					t.Errorf("%s was not among the steps %v", step, steps)
				}
			}
		})
	}
}

func TestMountedFilesThatSomeoneElseWrote(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir, outside := t.TempDir(), t.TempDir()
	write(t, filepath.Join(outside, "source"), "neither")
	write(t, filepath.Join(dir, "mounted"), "old")
	mount(t, filepath.Join(outside, "source"), filepath.Join(dir, "mounted"), 0)
	changes := []site.Change{change("/etc/mounted", "old", "new")}
	tree := newTree(t, dir)
	if err := tree.Apply(t.Context(), changes, never); !errors.Is(err, site.ErrForeignWrite) {
		t.Errorf("got error %v", err)
	}
	write(t, filepath.Join(dir, ".reroot-crypto.mounted.staged"), "ne")
	if err := tree.Apply(t.Context(), changes, never); !errors.Is(err, site.ErrForeignWrite) {
		t.Errorf("got error %v beside a staged file that is not complete", err)
	}
}

func TestCheckFindsWhatCannotBeChanged(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	dir, outside := t.TempDir(), t.TempDir()
	for _, name := range []string{"a", "b", "c/d", "c2/d", "e/f", "fixed"} {
		write(t, filepath.Join(dir, name), "old")
	}
	write(t, filepath.Join(outside, "a"), "old")
	mount(t, filepath.Join(outside, "a"), filepath.Join(dir, "a"), 0)
	mount(t, filepath.Join(outside, "a"), filepath.Join(dir, "b"), unix.MS_RDONLY)
	mount(t, filepath.Join(dir, "c"), filepath.Join(dir, "c2"), 0)
	mount(t, filepath.Join(dir, "e"), filepath.Join(dir, "e"), unix.MS_RDONLY)
	remove := change("/etc/a", "old", "")
	remove.Delete = true
	for _, test := range []struct {
		name    string
		changes []site.Change
		want    []string
	}{
		{"a mount", []site.Change{change("/etc/a", "old", "new")}, nil},
		{"a mount that is removed", []site.Change{remove}, []string{"/etc/a is a mount point"}},
		{"a mount that is read-only", []site.Change{change("/etc/b", "old", "new")}, []string{"/etc/b is on a read-only file system"}},
		{"a directory that is read-only", []site.Change{change("/etc/e/f", "old", "new")}, []string{"/etc/e/f is on a read-only file system"}},
		{"a directory that is seen twice", []site.Change{change("/etc/c/d", "old", "new"), change("/etc/c2/d", "old", "new")},
			[]string{"/etc/c/d is at two places", "/etc/c2/d is at two places"}},
		{"an immutable file", []site.Change{change("/etc/fixed", "old", "new")}, []string{"/etc/fixed is immutable"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "an immutable file" {
				makeImmutable(t, filepath.Join(dir, "fixed"))
			}
			got := check(t, newTree(t, dir), test.changes...)
			if len(got) != len(test.want) {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			for i, want := range test.want {
				if !strings.HasPrefix(got[i], want) {
					t.Errorf("got %q, want %q", got[i], want)
				}
			}
		})
	}
}

func makeImmutable(t *testing.T, path string) {
	t.Helper()
	const immutable = 0x10 // FS_IMMUTABLE_FL
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set := func(flags int) error { return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags) }
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = set(flags | immutable)
	}
	if err != nil {
		t.Skipf("no immutable files here: %v", err)
	}
	t.Cleanup(func() {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags); err != nil {
			t.Error(err)
		}
	})
}
