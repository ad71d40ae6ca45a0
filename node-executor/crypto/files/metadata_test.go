package files_test

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

func attribute(t *testing.T, path, name string) string {
	t.Helper()
	value := make([]byte, 256)
	n, err := unix.Lgetxattr(path, name, value)
	if errors.Is(err, unix.ENODATA) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(value[:n])
}

// acl is an access control list as the kernel takes it (linux/posix_acl_xattr.h), which lets another user read.
func acl(user uint32) string {
	const (
		version                                  = 2
		owner, aUser, group, mask, others        = 1, 2, 4, 0x10, 0x20
		nobody                                   = 0xffffffff
		read, readWrite                   uint16 = 4, 6
	)
	out := binary.LittleEndian.AppendUint32(nil, version)
	for _, e := range []struct {
		tag, permissions uint16
		id               uint32
	}{{owner, readWrite, nobody}, {aUser, read, user}, {group, read, nobody}, {mask, read, nobody}, {others, 0, nobody}} {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.permissions)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return string(out)
}

// Everything a file has besides its content stays, and nothing comes to it.
func TestMetadata(t *testing.T) {
	for _, test := range []struct {
		name       string
		mode       uint32
		attributes map[string]string
		ofDir      map[string]string // attributes that the directory has got since
	}{
		{"mode", 0o400, nil, nil},
		{"mode with all bits", 0o7751, nil, nil},
		{"access control list", 0o640, map[string]string{"system.posix_acl_access": acl(4321)}, nil},
		{"no access control list in a directory with one", 0o600, nil, map[string]string{"system.posix_acl_default": acl(4321)}},
		{"another access control list than the directory's", 0o640, map[string]string{"system.posix_acl_access": acl(1234)}, map[string]string{"system.posix_acl_default": acl(4321)}},
		{"label", 0o600, map[string]string{"security.selinux": "system_u:object_r:kubernetes_file_t:s0\x00"}, nil},
		{"capabilities", 0o755, map[string]string{"security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}, nil},
		{"trusted", 0o600, map[string]string{"trusted.reroot": "x", "user.reroot": "\x00y\x00"}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "key")
			write(t, path, "old")
			if os.Getuid() == 0 {
				if err := os.Chown(path, 1234, 2345); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			for where, attributes := range map[string]map[string]string{path: test.attributes, dir: test.ofDir} {
				for name, value := range attributes {
					if err := unix.Lsetxattr(where, name, []byte(value), 0); err != nil {
						t.Skipf("%s cannot be set here: %v", name, err)
					}
				}
			}
			before := stat(t, path)
			if before.Mode&0o7777 != test.mode {
				t.Fatalf("mode is %o", before.Mode)
			}
			if err := newTree(t, dir).Apply(t.Context(), []site.Change{change("/etc/key", "old", "new")}, never); err != nil {
				t.Fatal(err)
			}
			after := stat(t, path)
			if after.Mode != before.Mode || after.Uid != before.Uid || after.Gid != before.Gid || after.Ino == before.Ino {
				t.Errorf("got mode %o, owner %d:%d; want %o, %d:%d", after.Mode, after.Uid, after.Gid, before.Mode, before.Uid, before.Gid)
			}
			for _, name := range []string{"system.posix_acl_access", "security.capability", "trusted.reroot", "user.reroot"} {
				if got, want := attribute(t, path, name), test.attributes[name]; got != want {
					t.Errorf("got %s %q, want %q", name, got, want)
				}
			}
			if want := test.attributes["security.selinux"]; want != "" && attribute(t, path, "security.selinux") != want {
				t.Errorf("got label %q, want %q", attribute(t, path, "security.selinux"), want)
			}
		})
	}
}

// The kernel takes away bits of a mode without an error. What comes of it is looked at before it takes a file's place.
func TestMetadataThatCannotBeKept(t *testing.T) {
	const variable = "REROOT_TEST_WITHOUT_CAPABILITY"
	if dir := os.Getenv(variable); dir != "" {
		err := newTree(t, dir).Apply(t.Context(), []site.Change{change("/etc/key", "old", "new")}, never)
		if err == nil || !strings.Contains(err.Error(), "mode is -rwxr-x---, not") {
			t.Errorf("got error %v", err)
		}
		return
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil || os.Getuid() != 0 {
		t.Skipf("cannot give up capabilities: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	write(t, path, "old")
	if err := errors.Join(os.Chown(path, 0, 2345), unix.Chmod(path, 0o2750)); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), setpriv, "--bounding-set=-fsetid", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	child.Env = append(os.Environ(), variable+"="+dir)
	if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v:\n%s", err, out)
	}
	if s := stat(t, path); s.Mode != unix.S_IFREG|0o2750 || contents(t, dir)["key"] != "old" {
		t.Errorf("got mode %o, files %v", s.Mode, contents(t, dir))
	}
}
