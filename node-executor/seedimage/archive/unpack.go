package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// UnpackOptions says what to take from an archive.
type UnpackOptions struct {
	Prefix   string            // entries are below it, and it is removed from their names; empty: "."
	MaxBytes int64             // limit of the content of all files; 0: none
	Accept   func(string) bool // by name below the prefix; nil: everything. What is not accepted is still checked
}

// Unpack writes the entries of a tar stream below dir, which must exist, and replaces what is there. Names of users and
// groups are ignored: only numbers mean the same on another system. Nothing is synced, and on error a part of the
// archive remains. A stream that ends between two entries cannot be told from a whole one; the checksum of the
// compression around it can. Errors are [ErrUnsafe], [ErrDamaged], [ErrTooLarge], the source's or the file system's.
func Unpack(ctx context.Context, r io.Reader, dir string, o UnpackOptions) (Stats, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Stats{}, fmt.Errorf("cannot unpack: %w", err)
	}
	defer root.Close()
	if o.Prefix == "" {
		o.Prefix = "."
	}
	u := unpacker{root: root, o: o, buf: make([]byte, 256<<10)}
	defer u.leave()
	in := tar.NewReader(r)
	for {
		hdr, err := in.Next()
		if errors.Is(err, io.EOF) {
			return u.stats, u.dirTimes()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return u.stats, fmt.Errorf("cannot unpack: %w", Damaged(err))
		}
		if err := u.entry(hdr, in); err != nil {
			return u.stats, fmt.Errorf("cannot unpack %q: %w", hdr.Name, err)
		}
	}
}

type unpacker struct {
	root  *os.Root
	o     UnpackOptions
	buf   []byte
	stats Stats
	dirs  []dirTime

	// The directory of the previous entry stays open: archives list a directory's files together.
	parent     *os.File
	parentName string
}

type dirTime struct {
	name string
	at   time.Time
}

func (u *unpacker) entry(hdr *tar.Header, content io.Reader) error {
	name, err := relative(hdr.Name, u.o.Prefix)
	if err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeXGlobalHeader || u.o.Accept != nil && !u.o.Accept(name) {
		return nil
	}
	u.stats.Entries++
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: the root is no directory", ErrDamaged)
		}
		return u.rootDir(hdr)
	}
	dir, base, err := u.enter(name)
	if err != nil {
		return err
	}
	if err := u.makeNode(dir, base, name, hdr, content); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeLink {
		return nil // owner, mode and attributes are the other name's
	}
	return setMeta(dir, base, hdr)
}

func (u *unpacker) rootDir(hdr *tar.Header) error {
	f, err := u.openDir(".")
	if err != nil {
		return err
	}
	defer f.Close()
	u.dirs = append(u.dirs, dirTime{".", hdr.ModTime})
	return setMeta(f, ".", hdr)
}

// enter opens the directory of name below the root, and makes it where the archive does not list it. os.Root follows
// no link that leads out.
func (u *unpacker) enter(name string) (*os.File, string, error) {
	dir, base := path.Dir(name), path.Base(name)
	if u.parent != nil && u.parentName == dir {
		return u.parent, base, nil
	}
	f, err := u.openDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		if err = u.root.MkdirAll(dir, 0o755); err == nil {
			f, err = u.openDir(dir)
		}
	}
	if err != nil {
		return nil, "", escapes(err)
	}
	u.leave()
	u.parent, u.parentName = f, dir
	return f, base, nil
}

// openDir opens a directory below the root. Anything else is refused before it is opened: that would wait for ever on a
// pipe, and wake a device.
func (u *unpacker) openDir(name string) (*os.File, error) {
	return u.root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY, 0)
}

func (u *unpacker) leave() {
	if u.parent != nil {
		u.parent.Close()
		u.parent = nil
	}
}

// escapes tells a name that leads out of the root from other errors; package os does not export its error for it.
func escapes(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) && strings.Contains(pe.Err.Error(), "escapes") {
		return fmt.Errorf("%w: %w", ErrUnsafe, err)
	}
	return err
}

