package seedimage

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
)

// record is the proof that an import is complete: what was imported and where it is.
type record struct {
	Digest    string   `json:"digest"`
	Version   string   `json:"version"`
	Kargs     []string `json:"kargs,omitempty"` // those that were asked for besides the seed's
	Stateroot string   `json:"stateroot"`
	Commit    string   `json:"commit"`
	Serial    int      `json:"serial"`
	Bytes     int64    `json:"bytes"`
	Objects   int      `json:"objects"`
}

const maxRecord = 64 << 10

func recordPath(dir, stateroot string) string { return filepath.Join(dir, stateroot, "import.json") }

// ContainersList is where an import into dir keeps the seed's list of container images.
func ContainersList(dir, stateroot string) string {
	return filepath.Join(dir, stateroot, seed.FileContainers)
}

// ReadClusterInfo reads the description of the reference cluster that an import into dir kept.
func ReadClusterInfo(dir, stateroot string) (seed.ClusterInfo, error) {
	text, err := os.ReadFile(filepath.Join(dir, stateroot, seed.FileClusterInfo))
	if err != nil {
		return seed.ClusterInfo{}, fmt.Errorf("cannot read the seed's cluster information: %w", err)
	}
	return seed.ParseClusterInfo(text)
}

func (i *importer) saveRecord() error {
	d := i.result.Deployment
	text, err := json.Marshal(record{
		Digest: i.result.Digest, Version: i.Version, Kargs: i.Kargs, Bytes: i.result.Bytes, Objects: i.result.Objects,
		Stateroot: d.Stateroot, Commit: d.Commit, Serial: d.Serial,
	})
	if err != nil {
		return fmt.Errorf("cannot encode import record: %w", err)
	}
	return i.Host.WriteFileAtomic(recordPath(i.Dir, i.Stateroot), text, 0o600)
}

// existing returns the result of an earlier import of the same image if it is complete. Anything else, also a record
// that cannot be read, means that the import has to be done.
func (i *importer) existing(ctx context.Context) (Result, bool) {
	f, err := os.Open(recordPath(i.Dir, i.Stateroot))
	if err != nil {
		return Result{}, false
	}
	defer f.Close()
	var rec record
	if err := json.NewDecoder(io.LimitReader(f, maxRecord)).Decode(&rec); err != nil {
		return Result{}, false
	}
	ref, err := registry.Reference(i.Image)
	if err != nil {
		return Result{}, false
	}
	if pinnedDigest(ref) != rec.Digest || rec.Version != i.Version || !slices.Equal(rec.Kargs, i.Kargs) {
		return Result{}, false
	}
	d, err := i.Host.Find(ctx, rec.Stateroot, rec.Commit, rec.Serial)
	if err != nil || d.Stateroot != i.Stateroot || i.Host.CheckBootable(d) != nil {
		return Result{}, false
	}
	return Result{Deployment: d, Digest: rec.Digest, Bytes: rec.Bytes, Objects: rec.Objects, Existing: true}, true
}
