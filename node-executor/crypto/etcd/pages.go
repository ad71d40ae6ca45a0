package etcd

import (
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// clearFreePages empties the pages of the backend in which nothing of the database stands any more, and makes that last.
// Etcd writes changed pages to other places and leaves the old ones as they are until it needs the room. Its own
// defragmentation would write the whole database anew; here only what is free is given back to the file system, and is
// zero from then on. The database is not changed, so it may be repeated after a crash at any point. No etcd may have it
// open.
func clearFreePages(member *os.Root) (err error) {
	f, err := member.OpenFile(path.Join(snapDir, backend), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b, err := openBolt(f)
	if err != nil {
		return err
	}
	used, err := b.used()
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for from := 0; from < len(used); from++ {
		to := from
		for to < len(used) && !used[to] {
			to++
		}
		if err := clearRange(f, int64(from)*int64(b.pageSize), int64(to)*int64(b.pageSize)); err != nil {
			return err
		}
		from = to
	}
	// Behind its end the database may have been longer once.
	if err := clearRange(f, int64(b.end*b.pageSize), info.Size()); err != nil {
		return err
	}
	return f.Sync()
}

// clearRange makes a part of a file zero, without writing where the file system can.
func clearRange(f *os.File, from, to int64) error {
	if from >= to {
		return nil
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	if !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	zeros := make([]byte, min(to-from, 1<<20))
	for ; from < to; from += int64(len(zeros)) {
		zeros = zeros[:min(to-from, int64(len(zeros)))]
		if _, err := f.WriteAt(zeros, from); err != nil {
			return err
		}
	}
	return nil
}
