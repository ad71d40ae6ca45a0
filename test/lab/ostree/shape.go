package ostree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// unitDir is where the distribution's units are, relative to the tree.
const unitDir = "usr/lib/systemd/system"

// moved are the directories that Debian keeps in the root and that ostree wants in /var, as symbolic links.
var moved = map[string]string{
	"home": "var/home", "mnt": "var/mnt", "opt": "var/opt", "srv": "var/srv", "root": "var/roothome",
	"usr/local": "../var/usrlocal", "ostree": "sysroot/ostree",
}

// shape turns a plain root file system into an OS tree as ostree deploys it
// (https://ostreedev.github.io/ostree/adapting-existing/): kernel and initramfs below usr/lib/modules, configuration
// in usr/etc, nothing in var, and of systemd's units only what the recipe keeps.
func shape(tree string, r recipe) error {
	kernel, err := moveKernel(tree)
	if err != nil {
		return err
	}
	image := initramfs("NAME=lab\nKERNEL=" + kernel + "\n")
	if err := os.WriteFile(filepath.Join(tree, "usr/lib/modules", kernel, "initramfs.img"), image, 0o644); err != nil {
		return err
	}
	if err := pruneUnits(tree, r); err != nil {
		return err
	}
	for _, pattern := range r.Remove {
		if err := removeGlob(tree, pattern); err != nil {
			return err
		}
	}
	// An empty machine-id makes each deployment's first boot write its own.
	if err := os.WriteFile(filepath.Join(tree, "etc/machine-id"), nil, 0o444); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(tree, "etc"), filepath.Join(tree, "usr/etc")); err != nil {
		return err
	}
	for name, target := range moved {
		if err := replaceWithLink(filepath.Join(tree, name), target); err != nil {
			return err
		}
	}
	for _, dir := range []string{"sysroot", "usr/libexec/lab"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	return copyOverlay(tree)
}

// kernelVersion returns the name of the one directory below usr/lib/modules.
func kernelVersion(tree string) (string, error) {
	names, err := filepath.Glob(filepath.Join(tree, "usr/lib/modules/*"))
	if err != nil || len(names) != 1 {
		return "", fmt.Errorf("cannot choose kernel: %d directories in usr/lib/modules", len(names))
	}
	return filepath.Base(names[0]), nil
}

// moveKernel puts the kernel where ostree looks for it and drops the module indexes, which name no module.
func moveKernel(tree string) (string, error) {
	version, err := kernelVersion(tree)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(tree, "usr/lib/modules", version)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return version, os.Rename(filepath.Join(tree, "boot/vmlinuz-"+version), filepath.Join(dir, "vmlinuz"))
}

// pruneUnits leaves the recipe's generators and wants, and masks what would start otherwise.
func pruneUnits(tree string, r recipe) error {
	if err := keepOnly(filepath.Join(tree, "usr/lib/systemd/system-generators"), r.Generators); err != nil {
		return err
	}
	for target, units := range r.Wants {
		for _, dir := range []string{unitDir, "etc/systemd/system"} {
			if err := keepOnly(filepath.Join(tree, dir, target+".wants"), units); err != nil {
				return err
			}
		}
	}
	local := filepath.Join(tree, "etc/systemd/system")
	for _, unit := range r.Masked {
		if err := replaceWithLink(filepath.Join(local, unit), "/dev/null"); err != nil {
			return err
		}
	}
	if err := replaceWithLink(filepath.Join(local, "default.target"), path.Join("/", unitDir, "multi-user.target")); err != nil {
		return err
	}
	return replaceWithLink(filepath.Join(local, "multi-user.target.wants/kubelet.service"), path.Join("/", unitDir, "kubelet.service"))
}

// keepOnly removes the entries of dir whose names are not in keep. A missing directory has nothing to remove.
func keepOnly(dir string, keep []string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if slices.Contains(keep, entry.Name()) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}

func removeGlob(tree, pattern string) error {
	names, err := filepath.Glob(filepath.Join(tree, pattern))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

func replaceWithLink(name, target string) error {
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.Symlink(target, name)
}

// copyOverlay writes the embedded files over the tree.
func copyOverlay(tree string) error {
	return fs.WalkDir(overlay, "tree", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("tree", name)
		if err != nil {
			return err
		}
		target := filepath.Join(tree, rel)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		data, err := overlay.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(target, data, 0o644)
	})
}
