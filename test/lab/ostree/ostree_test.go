package ostree_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// newSysroot makes a sysroot that is removed after the test.
func newSysroot(t *testing.T) *ostree.Sysroot {
	t.Helper()
	dir, err := os.MkdirTemp("", "reroot-sysroot-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ostree.RemoveSysroot(dir); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the sysroot is still there: %v", err)
		}
	})
	sysroot, err := ostree.NewSysroot(t.Context(), t.Output(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return sysroot
}

func write(t *testing.T, name, data string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
}

func TestDeploy(t *testing.T) {
	ctx := t.Context()
	sysroot := newSysroot(t)
	site := t.TempDir()
	write(t, filepath.Join(site, "site"), "lab", 0o600)
	old, err := sysroot.Deploy(ctx, ostree.DeployOptions{
		Stateroot: "old", Tree: ostree.Tree{Version: "4.16.0"}, Kargs: []string{"root=LABEL=root", "rw", `x.y="a b"`}, Etc: site, Var: site,
	})
	if err != nil {
		t.Fatal(err)
	}
	next, err := sysroot.Deploy(ctx, ostree.DeployOptions{
		Stateroot: "new", Tree: ostree.Tree{Version: "4.17.0", Kernel: "another build"}, Kargs: []string{"rw", "ibu=4.17.0"},
	})
	if err != nil {
		t.Fatal(err)
	}

	status, err := sysroot.Ostree(ctx, "admin", "status", "--sysroot="+sysroot.Dir)
	if err != nil {
		t.Fatal(err)
	}
	first, second := strings.Index(status, "new "+next.Commit), strings.Index(status, "old "+old.Commit)
	if first < 0 || second < first || !strings.Contains(status, "Version: 4.17.0") {
		t.Errorf("want the newest deployment first, with its version, got:\n%s", status)
	}
	for _, name := range []string{filepath.Join(old.Dir, "etc/site"), filepath.Join(old.Var, "site")} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("overlay's file %s: %v, %v", name, info, err)
		}
	}
	entries, err := filepath.Glob(filepath.Join(sysroot.Dir, "boot/loader/entries/*.conf"))
	if err != nil || len(entries) != 2 {
		t.Errorf("want two boot entries, got %v, %v", entries, err)
	}
	kernels, err := filepath.Glob(filepath.Join(sysroot.Dir, "boot/ostree/*/vmlinuz-*"))
	if err != nil || len(kernels) != 2 {
		t.Errorf("want two kernel files, got %v, %v", kernels, err)
	}
}

func TestTree(t *testing.T) {
	sysroot := newSysroot(t)
	overlay := t.TempDir()
	write(t, filepath.Join(overlay, "usr/libexec/lab-tool"), "#!/bin/sh\n", 0o755)
	wants := filepath.Join(overlay, "usr/etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/usr/lib/systemd/system/lab.service", filepath.Join(wants, "lab.service")); err != nil {
		t.Fatal(err)
	}
	tree := ostree.Tree{Version: "4.17.0", Overlay: overlay, Files: map[string][]byte{"usr/share/lab/note": []byte("hello")}}
	deployment, err := sysroot.Deploy(t.Context(), ostree.DeployOptions{Stateroot: "os", Tree: tree})
	if err != nil {
		t.Fatal(err)
	}

	for name, mode := range map[string]fs.FileMode{
		".": fs.ModeDir | 0o755, "usr/libexec/lab-tool": 0o755, "usr/share/lab/note": 0o644,
		"etc/systemd/system/multi-user.target.wants/lab.service": fs.ModeSymlink | 0o777, "usr/libexec/lab": fs.ModeDir | 0o755,
	} {
		if info, err := os.Lstat(filepath.Join(deployment.Dir, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: want %s, got %v, %v", name, mode, info, err)
		}
	}
	release, err := os.ReadFile(filepath.Join(deployment.Dir, "usr/lib/os-release"))
	if err != nil || !strings.Contains(string(release), "\nVERSION_ID=\"4.17.0\"\n") {
		t.Errorf("want version 4.17.0 in os-release, got %s, %v", release, err)
	}

	again, err := sysroot.Deploy(t.Context(), ostree.DeployOptions{Stateroot: "os", Tree: tree})
	if err != nil {
		t.Fatal(err)
	}
	if again.Commit != deployment.Commit || again.Dir == deployment.Dir {
		t.Errorf("want another deployment of the same commit, got %+v after %+v", again, deployment)
	}
	write(t, filepath.Join(overlay, "usr/libexec/lab-tool"), "#!/bin/bash\n", 0o755)
	changed, err := sysroot.Deploy(t.Context(), ostree.DeployOptions{Stateroot: "os", Tree: tree})
	if err != nil {
		t.Fatal(err)
	}
	if changed.Commit == deployment.Commit {
		t.Errorf("the overlay has changed, the commit has not")
	}
}

func TestTreeRefused(t *testing.T) {
	sysroot := newSysroot(t)
	outside := t.TempDir()
	write(t, filepath.Join(outside, "etc/passwd"), "", 0o644)
	for name, tree := range map[string]ostree.Tree{
		"no version":             {},
		"version of two lines":   {Version: "1\nID=x"},
		"file in /etc":           {Version: "1", Files: map[string][]byte{"etc/x": nil}},
		"file outside the tree":  {Version: "1", Files: map[string][]byte{"usr/../../x": nil}},
		"overlay of /etc":        {Version: "1", Overlay: outside},
		"overlay does not exist": {Version: "1", Overlay: filepath.Join(outside, "nonexistent")},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := sysroot.Deploy(t.Context(), ostree.DeployOptions{Stateroot: "os", Tree: tree}); err == nil {
				t.Errorf("want an error, got %+v", got)
			}
		})
	}
}

// TestCommand runs the cached ostree on the host's paths and looks for what the project needs it for.
func TestCommand(t *testing.T) {
	rootfs, err := ostree.Rootfs(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	argv, err := ostree.Command(rootfs)
	if err != nil {
		t.Fatal(err)
	}
	if argv[len(argv)-1] != filepath.Join(rootfs, "usr/bin/ostree") {
		t.Errorf("got %v", argv)
	}
	help, err := newSysroot(t).Ostree(t.Context(), "admin", "--help")
	if err != nil || !strings.Contains(help, "set-default") {
		t.Errorf("want an ostree with set-default, got %s, %v", help, err)
	}
}

func TestRemoveSysrootTwice(t *testing.T) {
	if err := ostree.RemoveSysroot(filepath.Join(t.TempDir(), "nonexistent")); err != nil {
		t.Error(err)
	}
}
