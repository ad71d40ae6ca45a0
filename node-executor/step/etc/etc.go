// Package etc writes files into the /etc of a deployment, booted or not, so that they are there after a crash.
//
// Paths are relative to that /etc and are resolved beneath it: a link that the seed brought cannot lead a write
// elsewhere. Every file is synced, renamed into place and read back. A new file gets the SELinux label of the
// deployment's own policy where there is one (see [Labels]), and in any case overrides what the seed had at its path.
package etc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// maxFile bounds what is read back, in bytes.
const maxFile = 16 << 20

// File is a regular file or, with Link set, a symbolic link.
type File struct {
	Path string      `json:"path"` // relative to /etc
	Data []byte      `json:"data,omitempty"`
	Mode fs.FileMode `json:"mode,omitempty"` // permission bits
	UID  int         `json:"uid,omitempty"`
	GID  int         `json:"gid,omitempty"`
	Link string      `json:"link,omitempty"`
}

// Write puts the files in place below dir, in their order, and makes the directories that are missing.
func Write(dir string, labels *Labels, files ...File) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot write to %s: %w", dir, err)
	}
	defer root.Close()
	for _, f := range files {
		if err := write(root, labels, f); err != nil {
			return fmt.Errorf("cannot write %s: %w", path.Join(dir, f.Path), err)
		}
	}
	return nil
}

func write(root *os.Root, labels *Labels, f File) error {
	if err := makeParents(root, labels, path.Dir(f.Path)); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(f.Path), ".reroot-"+path.Base(f.Path))
	if err := root.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var err error
	if f.Link != "" {
		err = root.Symlink(f.Link, tmp)
	} else {
		err = writeData(root, tmp, f)
	}
	if err != nil {
		return err
	}
	if err := labels.set(root, tmp, f.Path); err != nil {
		return err
	}
	if err := root.Rename(tmp, f.Path); err != nil {
		return err
	}
	if err := syncDir(root, path.Dir(f.Path)); err != nil {
		return err
	}
	return check(root, f)
}

func writeData(root *os.Root, name string, f File) error {
	file, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, f.Mode.Perm())
	if err != nil {
		return err
	}
	_, err = file.Write(f.Data)
	if err == nil {
		err = file.Chmod(f.Mode.Perm()) // whatever the umask
	}
	if err == nil {
		err = file.Chown(f.UID, f.GID)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// makeParents makes the missing directories on the way to dir.
func makeParents(root *os.Root, labels *Labels, dir string) error {
	if dir == "." {
		return nil
	}
	if st, err := root.Stat(dir); err == nil && st.IsDir() {
		return nil
	}
	if err := makeParents(root, labels, path.Dir(dir)); err != nil {
		return err
	}
	if err := root.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := labels.set(root, dir, dir); err != nil {
		return err
	}
	return syncDir(root, path.Dir(dir))
}

// check reads a file back.
func check(root *os.Root, f File) error {
	if f.Link != "" {
		got, err := root.Readlink(f.Path)
		if err == nil && got != f.Link {
			err = fmt.Errorf("it leads to %s after it was written as a link to %s", got, f.Link)
		}
		return err
	}
	file, err := root.Open(f.Path)
	if err != nil {
		return err
	}
	defer file.Close()
	got, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err == nil && !bytes.Equal(got, f.Data) {
		err = errors.New("what is read back is not what was written")
	}
	return err
}

// Remove removes the files below dir; one that is not there is no error.
func Remove(dir string, paths ...string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot remove from %s: %w", dir, err)
	}
	defer root.Close()
	var parents []string
	for _, p := range paths {
		if err := root.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot remove %s: %w", path.Join(dir, p), err)
		}
		parents = append(parents, path.Dir(p))
	}
	slices.Sort(parents)
	for _, p := range slices.Compact(parents) {
		if err := syncDir(root, p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot remove from %s: %w", path.Join(dir, p), err)
		}
	}
	return nil
}

// Read returns a regular file below dir with its owner and mode. A larger one than 16 MiB is refused.
func Read(dir, name string) (File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return File{}, fmt.Errorf("cannot read from %s: %w", dir, err)
	}
	defer root.Close()
	file, err := root.Open(name)
	if err != nil {
		return File{}, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return File{}, err
	}
	if !st.Mode().IsRegular() || st.Size() > maxFile {
		return File{}, fmt.Errorf("cannot read %s: not a regular file of at most %d bytes", path.Join(dir, name), maxFile)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return File{}, err
	}
	f := File{Path: name, Data: data, Mode: st.Mode().Perm()}
	var sys unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &sys); err != nil {
		return File{}, err
	}
	f.UID, f.GID = int(sys.Uid), int(sys.Gid)
	return f, nil
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
