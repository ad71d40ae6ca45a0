package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/oklog/run"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
)

// Options of [New].
type Options struct {
	Log   *slog.Logger     // nil discards
	Clock func() time.Time // what is now for expiry and deadlines; nil means [time.Now]
	// Functions to host, by name. The names are those of [upgrade.Reactions]; another name is one that observes: it
	// gets every event and may emit none.
	Functions map[string]functions.Handler
	// Attempts that an untyped error or a panic gets before its event is parked; 0 means 5.
	Attempts int
}

// Runtime hosts functions over one store. Make it with [New].
type Runtime struct {
	store journal.Store
	opts  Options
	log   *slog.Logger

	mu        sync.Mutex
	histories map[string]*history
	failures  map[task]int
	waiting   map[task]*waiter
	running   sync.WaitGroup // what nudges have woken
}

// task is one function's work on one event.
type task struct{ cluster, function, id string }

// New returns a runtime; [Runtime.Run] runs it.
func New(store journal.Store, opts Options) *Runtime {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Attempts == 0 {
		opts.Attempts = 5
	}
	return &Runtime{store: store, opts: opts, log: opts.Log,
		histories: map[string]*history{}, failures: map[task]int{}, waiting: map[task]*waiter{}}
}

// Run admits, reacts and keeps deadlines until ctx ends or a part fails. When it returns no goroutine is left. It
// returns nil when ctx ended.
func (r *Runtime) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer r.running.Wait()
	defer cancel()
	var g run.Group
	actor := func(f func(context.Context) error) {
		actx, stop := context.WithCancel(ctx)
		g.Add(func() error { return f(actx) }, func(error) { stop() })
	}
	actor(func(ctx context.Context) error {
		return r.store.Receive(ctx, "admit", func(hctx context.Context, d journal.Delivery) error { return r.admit(hctx, ctx, d) })
	})
	actor(func(ctx context.Context) error { return r.store.Subscribe(ctx, "deadlines", nil, r.keepDeadline) })
	actor(func(ctx context.Context) error { return r.store.Due(ctx, r.due) })
	for _, name := range slices.Sorted(maps.Keys(r.opts.Functions)) {
		actor(func(ctx context.Context) error {
			return r.store.Subscribe(ctx, name, upgrade.Subscriptions(name), func(ctx context.Context, d journal.Delivery) error {
				return r.deliver(ctx, name, d)
			})
		})
	}
	err := g.Run()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("cannot run on: %w", err)
}

func (r *Runtime) history(cluster string) *history {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.histories[cluster]
	if h == nil {
		h = newHistory(cluster, r.store)
		r.histories[cluster] = h
	}
	return h
}

// park keeps an event that is not admitted or failed for good, for a person to look at and to redrive.
func (r *Runtime) park(ctx context.Context, p journal.Parked) error {
	id := ""
	if p.Event != nil {
		id = p.Event.ID()
	}
	if err := r.store.Park(ctx, p); err != nil {
		return err
	}
	r.log.Warn("event parked", "cluster", p.Cluster, "origin", p.Origin, "reason", p.Reason, "detail", p.Detail, "event_id", id)
	return nil
}

func (r *Runtime) parkEvent(ctx context.Context, origin string, e event.Event, reason events.Reason, detail error) error {
	return r.park(ctx, journal.Parked{Cluster: events.Cluster(e), Origin: origin, Reason: reason, Detail: detail.Error(), Event: &e})
}
