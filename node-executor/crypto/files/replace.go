package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Staged files carry the new content beside the file they replace. Their name is fixed, so that what a crash left is
// found and replaced by the next attempt.
const (
	stagedPrefix = ".reroot-crypto."
	stagedSuffix = ".staged"
)

func isStaged(name string) bool {
	return strings.HasPrefix(name, stagedPrefix) && strings.HasSuffix(name, stagedSuffix)
}

// Apply brings files to the state that the changes want. It may be called again after a crash at any
// point: what is done already is passed over. Fault is called before each step that writes.
func (t *Tree) Apply(ctx context.Context, changes []site.Change, fault func(string) error) error {
	for _, c := range changes {
		if c.Store != site.File {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.apply(c, fault); err != nil {
			return fmt.Errorf("cannot change %s: %w", c.Ref, err)
		}
	}
	return nil
}

func (t *Tree) apply(c site.Change, fault func(string) error) error {
	r, name, err := t.locate(c.Name)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(r.Host)
	if err != nil {
		return err
	}
	defer root.Close()
	now, err := read(root, name)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	hash := site.HashOf(now.Content)
	switch {
	case c.Delete && missing, !c.Delete && !missing && hash == site.HashOf(c.After):
		// Done before, perhaps just before power was lost: make sure that it lasts.
		return syncDir(root, path.Dir(name))
	case missing != c.Create, !missing && hash != c.Before:
		return site.ErrForeignWrite
	case c.Delete:
		if err := fault("file.remove"); err != nil {
			return err
		}
		if err := root.Remove(name); err != nil {
			return err
		}
		return syncDir(root, path.Dir(name))
	}
	like := name
	if c.Create {
		if _, like, err = t.locate(c.Like); err != nil {
			return err
		}
	}
	return replace(root, name, like, c.After, fault)
}

// replace writes the content beside name with everything that like has, and renames it into place.
func replace(root *os.Root, name, like string, content []byte, fault func(string) error) error {
	staged := path.Join(path.Dir(name), stagedPrefix+path.Base(name)+stagedSuffix)
	if err := root.Remove(staged); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fault("file.stage"); err != nil {
		return err
	}
	if err := stage(root, staged, like, content); err != nil {
		return errors.Join(err, root.Remove(staged))
	}
	if err := fault("file.rename"); err != nil {
		return err
	}
	if err := root.Rename(staged, name); err != nil {
		return errors.Join(err, root.Remove(staged))
	}
	if err := fault("file.sync"); err != nil {
		return err
	}
	return syncDir(root, path.Dir(name))
}

func stage(root *os.Root, staged, like string, content []byte) error {
	model, err := root.OpenFile(like, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer model.Close()
	f, err := root.OpenFile(staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = copyMetadata(model, f)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// copyMetadata gives a file the other's owner, extended attributes (ACL and label among them) and,
// last because a change of owner clears bits of it, mode.
func copyMetadata(from, to *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := to.Chown(int(stat.Uid), int(stat.Gid)); err != nil {
			return err
		}
	}
	if err := copyAttributes(int(from.Fd()), int(to.Fd())); err != nil {
		return fmt.Errorf("cannot copy extended attributes: %w", err)
	}
	return to.Chmod(info.Mode())
}

func copyAttributes(from, to int) error {
	names, err := readSized(func(b []byte) (int, error) { return unix.Flistxattr(from, b) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := readSized(func(b []byte) (int, error) { return unix.Fgetxattr(from, name, b) })
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := unix.Fsetxattr(to, name, value, 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// readSized calls get for the size and again for the value.
func readSized(get func([]byte) (int, error)) ([]byte, error) {
	size, err := get(nil)
	if err != nil || size == 0 {
		return nil, err
	}
	value := make([]byte, size)
	n, err := get(value)
	if err != nil {
		return nil, err
	}
	return value[:n], nil
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// Read returns a file's content; the error is fs.ErrNotExist when there is none.
func (t *Tree) Read(node string) ([]byte, error) {
	r, name, err := t.locate(node)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(r.Host)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}
