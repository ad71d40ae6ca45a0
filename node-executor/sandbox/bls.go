package sandbox

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxEntrySize bounds a boot loader entry; ostree's have some 500 bytes.
	maxEntrySize = 64 << 10
	// maxEntries bounds a directory of entries.
	maxEntries = 256
)

// ErrNoEntry says that a sysroot has nothing to boot.
var ErrNoEntry = errors.New("no boot loader entry")

// Entry is a boot loader entry (type 1 of the Boot Loader Specification,
// https://uapi-group.org/specifications/specs/boot_loader_specification/), as far as a boot needs it.
type Entry struct {
	// ID is the file name without ".conf".
	ID string
	// Title is what a menu would show.
	Title string
	// Version orders entries. ostree writes whole numbers, the highest for its first deployment.
	Version uint64
	// Kernel and Initrd are paths below the boot partition.
	Kernel, Initrd string
	// Options are the kernel's arguments, one line.
	Options string
}

// BootLoader chooses what boots next. Next may change the sysroot, as a boot loader that honours a one-shot entry
// does.
type BootLoader interface {
	Next(sysroot string) (Entry, error)
}

// BLS is a boot loader that always takes the entry with the highest version.
type BLS struct{}

// Next returns the entry to boot. An entry that cannot be parsed is an error, not skipped: a double should tell what
// a boot loader keeps to itself.
func (BLS) Next(sysroot string) (Entry, error) {
	root, err := os.OpenRoot(sysroot)
	if err != nil {
		return Entry{}, fmt.Errorf("cannot open sysroot: %w", err)
	}
	defer root.Close()
	names, err := fs.Glob(root.FS(), "boot/loader/entries/*.conf")
	if err != nil {
		return Entry{}, fmt.Errorf("cannot list boot entries: %w", err)
	}
	if len(names) == 0 {
		return Entry{}, fmt.Errorf("cannot choose boot entry in %s: %w", sysroot, ErrNoEntry)
	}
	if len(names) > maxEntries {
		return Entry{}, fmt.Errorf("cannot choose boot entry in %s: %d entries", sysroot, len(names))
	}
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		entry, err := readEntry(root, name)
		if err != nil {
			return Entry{}, err
		}
		entries = append(entries, entry)
	}
	return slices.MaxFunc(entries, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.ID, b.ID))
	}), nil
}

func readEntry(root *os.Root, name string) (Entry, error) {
	file, err := root.Open(name)
	if err != nil {
		return Entry{}, fmt.Errorf("cannot open boot entry: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxEntrySize+1))
	if err != nil {
		return Entry{}, fmt.Errorf("cannot read boot entry: %w", err)
	}
	return ParseEntry(path.Base(name), data)
}

// ParseEntry parses the file of the given name. Keys that a boot does not need are passed over; version, linux,
// initrd and options must be there.
func ParseEntry(name string, data []byte) (Entry, error) {
	entry := Entry{ID: strings.TrimSuffix(name, ".conf")}
	if len(data) > maxEntrySize {
		return Entry{}, fmt.Errorf("cannot parse boot entry %s: more than %d bytes", name, maxEntrySize)
	}
	seen := map[string]bool{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, maxEntrySize)
	for lines.Scan() {
		key, value, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(lines.Text()), "\t", " "), " ")
		value = strings.TrimSpace(value)
		seen[key] = seen[key] || value != ""
		switch key {
		case "title":
			entry.Title = value
		case "version":
			version, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				return Entry{}, fmt.Errorf("cannot parse boot entry %s: version %q is not a whole number", name, value)
			}
			entry.Version = version
		case "linux":
			entry.Kernel = value
		case "initrd":
			entry.Initrd = value
		case "options":
			entry.Options = strings.TrimSpace(entry.Options + " " + value)
		}
	}
	if err := lines.Err(); err != nil {
		return Entry{}, fmt.Errorf("cannot parse boot entry %s: %w", name, err)
	}
	for _, key := range []string{"version", "linux", "initrd", "options"} {
		if !seen[key] {
			return Entry{}, fmt.Errorf("cannot parse boot entry %s: no %s", name, key)
		}
	}
	return entry, nil
}
