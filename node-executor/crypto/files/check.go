package files

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Obstacle says why a file cannot be changed, or that its old content would be left, and what to do about it.
type Obstacle struct {
	site.Ref
	What string
}

// Check examines the files that the changes are about as Apply will, and returns what would be in its way or leave the old content
// somewhere: it is asked while nothing has been written and the changes can still be refused. Errors are those of reading, and
// [site.ErrForeignWrite].
//
// A further name of a file (a hard link) that is in no root keeps the old content when the file is replaced. To write to
// the file instead would change what is elsewhere, perhaps an object of a repository that other deployments share: that is
// for someone to decide.
func (t *Tree) Check(ctx context.Context, changes []site.Change) ([]Obstacle, error) {
	o, err := t.open()
	if err != nil {
		return nil, err
	}
	defer o.close()
	var all []*work
	names := map[inode]int{}
	err = o.each(ctx, changes, func(w *work) error {
		if w.done || w.Create {
			return nil
		}
		all = append(all, w)
		if !w.mounted { // a mount is not a name
			names[w.inode()]++
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot check %w", err)
	}
	var obstacles []Obstacle
	for _, w := range all {
		whats, err := w.obstacles(names[w.inode()])
		if err != nil {
			return nil, fmt.Errorf("cannot check %s: %w", w.Ref, err)
		}
		for _, what := range whats {
			obstacles = append(obstacles, Obstacle{w.Ref, what})
		}
	}
	return obstacles, nil
}

// obstacles tells what is in the way of a change; names is how many of the file's names are changed.
func (w *work) obstacles(names int) (found []string, err error) {
	links := int(w.info.Nlink)
	switch {
	case w.mounted && w.Delete:
		found = append(found, "is a mount point and cannot be removed: unmount it")
	case w.mounted:
	case links > names:
		found = append(found, fmt.Sprintf("has %d more names (hard links) that would keep the old content: remove them, or have their directory regenerated too", links-names))
	case links < names:
		found = append(found, "is at two places because of a bind mount: unmount one, or skip it")
	}
	if w.info.Attributes&(unix.STATX_ATTR_IMMUTABLE|unix.STATX_ATTR_APPEND) != 0 {
		found = append(found, "is immutable or append-only: chattr -i -a")
	}
	for _, p := range []place{w.file, w.file.dir()} {
		if readOnly, err := p.readOnly(); err != nil {
			return nil, err
		} else if readOnly {
			return append(found, "is on a read-only file system: mount it writable"), nil
		}
	}
	return found, nil
}

func (p place) readOnly() (bool, error) {
	f, err := p.root.OpenFile(p.name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &stat); err != nil {
		return false, fmt.Errorf("cannot examine file system: %w", err)
	}
	return stat.Flags&unix.ST_RDONLY != 0, nil
}
