package configfile

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
)

// RecertJournals is where the journals for recert's files are, which do not name any: each file, by its content, has a
// directory below. The same file again finishes what was interrupted; what another one asks for is another regeneration.
const RecertJournals = "/var/lib/reroot-crypto"

func journalFor(text []byte) string {
	const long = 8 // bytes of the hash
	sum := sha256.Sum256(text)
	return filepath.Join(RecertJournals, fmt.Sprintf("%x", sum[:long]))
}

// InterruptedError says that a regeneration with another file was interrupted: some of the cluster's keys are new already.
type InterruptedError struct{ Journal string }

// Error implements error.
func (e *InterruptedError) Error() string {
	return "a regeneration with another file was interrupted, its journal is " + e.Journal
}

// CheckJournals returns an [*InterruptedError] when a journal beside this one, in the directory of journals, waits to be finished.
func CheckJournals(journal string) error {
	dir := filepath.Dir(journal)
	all, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot look for journals: %w", err)
	}
	for _, entry := range all {
		other := filepath.Join(dir, entry.Name())
		if other == journal || !entry.IsDir() {
			continue
		}
		if interrupted, err := commit.Interrupted(other); err != nil {
			return fmt.Errorf("cannot look for journals: %w", err)
		} else if interrupted {
			return &InterruptedError{other}
		}
	}
	return nil
}
