// Package archive moves directory trees through tar streams with everything that a root file system needs: owners,
// modes, times, hard links, devices, and extended attributes with SELinux labels, file capabilities and access control
// lists among them (GNU tar's --selinux --xattrs --acls, in its pax encoding).
//
// An archive is written by somebody else. [Unpack] never writes outside of its root: no name may be absolute or hold
// "..", a link that the archive itself made is never followed out of the root, and each file is made anew, through a
// handle of its directory, never opened through an existing name.
package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Errors that callers tell apart.
var (
	// ErrUnsafe: a name leads out of the directory that is unpacked to.
	ErrUnsafe = errors.New("the archive holds a path that leads out of its root")
	// ErrDamaged: the stream is not a complete tar archive, or holds what no tar of a file system holds.
	ErrDamaged = errors.New("the archive is damaged")
	// ErrTooLarge: the archive holds more than the limit.
	ErrTooLarge = errors.New("the archive is too large")
)

// Damaged adds [ErrDamaged] to what only a bad tar stream causes; errors of the source and of the disk stay what they
// are.
func Damaged(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// Stats counts what was unpacked or packed.
type Stats struct {
	Entries int   // files, directories, links
	Bytes   int64 // content of regular files
}

// pax records of GNU tar.
const (
	paxXattr   = "SCHILY.xattr."
	paxSELinux = "RHT.security.selinux"
)

// xattrs are the extended attributes in an entry's pax records. Access control lists also have a textual record of
// their own, which holds the same as the attribute and is left alone.
func xattrs(hdr *tar.Header) map[string]string {
	attrs := map[string]string{}
	for key, value := range hdr.PAXRecords {
		if name, ok := strings.CutPrefix(key, paxXattr); ok {
			attrs[name] = value
		}
	}
	if label, ok := hdr.PAXRecords[paxSELinux]; ok {
		attrs["security.selinux"] = strings.TrimSuffix(label, "\x00")
	}
	return attrs
}

// relative turns a name in the archive into one below prefix: "." for prefix itself.
func relative(name, prefix string) (string, error) {
	clean := path.Clean(name)
	if name == "" || path.IsAbs(name) || hasDotDot(name) || strings.ContainsRune(name, 0) {
		return "", fmt.Errorf("%w: %q", ErrUnsafe, name)
	}
	switch prefix {
	case ".":
		return clean, nil
	case clean:
		return ".", nil
	}
	below, ok := strings.CutPrefix(clean, prefix+"/")
	if !ok {
		return "", fmt.Errorf("%w: %q is not below %q", ErrUnsafe, name, prefix)
	}
	return below, nil
}

// hasDotDot refuses "a/../b" too: cleaning it would assume that a is no link.
func hasDotDot(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return true
		}
	}
	return false
}
