package seedimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/host"
)

// ImportOptions says which seed image becomes which stateroot. All fields but Access, Kargs and Progress are required.
type ImportOptions struct {
	Image     string // pull spec pinned by digest
	Access    registry.Access
	Version   string   // that the seed must hold
	Stateroot string   // to make; neither the booted nor the default one
	Kargs     []string // kernel arguments besides the seed's own and ibu=VERSION
	Host      *host.Host
	// Dir is where the import works and what outlives it is kept, in a directory named after the stateroot. On the file
	// system of the sysroot, objects become hard links instead of copies.
	Dir string
	// Progress is called from the importing goroutine at the start of every step, and while one reads.
	Progress func(Progress)
}

// Progress tells how far an import is.
type Progress struct {
	Step        string // as in [Steps]
	Done, Total int64  // bytes read from the registry; Total is 0 in steps that read nothing
}

// Result describes an imported seed.
type Result struct {
	Deployment host.Deployment
	Digest     string // of the image's manifest
	Bytes      int64  // read from the registry
	Objects    int    // ostree objects in the seed
	Existing   bool   // an earlier import of this image was complete; nothing was read
}

const (
	// reserve is what an import leaves free: the running cluster writes to the same file system.
	reserve = 512 << 20
	// expansion is how much disk a seed needs per byte transferred, at the peak: measured 2.7 on a seed of 600 MB.
	expansion = 3
	// cleanupTime bounds what is done after a failure or a cancelled context.
	cleanupTime = 5 * time.Minute
)

// importer is one run of [Import].
type importer struct {
	ImportOptions
	remote *registry.Image
	seen   map[string]bool   // files of the seed that were read
	small  map[string][]byte // content of the small ones
	budget int64             // bytes that may still be written to the disk
	result Result
	booted deploymentName // what the reference node ran
}

// step is one part of an import. The order is the contract: nothing is deployed before all that was read is verified.
type step struct {
	name string
	do   func(*importer, context.Context) error
}

var steps = []step{
	{"prepare", (*importer).prepare},
	{"download", (*importer).download},
	{"commit", (*importer).commit},
	{"deploy", (*importer).deploy},
	{"etc", (*importer).etc},
	{"verify", (*importer).verify},
	{"record", (*importer).writeRecord},
}

// Steps are the names of an import's steps in their order.
func Steps() []string {
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}

// Import makes a seed image a new stateroot with one deployment that is ready to boot and not the default. It may be
// repeated at any time, also after the process or the machine died in it. When it fails nothing of it remains, and the
// error is an [*Error].
func Import(ctx context.Context, o ImportOptions) (Result, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	i := &importer{ImportOptions: o, seen: map[string]bool{}, small: map[string][]byte{}}
	r, err := i.run(ctx)
	if err != nil {
		return Result{}, withReason(fmt.Errorf("cannot import seed %s: %w", o.Image, err), events.ReasonImportFailed)
	}
	return r, nil
}

func (i *importer) run(ctx context.Context) (Result, error) {
	if r, ok := i.existing(ctx); ok {
		return r, os.RemoveAll(i.scratch())
	}
	if err := i.refuse(ctx); err != nil {
		return Result{}, err
	}
	if err := i.runSteps(ctx); err != nil {
		return Result{}, errors.Join(err, i.discard(ctx))
	}
	return i.result, os.RemoveAll(i.scratch())
}

func (i *importer) runSteps(ctx context.Context) error {
	remote, err := open(ctx, i.Image, i.Access)
	if err != nil {
		return err
	}
	defer remote.Close()
	i.remote = remote
	for _, s := range steps {
		i.Progress(Progress{Step: s.name})
		if err := s.do(i, ctx); err != nil {
			return err
		}
	}
	return nil
}

// refuse looks for what must not be touched, before anything is.
func (i *importer) refuse(ctx context.Context) error {
	ref, err := registry.Reference(i.Image)
	if err != nil {
		return err
	}
	if pinnedDigest(ref) == "" {
		return errors.New("the image is not pinned by digest")
	}
	list, err := i.Host.Status(ctx)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Stateroot == i.Stateroot && (d.Booted || d.Index == 0) {
			return fmt.Errorf("stateroot %s is in use: %s is booted or the default", i.Stateroot, d.ID())
		}
	}
	return nil
}

