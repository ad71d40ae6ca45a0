package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// admit takes one message from the inbox: appends it, acts on it, or parks it. What it wakes runs under life, which
// ends with the runtime.
func (r *Runtime) admit(ctx, life context.Context, d journal.Delivery) error {
	if d.Err != nil {
		return r.park(ctx, journal.Parked{Cluster: d.Cluster, Origin: d.Origin, Reason: events.ReasonInvalidEvent, Detail: d.Err.Error(), Raw: d.Raw})
	}
	if _, ours := r.opts.Functions[d.Origin]; ours {
		return r.redrive(ctx, d)
	}
	if def, known := events.Lookup(events.TypeOf(d.Event)); known && def.Kind == events.Ephemeral {
		return r.pass(ctx, life, d)
	}
	h := r.history(d.Cluster)
	for {
		err := r.admitOnce(ctx, h, d)
		if !errors.Is(err, journal.ErrConflict) {
			return err
		}
	}
}

func (r *Runtime) admitOnce(ctx context.Context, h *history, d journal.Delivery) error {
	e := d.Event
	verdict, state, err := h.judge(ctx, e)
	if broken := (*errBroken)(nil); errors.As(err, &broken) {
		return r.refuse(ctx, d, events.ReasonJournalCorrupt, broken)
	}
	switch {
	case err != nil && verdict == ready:
		return err
	case verdict == early:
		return r.awaitTurn(ctx, h, d, err)
	case verdict == wrong:
		return r.refuse(ctx, d, events.ReasonInvalidEvent, err)
	case h.ordinal(e) != 0:
		return nil
	}
	if err := state.Admit(e, d.Origin, r.opts.Clock()); err != nil {
		return r.refuse(ctx, d, reasonOf(err), err)
	}
	err = h.append(ctx, []event.Event{e})
	if lost := (errLost{}); errors.As(err, &lost) {
		return r.refuse(ctx, d, lost.Reason, lost)
	}
	if broken := (*errBroken)(nil); errors.As(err, &broken) {
		return r.refuse(ctx, d, events.ReasonJournalCorrupt, broken)
	}
	return err
}

// judge reads the history to its end and says whether it is the event's turn. An answer that a person gets must not
// come from an old state.
func (h *history) judge(ctx context.Context, e event.Event) (turn, upgrade.State, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, err := h.refresh(ctx); err != nil {
		return ready, h.state, err
	}
	def, _ := events.Lookup(events.TypeOf(e))
	if def.Kind != events.Fact || h.index[identify(e)] != 0 {
		return ready, h.state, nil
	}
	verdict, why := h.facts.turn(e)
	return verdict, h.state, why
}

func (r *Runtime) refuse(ctx context.Context, d journal.Delivery, reason events.Reason, why error) error {
	return r.park(ctx, journal.Parked{Cluster: d.Cluster, Origin: d.Origin, Reason: reason, Detail: why.Error(), Event: &d.Event})
}

func reasonOf(err error) events.Reason {
	if problem := (*events.Problem)(nil); errors.As(err, &problem) {
		return problem.Reason
	}
	if guard := (*upgrade.GuardError)(nil); errors.As(err, &guard) {
		return guard.Reason
	}
	return events.ReasonInvalidEvent
}

// pass acts on what never becomes history: a nudge wakes the functions that wait, a report goes to the progress.
func (r *Runtime) pass(ctx, life context.Context, d journal.Delivery) error {
	e := d.Event
	def, _ := events.Lookup(events.TypeOf(e))
	if problem := events.Validate(e); problem != nil {
		return r.refuse(ctx, d, problem.Reason, problem)
	}
	writer := events.Writer(e.Source())
	if events.Cluster(e) != d.Cluster || upgrade.Origin(writer) != d.Origin || !slices.Contains(def.Writers, writer) {
		return r.refuse(ctx, d, events.ReasonNotAllowed, fmt.Errorf("it was published by %q for %q as %q", d.Origin, d.Cluster, e.Source()))
	}
	if def.Type == events.TypeClusterChanged {
		r.nudge(life, d.Cluster)
		return nil
	}
	return r.store.Report(ctx, e)
}

// redrive lets a function have an event again that was parked because the function had failed on it.
func (r *Runtime) redrive(ctx context.Context, d journal.Delivery) error {
	h := r.history(d.Cluster)
	if _, err := h.head(ctx); err != nil {
		return r.judge(ctx, task{d.Cluster, d.Origin, d.Event.ID()}, d.Event, err)
	}
	n := h.ordinal(d.Event)
	if n == 0 {
		return r.refuse(ctx, d, events.ReasonNotAllowed, fmt.Errorf("%s can be given to %s again only if it is in the history", d.Event.ID(), d.Origin))
	}
	genuine, err := h.event(ctx, n)
	if err != nil {
		return err
	}
	d.Event = genuine
	return r.deliver(ctx, d.Origin, d)
}
