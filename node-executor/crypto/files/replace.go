package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Staged files carry the new content beside the file they replace. Their name is fixed, so that what a crash left is
// found by the next attempt.
const (
	stagedPrefix = ".reroot-crypto."
	stagedSuffix = ".staged"
)

func isStaged(name string) bool {
	return strings.HasPrefix(name, stagedPrefix) && strings.HasSuffix(name, stagedSuffix)
}

// Apply brings files to the state that the changes want. It may be called again after a crash at any point: what is
// done already is passed over. Nothing is replaced before every file is known to be as expected and all
// new contents are on disk. Fault is called before each step that writes, never concurrently.
func (t *Tree) Apply(ctx context.Context, changes []site.Change, fault func(string) error) error {
	staged, err := t.Stage(ctx, changes, fault)
	if err != nil {
		return err
	}
	return staged.Apply(ctx, fault)
}

// Staged are files whose new contents are written beside them, and perhaps not on disk yet.
type Staged struct {
	opened
	first, last []*work
	systems     fileSystems
}

// Stage does the part of Apply that replaces nothing. What it returns must be applied.
func (t *Tree) Stage(ctx context.Context, changes []site.Change, fault func(string) error) (_ *Staged, err error) {
	o, err := t.open()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	s := &Staged{opened: o, systems: fileSystems{}}
	defer func() {
		if err != nil {
			s.systems.close()
		}
	}()
	var todo []*work
	dirs := map[place]bool{}
	err = o.each(ctx, changes, func(w *work) error {
		// Also of what was done before, perhaps just before power was lost: it must last.
		if dir := w.file.dir(); !dirs[dir] {
			dirs[dir] = true
			if err := s.systems.add(dir); err != nil {
				return err
			}
		}
		switch {
		case w.done:
			return nil
		case w.Delete || w.mounted:
			s.last = append(s.last, w)
		default:
			s.first = append(s.first, w)
		}
		todo = append(todo, w)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot change %w", err)
	}
	keepLinks(s.first)
	if err := stageAll(ctx, todo, fault); err != nil {
		return nil, err
	}
	return s, nil
}

// Apply puts the new contents into place.
func (s *Staged) Apply(ctx context.Context, fault func(string) error) error {
	defer s.Close()
	if err := s.systems.sync(fault); err != nil {
		return err
	}
	// A name that is removed had its content moved, and what is overwritten may stand elsewhere under a name that is replaced:
	// these have to last before.
	for _, phase := range [][]*work{s.first, s.last} {
		if len(phase) == 0 {
			continue
		}
		for _, w := range phase {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.carryOut(fault); err != nil {
				return fmt.Errorf("cannot change %s: %w", w.Ref, err)
			}
		}
		if err := s.systems.sync(fault); err != nil {
			return err
		}
	}
	return nil
}

// Close gives up what was not applied; the staged files stay for the next attempt.
func (s *Staged) Close() {
	s.systems.close()
	s.close()
}

// Confirm reads the files that the changes are about and fails where one is not as it was to become.
func (t *Tree) Confirm(ctx context.Context, changes []site.Change) error {
	o, err := t.open()
	if err != nil {
		return err
	}
	defer o.close()
	err = o.each(ctx, changes, func(w *work) error {
		if !w.done {
			return site.ErrForeignWrite
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot confirm %w", err)
	}
	return nil
}

// work is a change with its file as it is found.
type work struct {
	site.Change
	file place
	like place // whose metadata the new file gets

	info    unix.Statx_t // zero when the file is missing
	done    bool
	mounted bool  // it is itself a mount point, and cannot be replaced or removed
	half    bool  // an attempt to overwrite it was interrupted
	leader  *work // the file that this one is a further name of
}

// inode tells files of the node apart.
type inode struct {
	major, minor uint32
	number       uint64
}

func (w *work) inode() inode { return inode{w.info.Dev_major, w.info.Dev_minor, w.info.Ino} }

// each examines the files that the changes are about. Errors begin with the file.
func (o opened) each(ctx context.Context, changes []site.Change, visit func(*work) error) error {
	for _, c := range changes {
		if c.Store != site.File {
			continue
		}
		w, err := o.examine(c)
		if err == nil {
			err = visit(w)
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return fmt.Errorf("%s: %w", c.Ref, err)
		}
	}
	return nil
}

// examine finds out whether a change is still to be made.
func (o opened) examine(c site.Change) (w *work, err error) {
	w = &work{Change: c}
	if w.file, err = o.locate(c.Name); err != nil {
		return nil, err
	}
	w.like = w.file
	if c.Create {
		if w.like, err = o.locate(c.Like); err != nil {
			return nil, err
		}
	}
	f, size, err := w.file.open()
	if errors.Is(err, fs.ErrNotExist) {
		if w.done = c.Delete; !w.done && !c.Create {
			return nil, site.ErrForeignWrite
		}
		return w, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &w.info); err != nil {
		return nil, fmt.Errorf("cannot examine file: %w", err)
	}
	w.mounted = w.info.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	content, err := readAll(f, size)
	if err != nil {
		return nil, err
	}
	switch renewed := !c.Delete && bytes.Equal(content, c.After); {
	case w.mounted && !c.Delete && (renewed || site.HashOf(content) != c.Before):
		// The staged file is there until what overwrites the old one is durable.
		if w.half, err = w.stagedContent(); err != nil {
			return nil, err
		}
		w.done = renewed && !w.half
		if !renewed && !w.half {
			return nil, site.ErrForeignWrite
		}
	case renewed:
		w.done = true
	case c.Create || site.HashOf(content) != c.Before:
		return nil, site.ErrForeignWrite
	}
	return w, nil
}

// keepLinks finds the works whose files are one file under several names of a root, and have the same new content. They
// stay one file: to who reads one it must not matter which of them was written to. Across roots they become
// files of their own, since there may be a mount in between.
func keepLinks(all []*work) {
	type key struct {
		root *os.Root
		inode
	}
	leaders := map[key]*work{}
	for _, w := range all {
		if w.Create || w.info.Nlink < 2 {
			continue
		}
		id := key{w.file.root, w.inode()}
		switch leader := leaders[id]; {
		case leader == nil:
			leaders[id] = w
		case bytes.Equal(leader.After, w.After):
			w.leader = leader
		}
	}
}

// stageAll writes the new contents beside the files they replace.
func stageAll(ctx context.Context, todo []*work, fault func(string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, w := range todo {
		if w.Delete || w.half || w.leader != nil {
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
	if err := group.Wait(); err != nil {
		return err
	}
	for _, w := range todo {
		if w.leader == nil {
			continue
		}
		if err := fault("file.link"); err != nil {
			return err
		}
		if err := w.link(); err != nil {
			return fmt.Errorf("cannot link new content of %s: %w", w.Ref, err)
		}
	}
	return nil
}

// stage makes the staged file. A complete one of an earlier attempt stays: it may be a further name of a file that is in
// place already.
func (w *work) stage() error {
	model, _, err := w.like.open()
	if err != nil {
		return err
	}
	defer model.Close()
	if old, _, err := w.file.staged().open(); err == nil {
		complete, err := w.stagedContent()
		complete = complete && sameMetadata(model, old) == nil
		if err := errors.Join(err, old.Close()); complete || err != nil {
			return err
		}
	}
	if err := w.file.staged().remove(); err != nil {
		return err
	}
	f, err := w.file.root.OpenFile(w.file.staged().name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(w.After)
	if err == nil {
		err = CopyMetadata(model, f)
	}
	if err == nil {
		err = sameMetadata(model, f)
	}
	return errors.Join(err, f.Close())
}

// stagedContent tells whether there is a staged file with all of the new content.
func (w *work) stagedContent() (bool, error) {
	f, size, err := w.file.staged().open()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	content, err := readAll(f, size)
	return bytes.Equal(content, w.After), err
}

// link makes the staged file a further name of the leader's.
func (w *work) link() error {
	root := w.file.root
	want, err := root.Lstat(w.leader.file.staged().name)
	if err != nil {
		return err
	}
	if got, err := root.Lstat(w.file.staged().name); err == nil && os.SameFile(want, got) {
		return nil
	}
	if err := w.file.staged().remove(); err != nil {
		return err
	}
	return root.Link(w.leader.file.staged().name, w.file.staged().name)
}

// carryOut puts the new content into place, or removes the old.
func (w *work) carryOut(fault func(string) error) error {
	root := w.file.root
	switch {
	case w.mounted:
		return w.overwrite(fault)
	case w.Delete:
		if err := fault("file.remove"); err != nil {
			return err
		}
		return root.Remove(w.file.name)
	}
	if err := fault("file.rename"); err != nil {
		return err
	}
	return root.Rename(w.file.staged().name, w.file.name)
}

// overwrite writes the new content into a file that nothing can be renamed over because something is mounted on it. The staged file
// is complete and lasts, and is removed when all that was written lasts too: whoever finds the file half-written and the staged
// one beside it goes on. That someone else wrote to it meanwhile is then not noticed.
func (w *work) overwrite(fault func(string) error) error {
	const page = 4 << 10
	model, _, err := w.file.staged().open()
	if err != nil {
		return err
	}
	defer model.Close()
	f, err := w.file.root.OpenFile(w.file.name, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for part := range slices.Chunk(w.After, page) {
		if err := fault("file.overwrite"); err != nil {
			return err
		}
		if _, err := f.Write(part); err != nil {
			return err
		}
	}
	if err := fault("file.restore"); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(w.After))); err != nil {
		return err
	}
	// To write to a file takes away capabilities.
	if err := errors.Join(CopyMetadata(model, f), sameMetadata(model, f), f.Sync()); err != nil {
		return err
	}
	if err := fault("file.unstage"); err != nil {
		return err
	}
	return w.file.staged().remove()
}
