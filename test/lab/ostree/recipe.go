package ostree

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
)

// packages decides what the cached root file system contains. Its digest names the cache directory, so that a change
// builds anew beside the old one.
type packages struct {
	// Suite is the Debian suite: trixie is the first whose ostree (2025.2) has "admin set-default".
	Suite string
	// Names are installed without recommended ones.
	Names []string
	// Exclude are dpkg path patterns that never reach the disk.
	Exclude []string
}

// recipe decides, together with the overlay, how a root file system becomes the base tree. Its digest names the cache
// directory of the commits.
type recipe struct {
	// Revision is raised when the code that applies the recipe changes its result.
	Revision int
	Packages packages
	// Remove are glob patterns, relative to the tree, of what a booted node does not need.
	Remove []string
	// Generators are the systemd generators that stay: each of the others costs a process at every boot.
	Generators []string
	// Wants are the units that stay wanted by the targets below; what a target wants besides is dropped, which
	// keeps a boot short without masking units that somebody may start by hand.
	Wants map[string][]string
	// Masked units would be started by something other than a target.
	Masked []string
}

var trixie = recipe{
	Revision: 2,
	Packages: packages{
		Suite: "trixie",
		Names: []string{
			"systemd-sysv", "dbus", "linux-image-cloud-amd64", "ostree", "ostree-boot", "e2fsprogs",
			"util-linux", "iproute2", "procps", "tar", "zstd", "ca-certificates",
		},
		Exclude: []string{
			"/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*",
			"/usr/lib/modules/*/kernel/*",
		},
	},
	Remove: []string{
		"boot/*", "initrd.img*", "vmlinuz*", "dev/*", "proc/*", "run/*", "sys/*", "tmp/*", "var/*",
		"etc/fstab", "etc/hostname", "etc/resolv.conf", "etc/cron*", "etc/kernel", "etc/dracut*",
		"usr/bin/perl*", "usr/bin/gpg*", "usr/bin/apt*", "usr/bin/dpkg*", "usr/bin/localedef",
		"usr/include", "usr/games", "usr/src", "usr/lib/apt", "usr/lib/dpkg", "usr/lib/dracut", "usr/lib/gnupg*", "usr/lib/klibc",
		"usr/lib/udev/hwdb.d", "usr/lib/udev/hwdb.bin", "usr/lib/x86_64-linux-gnu/gconv", "usr/lib/x86_64-linux-gnu/perl*",
		"usr/share/bash-completion", "usr/share/doc", "usr/share/i18n", "usr/share/info", "usr/share/initramfs-tools",
		"usr/share/lintian", "usr/share/locale", "usr/share/man", "usr/share/perl*", "usr/share/zsh",
	},
	Generators: []string{"ostree-system-generator", "systemd-fstab-generator"},
	Wants: map[string][]string{
		"sysinit.target": {
			"kmod-static-nodes.service", "systemd-journald.service", "systemd-journal-flush.service",
			"systemd-machine-id-commit.service", "systemd-tmpfiles-setup-dev-early.service",
			"systemd-tmpfiles-setup-dev.service", "systemd-tmpfiles-setup.service",
			"systemd-udevd.service", "systemd-udev-trigger.service",
		},
		"local-fs.target": {"tmp.mount", "run-lock.mount", "ostree-remount.service"},
		"sockets.target": {
			"dbus.socket", "systemd-journald.socket", "systemd-journald-dev-log.socket",
			"systemd-udevd-control.socket", "systemd-udevd-kernel.socket",
		},
		"multi-user.target": {},
		"timers.target":     {},
		"getty.target":      {},
	},
	Masked: []string{
		"console-getty.service", "systemd-firstboot.service", "systemd-logind.service", "systemd-networkd.service",
		"systemd-resolved.service", "systemd-sysctl.service", "systemd-timesyncd.service", "systemd-update-utmp.service",
	},
}

// overlay holds the files that the base tree adds to Debian's, such as unit files.
//
//go:embed all:tree
var overlay embed.FS

// digest identifies the packages.
func (p packages) digest() (string, error) {
	return digest(p, nil)
}

// digest identifies the recipe and the overlay together.
func (r recipe) digest() (string, error) {
	return digest(r, overlay)
}

// digest returns 12 hexadecimal digits for a value and the files that belong to it.
func digest(value any, files fs.FS) (string, error) {
	sum := sha256.New()
	if err := json.NewEncoder(sum).Encode(value); err != nil {
		return "", fmt.Errorf("cannot encode recipe: %w", err)
	}
	if files == nil {
		return hex.EncodeToString(sum.Sum(nil))[:12], nil
	}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		field(sum, name)
		field(sum, string(data))
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("cannot read overlay: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}
