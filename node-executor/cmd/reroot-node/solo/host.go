// Package solo hosts the journal and the functions in the executor's process: what a cluster needs whose node is all
// there is. The executor does not depend on them. Between two roots it has to finish or to go back whatever becomes of
// the journal, so [Host] stands between them, as the executor's link, and is in one of three states:
//
//	served     the journal is sound, the functions run, commands and facts pass
//	away       it could not be opened, or failed since, by a full disk for example: it is opened again every few
//	           seconds; facts wait in the executor's outbox, the executor works on by its ledger
//	held       it is damaged, or it lacks what the ledger says it had: who asks is shown it as it is, but nothing is
//	           decided by it and nothing added. The executor still ends what it has begun; a new root that nobody
//	           can confirm is given up by the watchdog
package solo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/node-executor/executor/link"
)

// Host is the journal in this process, with its functions. It implements the executor's link. Fill in the exported
// fields, all of which are needed, then call Run.
type Host struct {
	Cluster string
	Dir     string // of the journal; one process at a time
	Port    int    // on the loopback interface; 0 means nowhere
	// Seen is the newest event of the journal that the executor's ledger knows of, zero when there is none.
	Seen func() journal.Head
	// Functions hosts the functions on an open journal until ctx ends, which is no error.
	Functions func(ctx context.Context, store journal.Store) error
	// Pause is how long a journal that failed is left alone, and how often an open one is asked how it is.
	Pause time.Duration
	Log   *slog.Logger

	mu    sync.Mutex
	store journal.Store   // nil while none is served
	life  context.Context // of the store
	came  chan struct{}   // closed while one is served
}

// ackWait is how long what a killed process was at is left alone. Nobody else delivers from this journal, so it is short.
const ackWait = 3 * time.Second

// Run hosts journal and functions, again after they failed, until ctx ends.
func (h *Host) Run(ctx context.Context) error {
	for {
		err := h.host(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h.Log.Error("journal or functions ended", "reason", reason(err), "error", err, "again_in", h.Pause.String())
		if err := h.pause(ctx); err != nil {
			return err
		}
	}
}

// reason is the reason why a journal is away.
func reason(err error) events.Reason {
	if errors.Is(err, journal.ErrNoSpace) {
		return events.ReasonNoSpace
	}
	return events.ReasonInternal
}

// host opens the journal and serves it until it fails.
func (h *Host) host(ctx context.Context) (err error) {
	store, err := journal.OpenEmbedded(ctx, h.Dir, journal.EmbeddedOptions{Options: journal.Options{AckWait: ackWait}, Port: h.Port, Log: h.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var damage *DamageError
	if err := Check(ctx, store, h.Cluster, h.Seen()); errors.As(err, &damage) {
		h.Log.Error("holding the journal: nothing is decided by it until it is put right and this program started again",
			"reason", events.ReasonJournalCorrupt, "error", err, "dir", h.Dir)
		<-ctx.Done()
		return ctx.Err()
	} else if err != nil {
		return err
	}
	g, life := errgroup.WithContext(ctx)
	h.open(life, store)
	defer h.close()
	g.Go(func() error { return h.Functions(life, store) })
	g.Go(func() error { return h.watch(life, store) })
	return g.Wait()
}

// watch asks the store how it is. A server whose write failed keeps on answering readers, and those who write get no
// answer; nothing else would ever tell.
func (h *Host) watch(ctx context.Context, store *journal.Embedded) error {
	for {
		if err := store.Health(); err != nil {
			return err
		}
		if h.pause(ctx) != nil {
			return nil
		}
	}
}

func (h *Host) open(life context.Context, store journal.Store) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store, h.life = store, life
	close(h.coming())
}

func (h *Host) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store, h.came = nil, nil
}

// coming is the channel that is closed while a store is served. The caller holds the lock.
func (h *Host) coming() chan struct{} {
	if h.came == nil {
		h.came = make(chan struct{})
	}
	return h.came
}

// local is the link to the journal that is served; came is closed while there is one.
func (h *Host) local() (l link.Local, life context.Context, came <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return link.Local{Cluster: h.Cluster, Store: h.store}, h.life, h.coming()
}

// Receive implements the executor's Commands: it goes on with the next journal when one ends.
func (h *Host) Receive(ctx context.Context, handle func(ctx context.Context, e event.Event, hash string) error) error {
	for {
		_, _, came := h.local()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-came:
		}
		if err := h.receive(ctx, handle); ctx.Err() == nil {
			h.Log.Warn("cannot receive commands", "error", err, "again_in", h.Pause.String())
		}
		if err := h.pause(ctx); err != nil {
			return err
		}
	}
}

func (h *Host) receive(ctx context.Context, handle func(context.Context, event.Event, string) error) error {
	l, life, _ := h.local()
	if l.Store == nil {
		return ErrAway
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	return l.Receive(ctx, handle)
}

// ErrAway says that no journal is served at present.
var ErrAway = errors.New("the journal is away")

// Submit implements the executor's Facts. The outbox tries again.
func (h *Host) Submit(ctx context.Context, fact event.Event) error {
	l, _, _ := h.local()
	if l.Store == nil {
		return fmt.Errorf("cannot submit fact %s: %w", fact.ID(), ErrAway)
	}
	return l.Submit(ctx, fact)
}

// Report implements the executor's Progress.
func (h *Host) Report(ctx context.Context, e event.Event) error {
	l, _, _ := h.local()
	if l.Store == nil {
		return ErrAway
	}
	return l.Report(ctx, e)
}

func (h *Host) pause(ctx context.Context) error {
	timer := time.NewTimer(h.Pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
