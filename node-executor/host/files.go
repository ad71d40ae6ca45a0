package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const maxSmallFile = 1 << 20

// readSmall reads a file that is small by nature, such as a boot entry.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSmallFile+1))
	if err == nil && len(data) > maxSmallFile {
		err = fmt.Errorf("%s is larger than %d bytes", path, maxSmallFile)
	}
	return data, err
}

// WriteFileAtomic replaces or makes a file: after a crash at any moment path holds either what it held before or all of
// data. It returns when the data and the directory entry are on the disk.
func (h *Host) WriteFileAtomic(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, errors.Join(err, ignoreAbsent(os.Remove(f.Name()))))
	}
	return syncDir(dir)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

// SyncFS writes everything that is pending for the file system of path to the disk.
func (h *Host) SyncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot sync the file system of %s: %w", path, err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("cannot sync the file system of %s: %w", path, err)
	}
	return nil
}

// FreeSpace is the number of bytes that can still be written to the file system of path.
func (h *Host) FreeSpace(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("cannot read free space of %s: %w", path, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// MakeSysrootWritable remounts the physical root read-write where it is mounted read-only, which is how a node with
// sysroot.readonly runs. Only this mount changes, so in a mount namespace of its own no other program gains the right
// to write. It does nothing for a plain sysroot and for one that is writable.
func (h *Host) MakeSysrootWritable() error {
	if h.plain {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(h.sysroot, &st); err != nil {
		return fmt.Errorf("cannot remount %s: %w", h.sysroot, err)
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return nil
	}
	// The flags of the mount that are not named are dropped, so they are carried over. ST_ and MS_ agree in these bits.
	const keep = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME
	flags := uintptr(st.Flags)&keep | unix.MS_REMOUNT | unix.MS_BIND
	if err := unix.Mount("", h.sysroot, "", flags, ""); err != nil {
		return fmt.Errorf("cannot remount %s read-write: %w", h.sysroot, err)
	}
	return nil
}

// removeTree is os.RemoveAll for directories that may hold deployments: ostree sets the immutable attribute on the root
// of each, and even root cannot remove from such a directory.
func (h *Host) removeTree(dir string) error {
	deploys, err := os.ReadDir(filepath.Join(dir, "deploy"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, d := range deploys {
		if d.IsDir() {
			if err := clearImmutable(filepath.Join(dir, "deploy", d.Name())); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

func clearImmutable(path string) error {
	const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // a file system without attributes
	}
	if err != nil {
		return fmt.Errorf("cannot read attributes of %s: %w", path, err)
	}
	if flags&immutable == 0 {
		return nil
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^immutable)); err != nil {
		return fmt.Errorf("cannot make %s mutable: %w", path, err)
	}
	return nil
}

// CheckBootable reads back what a boot loader needs of a deployment: its boot entry, kernel and initial ramdisk, and
// a tree with an operating system in it.
func (h *Host) CheckBootable(d Deployment) error {
	if d.Staged || d.Boot.Linux == "" {
		return fmt.Errorf("cannot boot %s: it has no boot entry", d.ID())
	}
	files := []string{filepath.Join(h.boot, d.Boot.Linux), filepath.Join(d.Path, "usr", "lib", "os-release")}
	if d.Boot.Initrd != "" {
		files = append(files, filepath.Join(h.boot, d.Boot.Initrd))
	}
	for _, file := range files {
		st, err := os.Stat(file)
		if err != nil {
			return fmt.Errorf("cannot boot %s: %w", d.ID(), err)
		}
		if !st.Mode().IsRegular() || st.Size() == 0 {
			return fmt.Errorf("cannot boot %s: %s is empty or no file", d.ID(), file)
		}
	}
	return nil
}
