package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Packer writes directory trees into one tar stream. Close it to end the archive; that does not close the writer below.
type Packer struct {
	out   *tar.Writer
	buf   []byte
	links map[inode]string // first name of each file that has several
	stats Stats
}

type inode struct{ dev, ino uint64 }

// NewPacker returns a packer that writes to w.
func NewPacker(w io.Writer) *Packer {
	return &Packer{out: tar.NewWriter(w), buf: make([]byte, 256<<10), links: map[inode]string{}}
}

// Close ends the archive and reports what it holds.
func (p *Packer) Close() (Stats, error) {
	if err := p.out.Close(); err != nil {
		return p.stats, fmt.Errorf("cannot end archive: %w", err)
	}
	return p.stats, nil
}

// Tree adds the directory dir and all below it under prefix ("." for none). Names below dir for which skip is true are
// left out, and so is what is below them; sockets always are. Nothing may change the tree meanwhile.
func (p *Packer) Tree(ctx context.Context, dir, prefix string, skip func(name string) bool) error {
	err := filepath.WalkDir(dir, func(full string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		name, err := filepath.Rel(dir, full)
		if err != nil {
			return err
		}
		if name != "." && skip != nil && skip(name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		return p.add(full, path.Join(prefix, name))
	})
	if err != nil {
		return fmt.Errorf("cannot pack %s: %w", dir, err)
	}
	return nil
}

// File adds a regular file of root's with that content.
func (p *Packer) File(name string, mode fs.FileMode, content []byte) error {
	hdr := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(mode.Perm()), Size: int64(len(content)), Format: tar.FormatPAX}
	if err := p.out.WriteHeader(hdr); err != nil {
		return fmt.Errorf("cannot pack %s: %w", name, err)
	}
	if _, err := p.out.Write(content); err != nil {
		return fmt.Errorf("cannot pack %s: %w", name, err)
	}
	p.stats.Entries, p.stats.Bytes = p.stats.Entries+1, p.stats.Bytes+hdr.Size
	return nil
}

// Add adds one file, whatever it is, under that name. For a directory it does not add what is below it.
func (p *Packer) Add(full, name string) error {
	if err := p.add(full, name); err != nil {
		return fmt.Errorf("cannot pack %s: %w", full, err)
	}
	return nil
}

func (p *Packer) add(full, name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: full, Err: err}
	}
	hdr, err := p.header(full, name, &st)
	if hdr == nil || err != nil {
		return err
	}
	if err := p.out.WriteHeader(hdr); err != nil {
		return err
	}
	p.stats.Entries++
	if hdr.Typeflag != tar.TypeReg {
		return nil
	}
	f, err := os.OpenFile(full, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{p.out}, struct{ io.Reader }{f}, p.buf)
	p.stats.Bytes += n
	return err
}

// header describes a file; it is nil for what an archive cannot hold. User and group names are not looked up: only
// numbers mean the same on another system.
func (p *Packer) header(full, name string, st *unix.Stat_t) (*tar.Header, error) {
	hdr := &tar.Header{
		Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid), Format: tar.FormatPAX,
		ModTime: fileTime(st), PAXRecords: map[string]string{},
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		hdr.Typeflag, hdr.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case unix.S_IFREG:
		hdr.Typeflag, hdr.Size = tar.TypeReg, st.Size
	case unix.S_IFLNK:
		hdr.Typeflag = tar.TypeSymlink
		target, err := os.Readlink(full)
		if err != nil {
			return nil, err
		}
		hdr.Linkname = target
	case unix.S_IFCHR:
		hdr.Typeflag = tar.TypeChar
	case unix.S_IFBLK:
		hdr.Typeflag = tar.TypeBlock
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	default:
		return nil, nil // a socket: its program makes it anew
	}
	if hdr.Typeflag == tar.TypeChar || hdr.Typeflag == tar.TypeBlock {
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	}
	if hdr.Typeflag == tar.TypeReg && st.Nlink > 1 {
		key := inode{st.Dev, st.Ino}
		if first, ok := p.links[key]; ok {
			hdr.Typeflag, hdr.Linkname, hdr.Size = tar.TypeLink, first, 0
			return hdr, nil
		}
		p.links[key] = name
	}
	return hdr, addXattrs(full, hdr.PAXRecords)
}

func addXattrs(full string, records map[string]string) error {
	list, err := getXattr(func(buf []byte) (int, error) { return unix.Llistxattr(full, buf) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := getXattr(func(buf []byte) (int, error) { return unix.Lgetxattr(full, name, buf) })
		if err != nil {
			return fmt.Errorf("cannot read attribute %s: %w", name, err)
		}
		records[paxXattr+name] = string(value)
		if record, ok := aclRecords[name]; ok {
			if records[record], err = aclText(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// getXattr calls get with a buffer that fits. Most files have no more attributes than the first one holds.
func getXattr(get func([]byte) (int, error)) ([]byte, error) {
	for _, size := range []int{512, 64 << 10} { // the second is the kernel's limit
		buf := make([]byte, size)
		n, err := get(buf)
		if !errors.Is(err, unix.ERANGE) {
			return buf[:max(n, 0)], err
		}
	}
	return nil, unix.ERANGE
}

func fileTime(st *unix.Stat_t) time.Time { return time.Unix(st.Mtim.Sec, st.Mtim.Nsec) }
