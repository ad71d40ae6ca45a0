package etc_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/step/etc"
)

func TestWriteOverridesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "hostname", "seed\n")
	if err := os.Symlink("/dev/null", filepath.Join(dir, "masked")); err != nil {
		t.Fatal(err)
	}
	files := []etc.File{
		{Path: "hostname", Data: []byte("site\n"), Mode: 0o640},
		{Path: "masked", Data: []byte("unit"), Mode: 0o644},
		{Path: "a/b/c", Data: []byte("deep"), Mode: 0o600},
		{Path: "a/link", Link: "../hostname"},
	}
	for range 2 {
		if err := etc.Write(dir, nil, files...); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range files[:3] {
		got, err := etc.Read(dir, want.Path)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", want.Path, err, diff)
		}
	}
	if got, err := os.Readlink(filepath.Join(dir, "a/link")); err != nil || got != "../hostname" {
		t.Errorf("link: %q, %v", got, err)
	}
	for range 2 {
		if err := etc.Remove(dir, "hostname", "a/link", "never/there"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "a/link")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("link: %v", err)
	}
}

// TestLinksDoNotLeadOut: a seed's directory may be a link to somewhere else.
func TestLinksDoNotLeadOut(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(dir, "systemd")); err != nil {
		t.Fatal(err)
	}
	if err := etc.Write(dir, nil, etc.File{Path: "systemd/system/x.service", Data: []byte("x"), Mode: 0o644}); err == nil {
		t.Error("it was written")
	}
	if err := etc.Write(dir, nil, etc.File{Path: "../x", Data: []byte("x"), Mode: 0o644}); err == nil {
		t.Error("it was written outside")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}

const contexts = `# comment
/.*	system_u:object_r:default_t:s0
/etc(/.*)?	system_u:object_r:etc_t:s0
/etc/systemd/system(/.*)?	system_u:object_r:systemd_unit_file_t:s0
/etc/hostname	--	system_u:object_r:hostname_etc_t:s0
/etc/mtab	-l	system_u:object_r:etc_runtime_t:s0
/etc/nothing	<<none>>
`

func policy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "selinux/config", "# x\nSELINUX=enforcing\nSELINUXTYPE=targeted\n")
	put(t, dir, "selinux/targeted/contexts/files/file_contexts", contexts)
	put(t, dir, "selinux/targeted/contexts/files/file_contexts.local", "/etc/ours -- system_u:object_r:ours_t:s0\n")
	return dir
}

func TestLabels(t *testing.T) {
	labels, err := etc.ReadLabels(policy(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path string
		mode os.FileMode
		want string
	}{
		{"hostname", 0, "hostname_etc_t"},
		{"hostname", os.ModeDir, "etc_t"},
		{"mtab", os.ModeSymlink, "etc_runtime_t"},
		{"systemd/system", os.ModeDir, "systemd_unit_file_t"},
		{"systemd/system/x.service", 0, "systemd_unit_file_t"},
		{"ours", 0, "ours_t"},
		{"nothing", 0, ""},
		{"else/where", 0, "etc_t"},
	} {
		want := tc.want
		if want != "" {
			want = "system_u:object_r:" + want + ":s0"
		}
		if got := labels.Of(tc.path, tc.mode); got != want {
			t.Errorf("%s %s: %q, want %q", tc.mode, tc.path, got, want)
		}
	}
}

func TestFilesAreLabelled(t *testing.T) {
	dir := policy(t)
	labels, err := etc.ReadLabels(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = etc.Write(dir, labels, etc.File{Path: "systemd/system/x.service", Data: []byte("x"), Mode: 0o644})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
		t.Skipf("needs a file system with security labels, and root: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	n, err := unix.Lgetxattr(filepath.Join(dir, "systemd/system/x.service"), "security.selinux", got)
	if err != nil || strings.TrimRight(string(got[:n]), "\x00") != "system_u:object_r:systemd_unit_file_t:s0" {
		t.Errorf("label: %q, %v", got[:n], err)
	}
}

func TestNoPolicyNoLabels(t *testing.T) {
	for name, config := range map[string]string{"disabled": "SELINUX=disabled\nSELINUXTYPE=targeted\n", "none": ""} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if config != "" {
				put(t, dir, "selinux/config", config)
			}
			labels, err := etc.ReadLabels(dir)
			if err != nil || labels.Of("hostname", 0) != "" {
				t.Errorf("%q, %v", labels.Of("hostname", 0), err)
			}
		})
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
