package commit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Interrupted tells whether a regeneration was begun with the journal in dir and not finished.
func Interrupted(dir string) (bool, error) {
	for _, name := range []string{doneFile, preparedFile} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err == nil {
			return name == preparedFile, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}
