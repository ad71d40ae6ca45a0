package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// glance is how often the list of parked events is looked at; it cannot be watched.
const glance = 200 * time.Millisecond

// ask submits a request and waits for its answer: the first record of the history for which answers is true, or a
// [Failure] when the request was parked. What it cannot do is named by cannot.
func (a *app) ask(ctx context.Context, store journal.Store, cannot string, e event.Event, answers func(event.Event) bool) (journal.Record, error) {
	before, err := parkedAs(ctx, store, e)
	if err != nil {
		return journal.Record{}, err
	}
	if err := store.Submit(ctx, "users", e); err != nil {
		return journal.Record{}, err
	}
	limited, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	r, err := answer(limited, store, e, before, answers)
	parked, damage := (*refusal)(nil), (*events.ChainError)(nil)
	switch {
	case errors.As(err, &parked):
		return r, &Failure{Code: Refused, Cannot: cannot, Because: fmt.Sprintf("%s: %s", parked.Reason, parked.Detail), Do: advice(parked.Reason)}
	case errors.As(err, &damage):
		return r, err
	case err != nil && limited.Err() != nil && ctx.Err() == nil:
		return r, &Failure{Code: TimedOut, Cannot: cannot, Because: fmt.Sprintf("nothing has answered within %s", a.patience),
			Do: "check that reroot-functions or reroot-node with an embedded journal runs; the request " + e.ID() + " stays in the inbox until then"}
	}
	return r, err
}

// refusal is a request that was parked.
type refusal struct{ journal.Parked }

func (r *refusal) Error() string { return string(r.Reason) + ": " + r.Detail }

// answer waits for the record that answers e, or for e in the list of parked events.
func answer(ctx context.Context, store journal.Store, e event.Event, before time.Time, answers func(event.Event) bool) (journal.Record, error) {
	ctx, cancel := context.WithCancel(ctx)
	type found struct {
		record journal.Record
		err    error
	}
	result := make(chan found, 1)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() {
		for r, err := range store.Watch(ctx, events.Cluster(e), 1) {
			if err != nil || answers(r.Event) {
				result <- found{r, err}
				return
			}
		}
	})
	look := time.NewTicker(glance)
	defer look.Stop()
	var broken error
	for {
		select {
		case f := <-result:
			if damage := (*events.ChainError)(nil); errors.As(f.err, &damage) {
				broken, result = f.err, nil // the runtime refuses the request; nobody else may answer it
				continue
			}
			return f.record, f.err
		case <-ctx.Done():
			return journal.Record{}, cmp.Or(broken, ctx.Err())
		case <-look.C:
			p, err := parked(ctx, store, e)
			if err != nil {
				return journal.Record{}, err
			}
			if p != nil && p.At.After(before) {
				return journal.Record{}, &refusal{*p}
			}
		}
	}
}

// parkedAs is when the same request was parked before, or the zero time. A request that was refused yesterday may be
// made again today.
func parkedAs(ctx context.Context, store journal.Dead, e event.Event) (time.Time, error) {
	p, err := parked(ctx, store, e)
	if p == nil {
		return time.Time{}, err
	}
	return p.At, err
}

// parked is the parked event that is the same as e, by whomever it was parked.
func parked(ctx context.Context, store journal.Dead, e event.Event) (newest *journal.Parked, err error) {
	all, err := store.Parked(ctx, events.Cluster(e))
	for _, p := range all {
		if p.Event != nil && p.Event.ID() == e.ID() && p.Event.Source() == e.Source() && (newest == nil || p.At.After(newest.At)) {
			newest = &p
		}
	}
	return newest, err
}

// writer is the writer of the user's events.
func (a *app) writer() string {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune(allowed, r) {
			return r
		}
		return '-'
	}, a.user)
	if name == "" {
		name = "unknown"
	}
	return "users/" + name[:min(len(name), 64)]
}
