package step

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/step/etc"
)

// StateDir is the state directory; it is the same directory in both roots.
type StateDir string

// identityFile says which deployment has the site's identity. It is not in that deployment, where a seed could bring
// one along.
const identityFile = "identity.json"

// maxIdentity bounds that file, in bytes.
const maxIdentity = 4096

// SetIdentity records that the deployment has the site's identity.
func (d StateDir) SetIdentity(of events.Deployment) error {
	data, err := json.Marshal(of)
	if err != nil {
		return err
	}
	return etc.Write(string(d), nil, etc.File{Path: identityFile, Data: data, Mode: 0o600})
}

// HasIdentity says whether the deployment has the site's identity.
func (d StateDir) HasIdentity(deployment events.Deployment) (bool, error) {
	f, err := os.Open(filepath.Join(string(d), identityFile))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot find out whose identity this root has: %w", err)
	}
	defer f.Close()
	var of events.Deployment
	if err := json.NewDecoder(io.LimitReader(f, maxIdentity)).Decode(&of); err != nil {
		return false, fmt.Errorf("cannot find out whose identity this root has: %w", err)
	}
	return of == deployment, nil
}

func (d StateDir) clearIdentity() error { return etc.Remove(string(d), identityFile) }

// ReadyFile is the file below /run whose presence says that the root has the site's identity.
const ReadyFile = "reroot/identity-ready"

// Ready makes the file that says that the root has the site's identity. Run is the directory of what ends with the boot.
func Ready(run string) error {
	path := filepath.Join(run, ReadyFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("cannot announce the site's identity: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot announce the site's identity: %w", err)
	}
	return nil
}
