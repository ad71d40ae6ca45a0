package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sync/errgroup"
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

// syncers is how many files are flushed at once: a journalling file system commits them together.
const syncers = 16

// Apply brings files to the state that the changes want. It may be called again after a crash at any point: what is
// done already is passed over. Nothing is replaced before every file is known to be as expected and all
// new contents are on disk. Fault is called before each step that writes, never concurrently.
func (t *Tree) Apply(ctx context.Context, changes []site.Change, fault func(string) error) error {
	var todo []work
	dirs := map[string]bool{} // on this host
	for _, c := range changes {
		if c.Store != site.File {
			continue
		}
		w, done, err := t.examine(c)
		if err != nil {
			return fmt.Errorf("cannot change %s: %w", c.Ref, err)
		}
		// Also of what was done before, perhaps just before power was lost: it must last.
		dirs[filepath.Dir(w.path())] = true
		if !done {
			todo = append(todo, w)
		}
	}
	if err := stageAll(ctx, todo, fault); err != nil {
		return err
	}
	for _, w := range todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.carryOut(fault); err != nil {
			return fmt.Errorf("cannot change %s: %w", w.Ref, err)
		}
	}
	if err := fault("file.sync"); err != nil {
		return err
	}
	return syncDirs(dirs)
}

// Confirm reads the files that the changes are about and fails where one is not as it was to become.
func (t *Tree) Confirm(ctx context.Context, changes []site.Change) error {
	for _, c := range changes {
		if c.Store != site.File {
			continue
		}
		_, done, err := t.examine(c)
		if err == nil && !done {
			err = site.ErrForeignWrite
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("cannot confirm %s: %w", c.Ref, err)
		}
	}
	return nil
}

// work is a change with the place of its file on this host.
type work struct {
	site.Change
	root Root
	name string // below the root
	like string // likewise; whose metadata a new file gets
}

func (w work) path() string { return filepath.Join(w.root.Host, w.name) }

func (w work) staged() string {
	return path.Join(path.Dir(w.name), stagedPrefix+path.Base(w.name)+stagedSuffix)
}

// examine finds out whether a change is still to be made.
func (t *Tree) examine(c site.Change) (w work, done bool, err error) {
	w.Change = c
	if w.root, w.name, err = t.locate(c.Name); err != nil {
		return w, false, err
	}
	w.like = w.name
	if c.Create {
		if _, w.like, err = t.locate(c.Like); err != nil {
			return w, false, err
		}
	}
	root, err := os.OpenRoot(w.root.Host)
	if err != nil {
		return w, false, err
	}
	defer root.Close()
	now, err := read(root, w.name)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return w, false, err
	}
	hash := site.HashOf(now.Content)
	switch {
	case c.Delete && missing, !c.Delete && !missing && hash == site.HashOf(c.After):
		return w, true, nil
	case missing != c.Create, !missing && hash != c.Before:
		return w, false, site.ErrForeignWrite
	}
	return w, false, nil
}

// stageAll writes the new contents beside the files they replace.
func stageAll(ctx context.Context, todo []work, fault func(string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(syncers)
	for _, w := range todo {
		if w.Delete {
			continue
		}
		if err := errors.Join(ctx.Err(), fault("file.stage")); err != nil {
			return errors.Join(err, group.Wait())
		}
		group.Go(func() error {
			if err := w.stage(); err != nil {
				return fmt.Errorf("cannot write new content of %s: %w", w.Ref, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (w work) stage() error {
	root, err := os.OpenRoot(w.root.Host)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Remove(w.staged()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return stage(root, w.staged(), w.like, w.After)
}

// carryOut puts the staged file into place, or removes the old one.
func (w work) carryOut(fault func(string) error) error {
	root, err := os.OpenRoot(w.root.Host)
	if err != nil {
		return err
	}
	defer root.Close()
	if w.Delete {
		if err := fault("file.remove"); err != nil {
			return err
		}
		return root.Remove(w.name)
	}
	if err := fault("file.rename"); err != nil {
		return err
	}
	return root.Rename(w.staged(), w.name)
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
		err = CopyMetadata(model, f)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// CopyMetadata gives a file the other's owner, extended attributes (ACL and label among them) and,
// last because a change of owner clears bits of it, mode.
func CopyMetadata(from, to *os.File) error {
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

// syncDirs makes the names in directories last.
func syncDirs(dirs map[string]bool) error {
	var group errgroup.Group
	group.SetLimit(syncers)
	for dir := range dirs {
		group.Go(func() error {
			d, err := os.Open(dir)
			if err != nil {
				return err
			}
			return errors.Join(d.Sync(), d.Close())
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("cannot make changes last: %w", err)
	}
	return nil
}
