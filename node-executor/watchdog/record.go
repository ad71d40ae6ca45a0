package watchdog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/events"
)

// Phase is how an unconfirmed root stands.
type Phase string

// Phases.
const (
	Armed     Phase = "armed"     // the new root has to be confirmed
	Confirmed Phase = "confirmed" // the new root stays
	GivenUp   Phase = "given-up"  // the old root is to be booted
)

// Record is the watchdog's memory.
type Record struct {
	Phase  Phase             `json:"phase"`
	Old    events.Deployment `json:"old"`    // the way back
	New    events.Deployment `json:"new"`    // what is being watched
	Budget time.Duration     `json:"budget"` // powered-on time until it must be confirmed

	Boots   int           `json:"boots"`            // boots of the new root so far
	BootID  string        `json:"bootID,omitempty"` // of the last of them
	Earlier time.Duration `json:"earlier"`          // powered-on time used in the boots before it
	Since   time.Duration `json:"since"`            // CLOCK_BOOTTIME when the watchdog first saw the last one
	Seen    time.Duration `json:"seen"`             // CLOCK_BOOTTIME when it last looked
	Why     string        `json:"why,omitempty"`    // why it gave up, one line

	Generation uint64 `json:"generation"` // counts writes
}

// Used is the powered-on time that the new root has had.
func (r Record) Used() time.Duration { return r.Earlier + max(0, r.Seen-r.Since) }

var (
	// ErrUnarmed: there is nothing to watch.
	ErrUnarmed = errors.New("the watchdog is not armed")
	// ErrGivenUp: the watchdog was first; the old root is to be booted.
	ErrGivenUp = errors.New("the watchdog has given the new root up")
	// ErrDamaged: neither copy of the record can be read.
	ErrDamaged = errors.New("both copies of the watchdog's record are damaged")
)

// copySize is the size of each copy: it never grows, so that rewriting it needs no room on the disk.
const copySize = 4096

var (
	copyNames  = []string{"watchdog.a", "watchdog.b"}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Dir is the directory that the record is in: the state directory, the same in both roots.
type Dir string

// lock excludes every other reader and writer of the record, in this process and in others, until unlock is called.
func (d Dir) lock() (unlock func(), err error) {
	name := filepath.Join(string(d), "watchdog.lock")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, unix.EROFS) { // good enough to read under
		f, err = os.Open(name)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the watchdog's record: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock the watchdog's record: %w", err)
	}
	return func() { f.Close() }, nil
}

// read returns the newer of the good copies. It is called under the lock.
func (d Dir) read() (Record, error) {
	var newest Record
	var bad []error
	missing := 0
	for _, name := range copyNames {
		r, err := readCopy(filepath.Join(string(d), name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			missing++
		case err != nil:
			bad = append(bad, fmt.Errorf("%s: %w", name, err))
		case r.Generation > newest.Generation:
			newest = r
		}
	}
	switch {
	case newest.Generation > 0:
		return newest, nil
	case missing == len(copyNames):
		return Record{}, ErrUnarmed
	}
	return Record{}, fmt.Errorf("%w: %w", ErrDamaged, errors.Join(bad...))
}

func readCopy(path string) (Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return Record{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, copySize))
	if err != nil {
		return Record{}, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	sum, text, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%08x", crc32.Checksum(text, castagnoli)) {
		return Record{}, errors.New("the checksum does not match")
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return Record{}, err
	}
	if r.Generation == 0 {
		return Record{}, errors.New("it has no generation")
	}
	return r, nil
}

// write stores the record in one copy after the other, so that at every moment one of them is whole. It is called under
// the lock and returns when both are on the disk.
func (d Dir) write(r Record) error {
	r.Generation++
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot encode the watchdog's record: %w", err)
	}
	b := fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(text, castagnoli), text)
	if len(b) > copySize {
		return fmt.Errorf("cannot write the watchdog's record: %d bytes, room for %d", len(b), copySize)
	}
	b = append(b, bytes.Repeat([]byte{'\n'}, copySize-len(b))...)
	for _, name := range copyNames {
		if err := writeCopy(filepath.Join(string(d), name), b); err != nil {
			return fmt.Errorf("cannot write the watchdog's record: %w", err)
		}
	}
	return syncDir(string(d))
}

func writeCopy(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// change reads the record, has f change it, and writes it, all under the lock. Where f returns an error nothing is
// written.
func (d Dir) change(f func(*Record) error) (Record, error) {
	unlock, err := d.lock()
	if err != nil {
		return Record{}, err
	}
	defer unlock()
	r, err := d.read()
	if err != nil {
		return Record{}, err
	}
	before := r
	if err := f(&r); err != nil {
		return r, err
	}
	if r == before {
		return r, nil
	}
	return r, d.write(r)
}

// Read returns the record, or [ErrUnarmed].
func (d Dir) Read() (Record, error) {
	unlock, err := d.lock()
	if err != nil {
		return Record{}, err
	}
	defer unlock()
	return d.read()
}

// Arm has the new root watched from its first boot on. Arming again for the same two deployments changes nothing, so
// that a step that is repeated after a crash does not refill a budget that is being used.
func (d Dir) Arm(old, new events.Deployment, budget time.Duration) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	r, err := d.read()
	if err == nil && r.Phase == Armed && r.Old == old && r.New == new {
		return nil
	}
	if err != nil && !errors.Is(err, ErrUnarmed) && !errors.Is(err, ErrDamaged) {
		return err
	}
	return d.write(Record{Phase: Armed, Old: old, New: new, Budget: budget, Generation: r.Generation})
}

// Confirm keeps the new root. Whether it or the watchdog is first is decided by the lock: when the watchdog was, the
// error is [ErrGivenUp]. Confirming again is no error; confirming what is not watched is [ErrUnarmed].
func (d Dir) Confirm() error {
	_, err := d.change(func(r *Record) error {
		if r.Phase == GivenUp {
			return fmt.Errorf("%w: %s", ErrGivenUp, r.Why)
		}
		r.Phase = Confirmed
		return nil
	})
	return err
}

// GiveUp has the old root booted. When the root was confirmed first, it changes nothing; the record says which it is.
func (d Dir) GiveUp(why string) (Record, error) {
	return d.change(func(r *Record) error {
		if r.Phase == Armed {
			r.Phase, r.Why = GivenUp, why
		}
		return nil
	})
}

// Guard runs f while nobody else changes the record or the boot order: two that move the same deployment to the front at
// the same time could leave it second. It hands over what [Dir.Read] would return.
func (d Dir) Guard(f func(Record, error) error) error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return f(d.read())
}

// Disarm forgets everything. It is not for the new root: there only [Confirm] may stop the watchdog.
func (d Dir) Disarm() error {
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range copyNames {
		if err := os.Remove(filepath.Join(string(d), name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot disarm the watchdog: %w", err)
		}
	}
	return syncDir(string(d))
}
