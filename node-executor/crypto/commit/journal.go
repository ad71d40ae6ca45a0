// Package commit carries a finished plan out so that a crash at any point leaves one generation of
// keys, never a mixture.
//
// The journal is one file. Before it is there nothing has been changed; once it is there everything is
// known, new keys included, and the only way is forward: each change is made if the site still is as it was, passed
// over if it is as it is to become, and refused otherwise. A last file says that it is done and what was done.
package commit

import (
	"bufio"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// ErrLocked says that another process is at work in the same directory.
var ErrLocked = errors.New("another regeneration is running")

// Files of the journal's directory.
const (
	lockFile     = "lock"
	preparedFile = "prepared" // gob: header, and then each change; holds the new private keys
	doneFile     = "done.json"
	newSuffix    = ".new"
)

const (
	format       = 2
	maxSummary   = 64 << 20 // bytes
	maxChanges   = 10_000_000
	preparePoint = "journal.prepare"
	finishPoint  = "journal.finish"
)

// Record is what a prepared journal holds.
type Record struct {
	Changes []site.Change
	Summary json.RawMessage
	// Old are pieces of the old private keys, to be searched for when all is done.
	Old [][]byte
}

// header precedes the changes, which are written one by one: all together they may be large.
type header struct {
	Format  int
	Changes int
	Summary []byte
	Old     [][]byte
}

// Journal is a locked directory for one regeneration. The directory and its files are readable
// by root only.
type Journal struct {
	root *os.Root
	lock *os.File
}

// Open makes the directory where it is missing and locks it.
func Open(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make journal directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open journal directory: %w", err)
	}
	lock, err := root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open lock: %w", err), root.Close())
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", dir, err), lock.Close(), root.Close())
	}
	j := &Journal{root: root, lock: lock}
	if err := j.removeFile(preparedFile + newSuffix); err != nil { // written before a crash, and never to count
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// Close releases the lock.
func (j *Journal) Close() error { return errors.Join(j.lock.Close(), j.root.Close()) }

// Done returns the summary of a regeneration that was finished here; nil when none was.
func (j *Journal) Done() (json.RawMessage, error) {
	summary, err := j.read(doneFile)
	if summary == nil || err != nil {
		return nil, err
	}
	// A crash may have come between the two files. The journal is full of private keys.
	return summary, j.remove(preparedFile)
}

// Prepared returns what an interrupted regeneration was going to do; nil when nothing was begun.
func (j *Journal) Prepared() (*Record, error) {
	f, err := j.root.Open(preparedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read journal: %w", err)
	}
	defer f.Close()
	in := gob.NewDecoder(bufio.NewReaderSize(f, 1<<20))
	var h header
	// The decoder's errors are left out: they may quote the journal.
	if in.Decode(&h) != nil || h.Format != format || h.Changes < 0 || h.Changes > maxChanges {
		return nil, errDamaged
	}
	r := &Record{Summary: h.Summary, Old: h.Old}
	for range h.Changes {
		var c site.Change
		if in.Decode(&c) != nil {
			return nil, errDamaged
		}
		r.Changes = append(r.Changes, c)
	}
	return r, nil
}

var errDamaged = errors.New("cannot read journal: damaged or of another version")

// Write puts a record on disk. It counts for nothing until Prepare, and may be discarded: so that it can be
// written while what is in it is still being checked.
func (j *Journal) Write(r *Record, fault func(string) error) error {
	return j.write(preparedFile, preparePoint, fault, func(w io.Writer) error {
		out := gob.NewEncoder(w)
		err := out.Encode(header{format, len(r.Changes), r.Summary, r.Old})
		for i := 0; i < len(r.Changes) && err == nil; i++ {
			c := r.Changes[i]
			c.Version = 0 // means nothing any more when this is read
			err = out.Encode(c)
		}
		return err
	})
}

// Discard removes what Write wrote.
func (j *Journal) Discard() error { return j.remove(preparedFile) }

// Prepare makes the written changes inevitable: after it, they are carried out now or after a restart.
func (j *Journal) Prepare(fault func(string) error) error {
	return j.publish(preparedFile, preparePoint, fault)
}

// Finish records the summary and removes the journal with the private keys.
func (j *Journal) Finish(summary json.RawMessage, fault func(string) error) error {
	err := j.write(doneFile, finishPoint, fault, func(w io.Writer) error {
		_, err := w.Write(summary)
		return err
	})
	if err != nil {
		return err
	}
	if err := j.publish(doneFile, finishPoint, fault); err != nil {
		return err
	}
	if err := fault("journal.wipe"); err != nil {
		return err
	}
	return j.remove(preparedFile)
}

func (j *Journal) read(name string) ([]byte, error) {
	f, err := j.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read journal: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSummary))
	if err != nil {
		return nil, fmt.Errorf("cannot read journal: %w", err)
	}
	return text, nil
}

// write writes a file under a name that nobody reads.
func (j *Journal) write(name, point string, fault func(string) error, content func(io.Writer) error) error {
	if err := fault(point + ".write"); err != nil {
		return err
	}
	f, err := j.root.OpenFile(name+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write journal: %w", err)
	}
	out := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(content(out), out.Flush(), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write journal: %w", err)
	}
	return nil
}

// publish gives a written file its name.
func (j *Journal) publish(name, point string, fault func(string) error) error {
	if err := fault(point + ".rename"); err != nil {
		return err
	}
	if err := j.root.Rename(name+newSuffix, name); err != nil {
		return fmt.Errorf("cannot write journal: %w", err)
	}
	return j.sync()
}

func (j *Journal) remove(name string) error {
	if err := errors.Join(j.removeFile(name), j.removeFile(name+newSuffix)); err != nil {
		return err
	}
	return j.sync()
}

func (j *Journal) removeFile(name string) error {
	if err := j.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot remove journal: %w", err)
	}
	return nil
}

func (j *Journal) sync() error {
	d, err := j.root.Open(".")
	if err != nil {
		return fmt.Errorf("cannot sync journal directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("cannot sync journal directory: %w", err)
	}
	return nil
}
