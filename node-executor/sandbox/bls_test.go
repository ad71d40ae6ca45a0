package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/sandbox"
)

const (
	kernelDir = "/ostree/new-19b6f60c300b7799180fa3a7cae21fadc9fa8a44a0ad129f2da2044238cf62a0/"
	bootPath  = "/ostree/boot.0/new/19b6f60c300b7799180fa3a7cae21fadc9fa8a44a0ad129f2da2044238cf62a0/1"
)

func TestParseEntry(t *testing.T) {
	for name, want := range map[string]sandbox.Entry{
		"ostree-2025.2.conf": {
			ID: "ostree-2025.2", Title: "Debian GNU/Linux 13 (trixie) 4.17.0 (ostree:new:0)", Version: 2,
			Kernel:  kernelDir + "vmlinuz-6.12.117+deb13-cloud-amd64",
			Initrd:  kernelDir + "initramfs-6.12.117+deb13-cloud-amd64.img",
			Options: `root=LABEL=root rw x.y="a b" ostree=` + bootPath,
		},
		"comments-and-tabs.conf": {
			ID: "comments-and-tabs", Title: "By hand", Version: 7,
			Kernel: "/ostree/old/vmlinuz", Initrd: "/ostree/old/initramfs.img",
			Options: "root=LABEL=root ostree=/ostree/boot.1/old/abc/0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			got, err := sandbox.ParseEntry(name, data)
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("want %+v\ngot  %+v", want, got)
			}
		})
	}
}

// entryText is an entry of this version.
func entryText(version string) string {
	return fmt.Sprintf("version %s\nlinux /k\ninitrd /i\noptions rw ostree=/ostree/boot.0/old/abc/0\n", version)
}

func TestParseEntryRefuses(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"no version":        {"linux /k\ninitrd /i\noptions rw\n", "no version"},
		"no kernel":         {"version 1\ninitrd /i\noptions rw\n", "no linux"},
		"no initramfs":      {"version 1\nlinux /k\noptions rw\n", "no initrd"},
		"no options":        {"version 1\nlinux /k\ninitrd /i\noptions\n", "no options"},
		"version as text":   {entryText("4.17.0"), "not a whole number"},
		"half-written file": {"version 1\nlinu", "no linux"},
		"too large":         {entryText("1") + strings.Repeat("#", 64<<10), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := sandbox.ParseEntry("entry.conf", []byte(test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want an error with %q, got %v", test.want, err)
			}
		})
	}
}

// writeEntries makes a sysroot with these entries, and boot/loader as ostree has it: a symbolic link.
func writeEntries(t *testing.T, entries map[string]string) string {
	t.Helper()
	sysroot := t.TempDir()
	dir := filepath.Join(sysroot, "boot/loader.1/entries")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loader.1", filepath.Join(sysroot, "boot/loader")); err != nil {
		t.Fatal(err)
	}
	for name, text := range entries {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return sysroot
}

func TestBLSTakesHighestVersion(t *testing.T) {
	for name, test := range map[string]struct {
		entries map[string]string
		want    string
	}{
		"by version, not by name": {map[string]string{"ostree-1.conf": entryText("3"), "ostree-2.conf": entryText("2")}, "ostree-1"},
		"as a number":             {map[string]string{"a.conf": entryText("10"), "b.conf": entryText("9")}, "a"},
		"only entries":            {map[string]string{"a.conf": entryText("1"), "z.conf.bak": entryText("2")}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := sandbox.BLS{}.Next(writeEntries(t, test.entries))
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != test.want {
				t.Errorf("want %s, got %s", test.want, got.ID)
			}
		})
	}
}

func TestBLSRefuses(t *testing.T) {
	t.Run("no entry", func(t *testing.T) {
		if _, err := (sandbox.BLS{}).Next(writeEntries(t, nil)); !errors.Is(err, sandbox.ErrNoEntry) {
			t.Errorf("want %v, got %v", sandbox.ErrNoEntry, err)
		}
	})
	t.Run("entry outside the disk", func(t *testing.T) {
		sysroot := writeEntries(t, nil)
		outside := filepath.Join(t.TempDir(), "a.conf")
		if err := os.WriteFile(outside, []byte(entryText("1")), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, filepath.Join(sysroot, "boot/loader.1/entries/a.conf")); err != nil {
			t.Fatal(err)
		}
		if entry, err := (sandbox.BLS{}).Next(sysroot); err == nil {
			t.Errorf("want an error, got %+v", entry)
		}
	})
}

func TestBootLink(t *testing.T) {
	for name, test := range map[string]struct{ options, link, stateroot string }{
		"among others":   {"root=LABEL=root ostree=" + bootPath + " ibu=4.17.0", bootPath[1:], "new"},
		"quoted":         {`"ostree=` + bootPath + `"`, bootPath[1:], "new"},
		"absent":         {"root=LABEL=root rw", "", ""},
		"not a path":     {"ostree=new", "", ""},
		"other path":     {"ostree=/sysroot/ostree/deploy/new/deploy/x", "", ""},
		"inside a value": {`x="a ostree=` + bootPath + `"`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			link, stateroot, err := sandbox.BootLink(test.options)
			if link != test.link || stateroot != test.stateroot || (err == nil) != (test.link != "") {
				t.Errorf("want %q of %q, got %q of %q, %v", test.link, test.stateroot, link, stateroot, err)
			}
		})
	}
}