func (u *unpacker) makeNode(dir *os.File, base, name string, hdr *tar.Header, content io.Reader) error {
	fd := int(dir.Fd())
	if hdr.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, dirTime{name, hdr.ModTime})
		return makeDir(fd, base)
	}
	if err := removeAt(fd, base); err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeReg:
		return u.makeFile(fd, base, hdr.Size, content)
	case tar.TypeSymlink:
		return unix.Symlinkat(hdr.Linkname, fd, base)
	case tar.TypeLink:
		return u.makeLink(fd, base, hdr.Linkname)
	case tar.TypeChar:
		return unix.Mknodat(fd, base, unix.S_IFCHR, int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))))
	case tar.TypeBlock:
		return unix.Mknodat(fd, base, unix.S_IFBLK, int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))))
	case tar.TypeFifo:
		return unix.Mknodat(fd, base, unix.S_IFIFO, 0)
	}
	return fmt.Errorf("%w: entry type %q", ErrDamaged, hdr.Typeflag)
}

// makeDir keeps a directory that is there, and replaces anything else by one.
func makeDir(fd int, base string) error {
	err := unix.Mkdirat(fd, base, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil
	}
	if err := removeAt(fd, base); err != nil {
		return err
	}
	return unix.Mkdirat(fd, base, 0o700)
}

func removeAt(fd int, base string) error {
	err := unix.Unlinkat(fd, base, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(fd, base, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func (u *unpacker) makeFile(fd int, base string, size int64, content io.Reader) error {
	u.stats.Bytes += size
	if u.o.MaxBytes > 0 && u.stats.Bytes > u.o.MaxBytes {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, u.o.MaxBytes)
	}
	file, err := unix.Openat(fd, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(file), base)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, content, u.buf) // File.ReadFrom would take a buffer of its own
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return Damaged(err)
}

// makeLink makes a hard link to an entry that came earlier.
func (u *unpacker) makeLink(fd int, base, target string) error {
	name, err := relative(target, u.o.Prefix)
	if err != nil {
		return err
	}
	dir, err := u.openDir(path.Dir(name))
	if err != nil {
		return escapes(err)
	}
	defer dir.Close()
	if err := unix.Linkat(int(dir.Fd()), path.Base(name), fd, base, 0); err != nil {
		return fmt.Errorf("cannot link to %q: %w", target, err)
	}
	return nil
}

// setMeta gives a file its owner, mode, attributes and time. The order matters: a change of owner clears the set-user-id
// bits and the capabilities.
func setMeta(dir *os.File, base string, hdr *tar.Header) error {
	fd := int(dir.Fd())
	if err := unix.Fchownat(fd, base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot set owner: %w", err)
	}
	if hdr.Typeflag != tar.TypeSymlink {
		// The entry was made by this process just now, so base is no link.
		if err := unix.Fchmodat(fd, base, uint32(hdr.Mode)&0o7777, 0); err != nil {
			return fmt.Errorf("cannot set mode: %w", err)
		}
	}
	for name, value := range xattrs(hdr) {
		// The directory part is a handle, and the last part is not followed.
		if err := unix.Lsetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", fd, base), name, []byte(value), 0); err != nil {
			return fmt.Errorf("cannot set attribute %s: %w", name, err)
		}
	}
	if hdr.Typeflag == tar.TypeDir {
		return nil // its time is set at the end: entries in it still change it
	}
	return setTime(fd, base, hdr.ModTime)
}

func setTime(fd int, base string, at time.Time) error {
	ts := unix.NsecToTimespec(at.UnixNano())
	if err := unix.UtimesNanoAt(fd, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot set time: %w", err)
	}
	return nil
}

func (u *unpacker) dirTimes() error {
	for _, d := range u.dirs {
		f, err := u.openDir(d.name)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // a later entry replaced it
		}
		if err != nil {
			return fmt.Errorf("cannot unpack: %w", escapes(err))
		}
		err = setTime(int(f.Fd()), ".", d.at)
		f.Close()
		if err != nil {
			return fmt.Errorf("cannot unpack %q: %w", d.name, err)
		}
	}
	return nil
}