// prepare removes what an earlier import left and makes an empty stateroot.
func (i *importer) prepare(ctx context.Context) error {
	if got := i.remote.Cluster.Version; got != i.Version {
		return &Error{events.ReasonSeedVersionMismatch, fmt.Errorf("the seed holds version %s, not %s", got, i.Version)}
	}
	if err := i.discard(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(i.repo(), 0o700); err != nil {
		return err
	}
	free, err := i.Host.FreeSpace(i.Host.Sysroot())
	if err != nil {
		return err
	}
	i.budget = free - reserve
	if need := i.remote.Bytes * expansion; i.budget < need {
		return &Error{events.ReasonNoSpace, fmt.Errorf("%s has %d MiB free; the seed needs about %d MiB and %d MiB stay reserved",
			i.Host.Sysroot(), free>>20, need>>20, int64(reserve)>>20)}
	}
	return i.Host.StaterootInit(ctx, i.Stateroot)
}

// discard removes the stateroot and the directory of this import. It must run to its end when ctx is over.
func (i *importer) discard(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	return Remove(ctx, i.Host, i.Dir, i.Stateroot)
}

// Remove undoes an [Import]: the stateroot, its deployments and what was kept of the seed. It is idempotent and refuses
// with [host.ErrBooted] when the stateroot runs.
func Remove(ctx context.Context, h *host.Host, dir, stateroot string) error {
	if err := h.MakeSysrootWritable(); err != nil {
		return err
	}
	// The record goes first: without it, what is left of the stateroot counts as an incomplete import.
	if err := os.Remove(recordPath(dir, stateroot)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot remove import record: %w", err)
	}
	if err := h.RemoveStateroot(ctx, stateroot); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, stateroot)); err != nil {
		return fmt.Errorf("cannot remove seed files: %w", err)
	}
	return nil
}

func (i *importer) scratch() string { return filepath.Join(i.Dir, i.Stateroot, "scratch") }
func (i *importer) repo() string    { return filepath.Join(i.scratch(), "repo") }

// deploy makes the commit bootable. Until here a boot loader knows nothing of the seed; from here on it does, as its
// last choice.
func (i *importer) deploy(ctx context.Context) error {
	kargs, err := i.kargs()
	if err != nil {
		return err
	}
	d, err := i.Host.Deploy(ctx, i.Stateroot, i.booted.commit, kargs)
	if err != nil {
		return programError(err, events.ReasonImportFailed)
	}
	i.result = Result{Deployment: d, Digest: i.remote.Digest.String(), Bytes: i.result.Bytes, Objects: i.result.Objects}
	return nil
}

// verify reads back what will boot, after everything is on the disk.
func (i *importer) verify(ctx context.Context) error {
	if err := i.Host.SyncFS(i.Host.Sysroot()); err != nil {
		return err
	}
	want := i.result.Deployment
	d, err := i.Host.Find(ctx, want.Stateroot, want.Commit, want.Serial)
	if err != nil {
		return err
	}
	if d.Index == 0 {
		return fmt.Errorf("deployment %s became the default", d.ID())
	}
	kargs, err := i.kargs()
	if err != nil {
		return err
	}
	for _, k := range kargs {
		if !slices.Contains(d.Boot.Kargs(), k) {
			return fmt.Errorf("boot entry %s lacks kernel argument %s", d.Boot.File, k)
		}
	}
	i.result.Deployment = d
	return i.Host.CheckBootable(d)
}

// writeRecord keeps what later steps need of the seed. The record is written last, and makes the import complete.
func (i *importer) writeRecord(context.Context) error {
	dir := filepath.Join(i.Dir, i.Stateroot)
	for _, name := range []string{seed.FileContainers, seed.FileClusterInfo} {
		if err := i.Host.WriteFileAtomic(filepath.Join(dir, name), i.small[name], 0o600); err != nil {
			return err
		}
	}
	return i.saveRecord()
}
