package ostree_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/test/lab/ostree"
)

func TestDeploy(t *testing.T) {
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "reroot-sysroot-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ostree.RemoveSysroot(dir); err != nil {
			t.Error(err)
		}
	})
	sysroot, err := ostree.NewSysroot(ctx, t.Output(), dir)
	if err != nil {
		t.Fatal(err)
	}
	etc := t.TempDir()
	if err := os.WriteFile(filepath.Join(etc, "site"), []byte("lab"), 0o600); err != nil {
		t.Fatal(err)
	}
	old, err := sysroot.Deploy(ctx, ostree.DeployOptions{
		Stateroot: "old", Tree: ostree.Tree{Version: "4.16.0"}, Kargs: []string{"root=LABEL=root", "rw"}, Etc: etc, Var: etc,
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
	if old.Commit == next.Commit {
		t.Errorf("both trees have commit %s", old.Commit)
	}
	status, err := sysroot.Ostree(ctx, "admin", "status", "--sysroot="+dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(status)
	if first, second := strings.Index(status, "new "+next.Commit), strings.Index(status, "old "+old.Commit); first < 0 || second < first {
		t.Errorf("want the newest deployment first, got:\n%s", status)
	}
	for _, name := range []string{filepath.Join(old.Dir, "etc/site"), filepath.Join(old.Var, "site")} {
		if data, err := os.ReadFile(name); err != nil || string(data) != "lab" {
			t.Errorf("%s: got %q, %v", name, data, err)
		}
	}
	kernels, err := filepath.Glob(filepath.Join(dir, "boot/ostree/*/vmlinuz-*"))
	if err != nil || len(kernels) != 2 {
		t.Errorf("want two kernel files, got %v", kernels)
	}
}
