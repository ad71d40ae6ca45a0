package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxFile bounds the ledger's file, in bytes. Compaction keeps it far below.
const maxFile = 64 << 20

// Disk is the storage of one ledger. Every method that changes it returns when the change would survive a power cut.
// After an error it is unknown how much of the change was made.
type Disk interface {
	// Read returns everything, nothing when there is no ledger yet.
	Read() ([]byte, error)
	// Append adds to the end.
	Append(b []byte) error
	// Truncate keeps the first n bytes.
	Truncate(n int64) error
	// Replace puts b in the place of everything, all or nothing.
	Replace(b []byte) error
}

// File is a [Disk] that keeps the ledger in the file of that name.
type File string

// Read implements [Disk].
func (f File) Read() ([]byte, error) {
	file, err := os.Open(string(f))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is larger than %d bytes", string(f), maxFile)
	}
	return b, err
}

// Append implements [Disk].
func (f File) Append(b []byte) error {
	_, err := os.Stat(string(f))
	fresh := errors.Is(err, os.ErrNotExist)
	file, err := os.OpenFile(string(f), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil || !fresh {
		return err
	}
	return syncDir(filepath.Dir(string(f)))
}

// Truncate implements [Disk].
func (f File) Truncate(n int64) error {
	file, err := os.OpenFile(string(f), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = file.Truncate(n)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// Replace implements [Disk].
func (f File) Replace(b []byte) error {
	tmp := string(f) + ".new"
	file, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, string(f)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(string(f)))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
