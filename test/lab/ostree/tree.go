package ostree

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Tree is an operating system tree: the base tree with differences.
type Tree struct {
	// Version is os-release's VERSION_ID and the commit's "version" metadata, for instance 4.17.0.
	Version string
	// Kernel, when set, makes the kernel file differ from the base tree's, as another kernel build would: it is
	// appended to the image, behind the end that a boot loader reads.
	Kernel string
	// Files are added below usr/ with mode 0644, by their path relative to the root: usr/lib/lab/note.
	// Configuration goes to usr/etc.
	Files map[string][]byte
	// Overlay, when set, is a directory whose usr/ is laid over the tree, with modes and symbolic links.
	Overlay string
}

// versionLine is os-release's VERSION_ID.
var versionLine = regexp.MustCompile(`(?m)^VERSION_ID=.*$`)

// commit returns the tree's commit in the cache, and makes it when it is not there: only the differences are read
// and hashed.
func (c cache) commit(ctx context.Context, ostree tool, tree Tree) (string, error) {
	if err := tree.validate(); err != nil {
		return "", err
	}
	key, err := tree.key()
	if err != nil {
		return "", err
	}
	ref := "lab/" + key
	if commit, err := ostree.run(ctx, "rev-parse", "--repo="+c.repo, ref); err == nil {
		return commit, nil
	}
	layer, err := os.MkdirTemp("", "reroot-tree-")
	if err != nil {
		return "", fmt.Errorf("cannot create tree layer: %w", err)
	}
	defer os.RemoveAll(layer)
	// The last layer's directory gives the root its mode; services that are not root must get through it.
	if err := os.Chmod(layer, 0o755); err != nil {
		return "", fmt.Errorf("cannot open tree layer to others: %w", err)
	}
	if err := tree.write(c.rootfs, layer); err != nil {
		return "", fmt.Errorf("cannot write tree layer: %w", err)
	}
	args := []string{"commit", "--repo=" + c.repo, "--branch=" + ref,
		"--add-metadata-string=version=" + tree.Version, "--subject=lab " + tree.Version, "--disable-fsync", "--tree=ref=" + baseRef}
	if tree.Overlay != "" {
		args = append(args, "--tree=dir="+tree.Overlay)
	}
	return ostree.run(ctx, append(args, "--tree=dir="+layer)...)
}

// validate refuses what would land outside usr/, where a deployment cannot have it.
func (t Tree) validate() error {
	if t.Version == "" || strings.ContainsAny(t.Version, "\n\"\\$`") {
		return fmt.Errorf("cannot make tree: bad version %q", t.Version)
	}
	for name := range t.Files {
		if !fs.ValidPath(name) || !strings.HasPrefix(name, "usr/") {
			return fmt.Errorf("cannot make tree: file %q is not below usr/", name)
		}
	}
	if t.Overlay == "" {
		return nil
	}
	entries, err := os.ReadDir(t.Overlay)
	if err != nil {
		return fmt.Errorf("cannot read tree overlay: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() != "usr" {
			return fmt.Errorf("cannot make tree: overlay has %q beside usr", entry.Name())
		}
	}
	return nil
}

// key identifies the tree's content.
func (t Tree) key() (string, error) {
	sum := sha256.New()
	field(sum, t.Version)
	field(sum, t.Kernel)
	names := make([]string, 0, len(t.Files))
	for name := range t.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		field(sum, name)
		field(sum, string(t.Files[name]))
	}
	if t.Overlay != "" {
		if err := hashDir(sum, t.Overlay); err != nil {
			return "", fmt.Errorf("cannot read tree overlay: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:16], nil
}

// field writes a value with its length, so that no two lists of values look alike.
func field(sum hash.Hash, value string) {
	fmt.Fprintf(sum, "%d:%s", len(value), value)
}

// hashDir adds names, modes, link targets and contents below dir.
func hashDir(sum hash.Hash, dir string) error {
	return filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		field(sum, strings.TrimPrefix(name, dir))
		field(sum, info.Mode().String())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				return err
			}
			field(sum, target)
		case info.Mode().IsRegular():
			file, err := os.Open(name)
			if err != nil {
				return err
			}
			defer file.Close()
			field(sum, fmt.Sprint(info.Size()))
			if _, err := io.Copy(sum, file); err != nil {
				return err
			}
		}
		return nil
	})
}

// write puts the tree's own files into layer.
func (t Tree) write(rootfs, layer string) error {
	release, err := os.ReadFile(filepath.Join(rootfs, "usr/lib/os-release"))
	if err != nil {
		return err
	}
	release = versionLine.ReplaceAllLiteral(release, []byte(`VERSION_ID="`+t.Version+`"`))
	if err := writeFile(layer, "usr/lib/os-release", release); err != nil {
		return err
	}
	if t.Kernel != "" {
		if err := t.writeKernel(rootfs, layer); err != nil {
			return err
		}
	}
	for name, data := range t.Files {
		if err := writeFile(layer, name, data); err != nil {
			return err
		}
	}
	return nil
}

func (t Tree) writeKernel(rootfs, layer string) error {
	version, err := kernelVersion(rootfs)
	if err != nil {
		return err
	}
	image, err := os.ReadFile(filepath.Join(rootfs, "boot/vmlinuz-"+version))
	if err != nil {
		return err
	}
	return writeFile(layer, path.Join("usr/lib/modules", version, "vmlinuz"), append(image, t.Kernel...))
}

func writeFile(layer, name string, data []byte) error {
	target := filepath.Join(layer, name)
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, data, 0o644)
}
