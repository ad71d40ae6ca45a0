package files

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// contentSums are attributes that are about a file's content, which changes. The kernel makes them itself where it is told to.
var contentSums = map[string]bool{"security.ima": true, "security.evm": true}

// CopyMetadata gives a file the other's owner, extended attributes (ACL, label and capabilities among them) and mode, and
// no others: a new file may have got an ACL from its directory. A change of owner takes away bits of the mode and
// capabilities, so it comes first; times are those of the change.
func CopyMetadata(from, to *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := to.Chown(int(stat.Uid), int(stat.Gid)); err != nil {
			return err
		}
	}
	if err := copyAttributes(from, to); err != nil {
		return fmt.Errorf("cannot copy extended attributes: %w", err)
	}
	return to.Chmod(info.Mode())
}

// copyAttributes sets only what differs: a label that the policy gave rightly need not be set by one who may not.
func copyAttributes(from, to *os.File) error {
	want, err := attributes(from)
	if err != nil {
		return err
	}
	have, err := attributes(to)
	if err != nil {
		return err
	}
	for name := range have {
		if _, wanted := want[name]; wanted {
			continue
		}
		if err := unix.Fremovexattr(int(to.Fd()), name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, value := range want {
		if had, ok := have[name]; ok && had == value {
			continue
		}
		if err := unix.Fsetxattr(int(to.Fd()), name, []byte(value), 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// sameMetadata fails, with what it is, where one file has something that the other has not. What was set need not be what is
// there: a policy or a file system may have its own mind.
func sameMetadata(want, got *os.File) error {
	wantInfo, err := want.Stat()
	if err != nil {
		return err
	}
	gotInfo, err := got.Stat()
	if err != nil {
		return err
	}
	if wantInfo.Mode() != gotInfo.Mode() {
		return fmt.Errorf("mode is %s, not %s", gotInfo.Mode(), wantInfo.Mode())
	}
	w, _ := wantInfo.Sys().(*syscall.Stat_t)
	g, _ := gotInfo.Sys().(*syscall.Stat_t)
	if w.Uid != g.Uid || w.Gid != g.Gid {
		return fmt.Errorf("owner is %d:%d, not %d:%d", g.Uid, g.Gid, w.Uid, w.Gid)
	}
	wantAttributes, err := attributes(want)
	if err != nil {
		return err
	}
	gotAttributes, err := attributes(got)
	if err != nil {
		return err
	}
	for name, value := range wantAttributes {
		if had, ok := gotAttributes[name]; !ok || had != value {
			return fmt.Errorf("extended attribute %s is not that of the original", name)
		}
		delete(gotAttributes, name)
	}
	for name := range gotAttributes {
		return fmt.Errorf("extended attribute %s is not in the original", name)
	}
	return nil
}

// attributes returns a file's extended attributes but contentSums, by name; none where the file system has none.
func attributes(f *os.File) (map[string]string, error) {
	fd := int(f.Fd())
	names, err := readSized(func(b []byte) (int, error) { return unix.Flistxattr(fd, b) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" || contentSums[name] {
			continue
		}
		value, err := readSized(func(b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = string(value)
	}
	return all, nil
}

// readSized calls get for the size and again for the value.
func readSized(get func([]byte) (int, error)) ([]byte, error) {
	size, err := get(nil)
	if err != nil || size == 0 {
		return nil, err
	}
	value := make([]byte, size)
	n, err := get(value)
	if err != nil {
		return nil, err
	}
	return value[:n], nil
}
