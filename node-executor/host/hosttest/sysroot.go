// Package hosttest makes plain sysroots with a real ostree, for tests of what works on deployments. The operating
// systems in them are a few bytes: enough for ostree to deploy, not to boot.
package hosttest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/host"
	labostree "github.com/reroot-dev/reroot/test/lab/ostree"
)

// Sysroot is a plain sysroot and the [host.Host] that works on it.
type Sysroot struct {
	*host.Host
	Dir    string
	Ostree []string // the command that runs ostree
}

// New makes an empty sysroot in a directory of the test. The test must run as root.
func New(t testing.TB) *Sysroot {
	t.Helper()
	return NewIn(t, Dir(t))
}

// Dir makes a directory for a sysroot that the test removes, in memory where there is a file system for it: ostree syncs
// after every step, which takes most of a test's time on a disk.
func Dir(t testing.TB) string {
	t.Helper()
	const memory = "/dev/shm"
	var st unix.Statfs_t
	if err := unix.Statfs(memory, &st); err != nil || int64(st.Bavail)*st.Bsize < 1<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memory, "reroot-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// NewIn makes an empty sysroot in an existing directory.
func NewIn(t testing.TB, dir string) *Sysroot {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: ostree changes owners")
	}
	s := &Sysroot{Dir: dir, Ostree: Ostree(t)}
	s.Host = host.New(host.Options{Sysroot: dir, Ostree: s.Ostree})
	s.ostree(t, "admin", "init-fs", "--modern", dir)
	return s
}

// Ostree is a command that runs an ostree with set-default, which Debian 12's lacks. Deployments that it makes lack the
// immutable attribute, so that a test's directory can be removed.
func Ostree(t testing.TB) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	rootfs, err := labostree.Rootfs(ctx, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := labostree.Command(rootfs)
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{"/usr/bin/env", "OSTREE_SYSROOT_DEBUG=mutable-deployments"}, cmd...)
}

func (s *Sysroot) ostree(t testing.TB, args ...string) string {
	t.Helper()
	all := append(s.Ostree[1:len(s.Ostree):len(s.Ostree)], args...)
	out, err := exec.CommandContext(t.Context(), s.Ostree[0], all...).CombinedOutput()
	if err != nil {
		t.Fatalf("ostree %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// Commit adds an operating system tree of that version to the repository and returns the commit. The files, by path
// such as "usr/etc/motd", are added to the least that ostree takes for deployable.
func (s *Sysroot) Commit(t testing.TB, version string, files map[string]string) string {
	t.Helper()
	tree := t.TempDir()
	all := map[string]string{
		"usr/lib/modules/6.1/vmlinuz":       "kernel " + version,
		"usr/lib/modules/6.1/initramfs.img": "initramfs " + version,
		"usr/lib/os-release":                fmt.Sprintf("ID=lab\nVERSION_ID=%s\nPRETTY_NAME=\"Lab %s\"\n", version, version),
		"usr/etc/hostname":                  "node\n",
	}
	for path, text := range files {
		all[path] = text
	}
	for path, text := range all {
		full := filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"sysroot", "boot", "var", "run", "proc", "dev"} {
		if err := os.Mkdir(filepath.Join(tree, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("sysroot/ostree", filepath.Join(tree, "ostree")); err != nil {
		t.Fatal(err)
	}
	return s.ostree(t, "commit", "--repo="+s.Repo(), "--branch=lab/"+version, "--tree=dir="+tree,
		"--add-metadata-string=version="+version)
}

// Fsck checks every object of the repository.
func (s *Sysroot) Fsck(t testing.TB) {
	t.Helper()
	s.ostree(t, "fsck", "--quiet", "--repo="+s.Repo())
}

// MustDeploy makes a stateroot with one deployment of a commit.
func (s *Sysroot) MustDeploy(t testing.TB, stateroot, commit string, kargs ...string) host.Deployment {
	t.Helper()
	if err := s.StaterootInit(t.Context(), stateroot); err != nil {
		t.Fatal(err)
	}
	d, err := s.Deploy(t.Context(), stateroot, commit, kargs)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
