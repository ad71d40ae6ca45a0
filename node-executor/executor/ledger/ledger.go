package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/reroot-dev/reroot/events"
)

var (
	// ErrDamaged: a record in the middle of the ledger is not what was written.
	ErrDamaged = errors.New("the ledger is damaged")
	// ErrBroken: an earlier append failed, so what the disk holds is unknown until the ledger is opened again.
	ErrBroken = errors.New("the ledger could not be written before")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumLen = 8 // hex digits of a CRC-32C

// Ledger is an open ledger. Its methods may be called concurrently.
type Ledger struct {
	mu     sync.Mutex
	disk   Disk
	state  State
	size   int // bytes on the disk
	broken error
}

// Open reads a ledger, cuts a torn tail off, and folds the rest.
func Open(disk Disk) (*Ledger, error) {
	b, err := disk.Read()
	if err != nil {
		return nil, fmt.Errorf("cannot read the ledger: %w", err)
	}
	state, size, err := read(b)
	if err != nil {
		return nil, err
	}
	if size < len(b) {
		if err := disk.Truncate(int64(size)); err != nil {
			return nil, fmt.Errorf("cannot cut off the ledger's torn end: %w", err)
		}
	}
	return &Ledger{disk: disk, state: state, size: size}, nil
}

// State is what the ledger says now.
func (l *Ledger) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Size is the length of the ledger's file, in bytes.
func (l *Ledger) Size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.size
}

// Append adds entries, all or none, and returns the state after them when they are on the disk. Facts among them get
// their place in the node's chain. After an error nothing more can be appended ([ErrBroken]): the caller ends, and the
// next [Open] finds out what was written.
func (l *Ledger) Append(entries ...Entry) (State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return l.state, fmt.Errorf("%w: %w", ErrBroken, l.broken)
	}
	entries, err := stamp(l.state, entries)
	if err != nil {
		return l.state, err
	}
	next, err := fold(l.state, entries)
	if err != nil {
		return l.state, err
	}
	line, err := encode(entries)
	if err != nil {
		return l.state, err
	}
	if err := l.disk.Append(line); err != nil {
		l.broken = err
		return l.state, fmt.Errorf("cannot append to the ledger: %w", err)
	}
	l.state = next
	l.size += len(line)
	return next, nil
}

// Compact replaces the file by one record that says the same.
func (l *Ledger) Compact() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return fmt.Errorf("%w: %w", ErrBroken, l.broken)
	}
	line, err := encode([]Entry{{Kind: Snapshot, State: &l.state}})
	if err != nil {
		return err
	}
	if err := l.disk.Replace(line); err != nil {
		l.broken = err
		return fmt.Errorf("cannot compact the ledger: %w", err)
	}
	l.size = len(line)
	return nil
}

// stamp links the facts among entries to the chain of the node's facts. The entries of the caller are not changed.
func stamp(s State, entries []Entry) ([]Entry, error) {
	stamped := make([]Entry, len(entries))
	seq, prev := s.FactSequence, s.FactHash
	for i, e := range entries {
		if e.Fact != nil {
			seq++
			fact := e.Fact.Clone()
			fact.SetExtension(events.ExtNodeSequence, fmt.Sprintf("%020d", seq))
			if prev != "" {
				fact.SetExtension(events.ExtNodePrevHash, prev)
			}
			hash, err := events.Hash(fact)
			if err != nil {
				return nil, err
			}
			prev = hash
			e.Fact, e.FactHash = &fact, hash
		}
		stamped[i] = e
	}
	return stamped, nil
}

func fold(s State, entries []Entry) (State, error) {
	for _, e := range entries {
		var err error
		if s, err = s.apply(e); err != nil {
			return s, err
		}
	}
	return s, nil
}

func encode(entries []Entry) ([]byte, error) {
	text, err := json.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a ledger record: %w", err)
	}
	return fmt.Appendf(nil, "%0*x %s\n", sumLen, crc32.Checksum(text, castagnoli), text), nil
}

// parse returns the records and how many bytes they take. What follows them is the rest of an append that a crash
// interrupted. Only the last line can be that: appends are synced one by one.
func parse(b []byte) (records [][]Entry, size int, err error) {
	for size < len(b) {
		line, rest, whole := bytes.Cut(b[size:], []byte("\n"))
		entries, err := decode(line)
		if !whole || (err != nil && len(rest) == 0) {
			return records, size, nil
		}
		if err != nil {
			return nil, 0, fmt.Errorf("%w: record %d: %w", ErrDamaged, len(records)+1, err)
		}
		records = append(records, entries)
		size += len(line) + 1
	}
	return records, size, nil
}

func decode(line []byte) ([]Entry, error) {
	if len(line) < sumLen+1 || line[sumLen] != ' ' {
		return nil, errors.New("no checksum")
	}
	text := line[sumLen+1:]
	if want := fmt.Sprintf("%0*x", sumLen, crc32.Checksum(text, castagnoli)); want != string(line[:sumLen]) {
		return nil, errors.New("the checksum does not match")
	}
	var entries []Entry
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, err
	}
	return entries, nil
}

// Read returns what a ledger says, without opening it: a torn end is passed over and stays.
func Read(disk Disk) (State, error) {
	b, err := disk.Read()
	if err != nil {
		return State{}, fmt.Errorf("cannot read the ledger: %w", err)
	}
	s, _, err := read(b)
	return s, err
}

// read folds what is stored and returns how many bytes of it are whole records.
func read(b []byte) (s State, size int, err error) {
	records, size, err := parse(b)
	if err != nil {
		return s, 0, fmt.Errorf("cannot read the ledger: %w", err)
	}
	for _, entries := range records {
		if s, err = fold(s, entries); err != nil {
			return s, 0, fmt.Errorf("cannot read the ledger: %w", err)
		}
	}
	return s, size, nil
}
