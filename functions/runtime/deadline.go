package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// keepDeadline sets a cluster's timer by the newest state, after each event. Deadlines are nowhere stored but in the
// timer: the fold says what is waited for and until when. Being a subscription like any other, it catches up by itself
// with what was appended while it did not run.
func (r *Runtime) keepDeadline(ctx context.Context, d journal.Delivery) error {
	h := r.history(d.Cluster)
	if _, err := h.at(ctx, events.Sequence(d.Event)); err != nil {
		if broken := (*errBroken)(nil); errors.As(err, &broken) {
			return nil // what arrives for this cluster is parked; there is nothing to wait for
		}
		return err
	}
	return r.setTimer(ctx, h, h.known())
}

// setTimer sets the timer to the earliest wait that has not been answered, if it is another one than before.
func (r *Runtime) setTimer(ctx context.Context, h *history, s upgrade.State) error {
	var at time.Time
	for _, w := range s.Waits() {
		if h.ordinal(expired(s, w)) == 0 && (at.IsZero() || w.Until.Before(at)) {
			at = w.Until
		}
	}
	h.mu.Lock()
	same := at.Equal(h.timer)
	h.mu.Unlock()
	if at.IsZero() || same {
		return nil
	}
	if err := r.store.Set(ctx, h.cluster, at); err != nil {
		return err
	}
	h.mu.Lock()
	h.timer = at
	h.mu.Unlock()
	return nil
}

// due answers a timer. The timer is only a hint: what counts is what the history says now.
func (r *Runtime) due(ctx context.Context, cluster string) error {
	h := r.history(cluster)
	for {
		s, err := h.head(ctx)
		if broken := (*errBroken)(nil); errors.As(err, &broken) {
			return nil
		}
		if err != nil {
			return err
		}
		h.mu.Lock()
		h.timer = time.Time{}
		h.mu.Unlock()
		for _, w := range s.Waits() {
			if w.Until.After(r.opts.Clock()) {
				continue
			}
			err = errors.Join(err, h.append(ctx, []event.Event{expired(s, w)}))
		}
		switch lost := (errLost{}); {
		case errors.Is(err, journal.ErrConflict):
			continue
		case errors.As(err, &lost):
			return nil
		case err != nil:
			return err
		}
		return r.setTimer(ctx, h, h.known())
	}
}

// expired is the event that says that a wait took too long. Where the node may be between two roots it is an alert: the
// fold refuses anything else there. Its id is a function of the event that began the wait, so
// that it can be said only once.
func expired(s upgrade.State, w upgrade.Wait) event.Event {
	t, data := events.TypeDeadlinePassed, any(events.DeadlinePassed{Wait: w.Name(), Until: w.Until})
	if w.Alert {
		t, data = events.TypeNodeOverdue, events.Overdue{Wait: w.Name(), Since: w.Since}
	}
	e := events.New(t, events.DerivedID(s.PhaseCause, "runtime/"+w.Name(), t, 0), s.Cluster, "runtime", s.Upgrade, data)
	e.SetExtension(events.ExtCausation, s.PhaseCause)
	return e
}
