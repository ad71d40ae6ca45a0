package etcd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/files"
)

// Names in a data directory.
const (
	MemberDir = "member" // all that is etcd's
	logDir    = "wal"
	logSuffix = ".wal"
	snapDir   = "snap"
	backend   = "db"
	// unfinished is the name of a log file that is being written. Etcd passes files of this kind by.
	unfinished = "reroot.tmp"
)

// ErrInUse says that an etcd has the data directory open.
var ErrInUse = errors.New("an etcd has the data directory open")

// Forget removes former values from what the directory keeps besides its database: free pages, write-ahead log and
// snapshots. Etcd must have been opened and closed before, and its history compacted ([Keyspace.Compact]). It may be
// repeated after a crash at any point, and at every point etcd starts from what is there. Fault is called before each step.
// Freed disk blocks are not overwritten.
func (d DataDir) Forget(_ context.Context, fault func(string) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot forget former values in etcd's directory: %w", err)
		}
	}()
	member, err := os.OpenRoot(filepath.Join(d.Dir, MemberDir))
	if err != nil {
		return err
	}
	defer member.Close()
	unlock, err := lock(member)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := fault("etcd.pages"); err != nil {
		return err
	}
	if err := clearFreePages(member); err != nil {
		return err
	}
	return forgetLog(member, fault)
}

// forgetLog does at once what etcd does when a log becomes too long, and nothing else: a new file that goes on after
// the latest snapshot, and then the older ones away, oldest first.
//
// The latest snapshot must not be older than etcd's last start, since the log behind it stays; [DataDir.Open] has etcd
// make one as soon as it has started.
func forgetLog(member *os.Root, fault func(string) error) error {
	old, err := openLog(member)
	if err != nil {
		return err
	}
	if err := fault("etcd.log.write"); err != nil {
		return err
	}
	if err := old.writeRest(path.Join(logDir, unfinished)); err != nil {
		return err
	}
	if err := fault("etcd.log.rename"); err != nil {
		return err
	}
	renewed := logName(old.sequence+1, old.snapshot.index)
	if err := member.Rename(path.Join(logDir, unfinished), path.Join(logDir, renewed)); err != nil {
		return err
	}
	if err := syncBelow(member, logDir); err != nil {
		return err
	}
	keep := map[string]bool{renewed: true, backend: true, old.snapshot.file(): true}
	if err := removeOthers(member, logDir, keep, fault); err != nil {
		return err
	}
	return removeOthers(member, snapDir, keep, fault)
}

// lock makes sure that no etcd uses the directory, as etcd itself does.
func lock(member *os.Root) (unlock func() error, err error) {
	f, err := member.Open(path.Join(snapDir, backend))
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}

// snapshot is what a log says of a snapshot.
type snapshot struct {
	term, index uint64
	data        []byte
}

func (s snapshot) file() string { return fmt.Sprintf("%016x-%016x.snap", s.term, s.index) }

// openedLog is a log of which everything but the entries is known.
type openedLog struct {
	member   *os.Root
	names    []string // of the files that were read, below member, oldest first
	sequence uint64   // of the last file
	sum      uint32
	metadata []byte
	state    []byte
	term     uint64 // of etcd's last start
	snapshot snapshot
}

// openLog reads the log of a member, as far back as to the latest snapshot. Each file begins with all that is needed of those
// before it, which may be long.
func openLog(member *os.Root) (*openedLog, error) {
	names, sequence, err := logFiles(member)
	if err != nil {
		return nil, err
	}
	for first := len(names) - 1; first >= 0; first-- {
		l := &openedLog{member: member, names: names[first:], sequence: sequence}
		if l.sum, err = readLog(member, l.names, l.note); err != nil {
			return nil, err
		}
		if l.metadata != nil && l.state != nil && l.snapshot.data != nil {
			return l, nil
		}
	}
	return nil, errors.New("it has no snapshot")
}

// logFiles returns the files of a log below member, oldest first, and the number of the last.
func logFiles(member *os.Root) (names []string, sequence uint64, err error) {
	entries, err := fs.ReadDir(member.FS(), logDir)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries { // in order of their names, which is that of the sequence
		var index uint64
		if !strings.HasSuffix(e.Name(), logSuffix) {
			continue
		}
		if _, err := fmt.Sscanf(e.Name(), "%016x-%016x"+logSuffix, &sequence, &index); err != nil || e.Name() != logName(sequence, index) {
			return nil, 0, fmt.Errorf("cannot read log %q: %w", e.Name(), errLog)
		}
		names = append(names, path.Join(logDir, e.Name()))
	}
	return names, sequence, nil
}

// note keeps what the new log begins with.
func (l *openedLog) note(r record) error {
	switch r.kind {
	case recordMetadata:
		l.metadata = slices.Clone(r.data)
	case recordState:
		term, err := r.number(1)
		if err != nil {
			return err
		}
		l.term, l.state = term, slices.Clone(r.data)
	case recordSnapshot:
		index, err := r.number(1)
		if err != nil {
			return err
		}
		term, err := r.number(2)
		if err != nil {
			return err
		}
		s := snapshot{term, index, slices.Clone(r.data)}
		// Etcd notes a snapshot here once its file is complete, and begins with the latest that has one.
		if _, err := l.member.Lstat(path.Join(snapDir, s.file())); err == nil && index >= l.snapshot.index {
			l.snapshot = s
		}
	}
	return nil
}

// writeRest writes the log behind the snapshot to a file.
func (l *openedLog) writeRest(name string) error {
	if err := l.member.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := l.member.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	err = l.copyRest(&logWriter{out: out, sum: l.sum})
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = l.dressLikeLast(f)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// copyRest writes the records, in the order in which etcd begins a file.
func (l *openedLog) copyRest(w *logWriter) error {
	for _, r := range []record{{recordSum, nil}, {recordMetadata, l.metadata}, {recordState, l.state}, {recordSnapshot, l.snapshot.data}} {
		if err := w.add(r.kind, r.data); err != nil {
			return err
		}
	}
	_, err := readLog(l.member, l.names, func(r record) error {
		if r.kind != recordEntry {
			return nil
		}
		term, err := r.number(2)
		if err != nil {
			return err
		}
		index, err := r.number(3)
		if err != nil || index <= l.snapshot.index {
			return err
		}
		if term != l.term {
			return fmt.Errorf("entry %d is older than etcd's last start, and in no snapshot", index)
		}
		return w.add(r.kind, r.data)
	})
	return err
}

// dressLikeLast gives a new file the owner, mode and labels of the one it goes on from.
func (l *openedLog) dressLikeLast(f *os.File) error {
	last, err := l.member.Open(l.names[len(l.names)-1])
	if err != nil {
		return err
	}
	defer last.Close()
	return files.CopyMetadata(last, f)
}

func logName(sequence, index uint64) string {
	return fmt.Sprintf("%016x-%016x%s", sequence, index, logSuffix)
}

// removeOthers removes all files of a directory but some, oldest first. Each removal of a log's file lasts before the next: a
// log that lacks a file in the middle is one that etcd refuses.
func removeOthers(member *os.Root, dir string, keep map[string]bool, fault func(string) error) error {
	entries, err := fs.ReadDir(member.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		if err := fault("etcd." + dir + ".remove"); err != nil {
			return err
		}
		if err := member.Remove(path.Join(dir, e.Name())); err != nil {
			return err
		}
		if dir != logDir {
			continue
		}
		if err := syncBelow(member, dir); err != nil {
			return err
		}
	}
	return syncBelow(member, dir)
}

func syncBelow(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
