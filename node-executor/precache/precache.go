// Package precache brings the container images that a seed lists into the node's container storage, so that the new root
// starts without a registry.
//
// The storage is containers/storage, the one that CRI-O and podman use; programs that import this package must call
// reexec.Init of containers/storage first in main, for unpacking a layer runs the program again in the layer's root.
//
// An image counts as present when the store holds the digest that the registry has for its pull spec and all of its
// content still matches: manifest, configuration and every layer are read and hashed. The store itself never syncs, so
// after a power cut a layer may be there by name and empty on the disk. Every pull ends in the same check, and the
// file system is synced before a pull is reported.
package precache

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed/registry"
)

// Options says which images to bring where.
type Options struct {
	Images []string // pull specs, with tag or digest; equal ones count once
	Access registry.Access
	Store  Store
	// SignaturePolicy is a containers-policy.json file; empty: every signature state is accepted.
	SignaturePolicy string
	Parallel        int           // pulls at the same time; 0: 4
	Attempts        int           // for each image; 0: 5
	Pause           time.Duration // after the first attempt, doubled after each; 0: 1 s
	Progress        func(Progress)
}

// Progress counts images while they are brought. It is reported by one goroutine at a time.
type Progress struct {
	Total, Pulled, Present, Failed int
}

// Result tells what became of the images: Total = Pulled + Present + len(Failed).
type Result struct {
	Total   int
	Pulled  int
	Present int // by digest, before
	Failed  []Failure
}

// Failure is an image that could not be brought.
type Failure struct {
	Image string
	Err   error
}

// Error says that images are missing.
type Error struct {
	reason events.Reason
	Failed []Failure
}

// Error implements error; it names the first image.
func (e *Error) Error() string {
	first := e.Failed[0]
	more := ""
	if n := len(e.Failed) - 1; n > 0 {
		more = fmt.Sprintf(" (and %d more)", n)
	}
	return fmt.Sprintf("cannot precache %s%s: %v", first.Image, more, first.Err)
}

// Unwrap gives access to the causes.
func (e *Error) Unwrap() []error {
	var all []error
	for _, f := range e.Failed {
		all = append(all, f.Err)
	}
	return all
}

// Reason is the failure's reason in events.
func (e *Error) Reason() events.Reason { return e.reason }

const (
	defaultParallel = 4
	defaultAttempts = 5
	defaultPause    = time.Second
	maxPause        = time.Minute
	maxList         = 16 << 20
)

// ReadList reads a seed's containers.list: one pull spec a line.
func ReadList(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read image list: %w", err)
	}
	defer f.Close()
	var images []string
	lines := bufio.NewScanner(io.LimitReader(f, maxList))
	for lines.Scan() {
		if image := strings.TrimSpace(lines.Text()); image != "" {
			images = append(images, image)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read image list: %w", err)
	}
	return images, nil
}

// Run brings every image. It tries all of them; when some are missing at the end, the error is an [*Error] and the
// result is still complete. A full disk and the end of ctx stop it at once. It may be repeated at any time.
func Run(ctx context.Context, o Options) (Result, error) {
	r, err := newRun(o)
	if err != nil {
		return Result{}, err
	}
	err = r.bringAll(ctx)
	if cerr := r.store.close(); err == nil && cerr != nil {
		err = fmt.Errorf("cannot close the container storage: %w", cerr)
	}
	return r.result, err
}

// run is one call of [Run].
type run struct {
	Options
	store  *store
	mu     sync.Mutex
	result Result
}

func newRun(o Options) (*run, error) {
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Attempts <= 0 {
		o.Attempts = defaultAttempts
	}
	if o.Pause <= 0 {
		o.Pause = defaultPause
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	o.Images = slices.Compact(slices.Sorted(slices.Values(o.Images)))
	s, err := openStore(o)
	if err != nil {
		return nil, fmt.Errorf("cannot open the container storage: %w", err)
	}
	return &run{Options: o, store: s, result: Result{Total: len(o.Images)}}, nil
}

func (r *run) bringAll(ctx context.Context) error {
	r.Progress(Progress{Total: r.result.Total})
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.Parallel)
	for _, image := range r.Images {
		group.Go(func() error {
			present, err := r.bring(ctx, image)
			r.note(image, present, err)
			if full(err) {
				return err // nothing else would fit either
			}
			return nil
		})
	}
	stopped := group.Wait()
	if len(r.result.Failed) == 0 {
		return r.store.sync()
	}
	slices.SortFunc(r.result.Failed, func(a, b Failure) int { return strings.Compare(a.Image, b.Image) })
	if full(stopped) {
		// The others only failed because they were stopped.
		at := slices.IndexFunc(r.result.Failed, func(f Failure) bool { return full(f.Err) })
		first := r.result.Failed[at]
		r.result.Failed = slices.Insert(slices.Delete(r.result.Failed, at, at+1), 0, first)
		return &Error{reason: events.ReasonNoSpace, Failed: r.result.Failed}
	}
	return &Error{reason: events.ReasonPrecacheFailed, Failed: r.result.Failed}
}

func full(err error) bool {
	// A layer is unpacked by a second process, which reports text.
	return errors.Is(err, unix.ENOSPC) || err != nil && strings.Contains(err.Error(), unix.ENOSPC.Error())
}

// note counts what became of an image.
func (r *run) note(image string, present bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		r.result.Failed = append(r.result.Failed, Failure{Image: image, Err: err})
	case present:
		r.result.Present++
	default:
		r.result.Pulled++
	}
	r.Progress(Progress{
		Total: r.result.Total, Pulled: r.result.Pulled, Present: r.result.Present, Failed: len(r.result.Failed),
	})
}

// bring tries until the image is in the store, and reports whether it was there before.
func (r *run) bring(ctx context.Context, image string) (present bool, err error) {
	pause := r.Pause
	for attempt := 1; ; attempt++ {
		present, err = r.store.bring(ctx, image)
		if err == nil || attempt == r.Attempts || !worthRetrying(err) {
			return present, err
		}
		// Up to a quarter more, so that parallel pulls do not come back together.
		wait := time.NewTimer(pause + time.Duration(rand.Int64N(int64(pause/4)+1)))
		select {
		case <-ctx.Done():
			wait.Stop()
			return false, context.Cause(ctx)
		case <-wait.C:
		}
		pause = min(2*pause, maxPause)
	}
}

// worthRetrying is false for what another attempt cannot change.
func worthRetrying(err error) bool {
	return !errors.Is(err, registry.ErrUnauthorized) && !errors.Is(err, registry.ErrNotFound) &&
		!errors.Is(err, errPullSpec) && !errors.Is(err, context.Canceled) && !full(err)
}
