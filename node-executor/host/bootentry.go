package host

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// BootEntry is one Boot Loader Specification file (type 1) of boot/loader/entries as ostree writes it.
type BootEntry struct {
	File    string // base name; it differs between ostree releases: tell entries apart by Version
	Title   string
	Version int // the boot loader's default is the highest
	Linux   string
	Initrd  string // paths of kernel and initial ramdisk, relative to the boot directory
	Options string // the kernel command line as it stands in the file
}

// ParseBootEntry reads a Boot Loader Specification file. Keys it does not know are ignored.
func ParseBootEntry(name string, text []byte) (BootEntry, error) {
	e := BootEntry{File: name, Version: -1}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		value = strings.TrimSpace(value)
		switch key {
		case "title":
			e.Title = value
		case "version":
			v, err := strconv.Atoi(value)
			if err != nil {
				return BootEntry{}, fmt.Errorf("cannot parse boot entry %s: version %q", name, value)
			}
			e.Version = v
		case "linux":
			e.Linux = value
		case "initrd":
			e.Initrd = value
		case "options":
			e.Options = value
		}
	}
	if err := lines.Err(); err != nil {
		return BootEntry{}, fmt.Errorf("cannot parse boot entry %s: %w", name, err)
	}
	if e.Version < 0 || e.Linux == "" {
		return BootEntry{}, fmt.Errorf("cannot parse boot entry %s: it lacks a version or a kernel", name)
	}
	return e, nil
}

// Kargs splits the kernel command line into arguments. Spaces between double quotes do not separate, as in the kernel.
func (e BootEntry) Kargs() []string {
	quoted := false
	return strings.FieldsFunc(e.Options, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
}

// Ostree is the value of the ostree= argument: the path, below the physical root, of the link to the deployment.
func (e BootEntry) Ostree() (string, bool) {
	for _, arg := range e.Kargs() {
		if path, ok := strings.CutPrefix(arg, "ostree="); ok {
			return path, true
		}
	}
	return "", false
}

// bootEntries reads the entries in the order in which a boot loader prefers them. There are none before the first
// deployment.
func (h *Host) bootEntries() ([]BootEntry, error) {
	dir := filepath.Join(h.boot, "loader", "entries")
	files, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read boot entries: %w", err)
	}
	var entries []BootEntry
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".conf" {
			continue
		}
		text, err := readSmall(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, fmt.Errorf("cannot read boot entry: %w", err)
		}
		e, err := ParseBootEntry(f.Name(), text)
		if err != nil {
			return nil, err
		}
		if _, ours := e.Ostree(); ours {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b BootEntry) int { return cmp.Compare(b.Version, a.Version) })
	return entries, nil
}
