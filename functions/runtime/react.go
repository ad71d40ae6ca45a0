package runtime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
)

// deliver gives a function an event of the history. nil means that the delivery is done with: decided, dropped or
// parked. A [journal.Later] means that the function waits.
func (r *Runtime) deliver(ctx context.Context, function string, d journal.Delivery) error {
	if d.Err != nil {
		return r.park(ctx, journal.Parked{Cluster: d.Cluster, Origin: function, Reason: events.ReasonJournalCorrupt, Detail: d.Err.Error(), Raw: d.Raw})
	}
	t := task{d.Cluster, function, d.Event.ID()}
	if !r.begin(t, d.Event) {
		return &journal.Later{After: busyPause}
	}
	err := r.work(ctx, t, d.Event)
	if nudged := r.end(t, err); nudged && err != nil {
		return &journal.Later{After: nudgePause}
	}
	return err
}

// work runs a function until its answer is in the history or cannot be.
func (r *Runtime) work(ctx context.Context, t task, e event.Event) error {
	for {
		err := r.react(ctx, t.function, e)
		if errors.Is(err, journal.ErrConflict) {
			continue // the history has been read on; the function decides again
		}
		return r.judge(ctx, t, e, err)
	}
}

// react runs a function once and appends what it answers.
func (r *Runtime) react(ctx context.Context, function string, e event.Event) error {
	h := r.history(events.Cluster(e))
	state, err := h.at(ctx, events.Sequence(e))
	if err != nil {
		return err
	}
	if h.ordinal(e) != state.Sequence {
		return &functions.Fail{Reason: events.ReasonInvalidEvent, Err: fmt.Errorf("event %d of the history is another one", state.Sequence)}
	}
	may, observer := emits(function, events.TypeOf(e))
	if !observer && !open(may, e, h.known()) {
		head, err := h.head(ctx)
		if err != nil {
			return err
		}
		if !open(may, e, head) {
			r.log.Debug("event is past", "cluster", h.cluster, "function", function, "event_id", e.ID(), "type", events.TypeOf(e).Short())
			return nil
		}
	}
	answers, err := call(ctx, r.opts.Functions[function], state, e)
	if err != nil {
		return err
	}
	for _, a := range answers {
		if err := check(may, e, a); err != nil {
			return &functions.Fail{Reason: events.ReasonInternal, Err: fmt.Errorf("function %s answers %s: %w", function, a.Type(), err)}
		}
	}
	err = h.append(ctx, answers)
	if lost := (errLost{}); errors.As(err, &lost) {
		r.log.Debug("decision lost a race", "cluster", h.cluster, "function", function, "event_id", e.ID(), "detail", lost.Error())
		return nil
	}
	return err
}

// emits are the types that a function may emit because of an event of type on. An observer is in no reaction.
func emits(function string, on events.Type) (may []events.Type, observer bool) {
	observer = true
	for _, r := range upgrade.Reactions {
		if r.Function == function {
			if observer = false; r.On == on {
				return r.Emits, false
			}
		}
	}
	return nil, observer
}

// open says whether the state allows any of the types because of e.
func open(types []events.Type, e event.Event, s upgrade.State) bool {
	return e.Subject() == s.Upgrade && slices.ContainsFunc(types, func(t events.Type) bool {
		return slices.Contains(upgrade.Rules[t].From, s.Phase)
	})
}

// check holds what a function answers against the table of reactions and the schemas.
func check(may []events.Type, cause, answer event.Event) error {
	switch {
	case !slices.Contains(may, events.TypeOf(answer)):
		return fmt.Errorf("because of %s it may only answer %v", events.TypeOf(cause).Short(), may)
	case events.Cluster(answer) != events.Cluster(cause) || answer.Subject() != cause.Subject():
		return errors.New("it is about another cluster or upgrade")
	}
	if problem := events.Validate(answer); problem != nil {
		return problem
	}
	return nil
}

// callLimit bounds one call of a handler. A function never waits; one that hangs would hold up its cluster's events.
const callLimit = 5 * time.Minute

// call runs a handler; a panic in it becomes an error.
func call(ctx context.Context, handler functions.Handler, s upgrade.State, e event.Event) (answers []event.Event, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			answers, err = nil, fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return handler.Handle(ctx, s, e.Clone())
}

// judge turns what came of a run into what becomes of the delivery.
func (r *Runtime) judge(ctx context.Context, t task, e event.Event, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if later := (*journal.Later)(nil); errors.As(err, &later) {
		return err
	}
	if retry := (*functions.Retry)(nil); errors.As(err, &retry) {
		return r.wait(ctx, t, e, retry)
	}
	if fail := (*functions.Fail)(nil); errors.As(err, &fail) {
		return r.parkEvent(ctx, t.function, e, fail.Reason, fail)
	}
	if broken := (*errBroken)(nil); errors.As(err, &broken) {
		return r.parkEvent(ctx, t.function, e, events.ReasonJournalCorrupt, broken)
	}
	n := r.failed(t)
	r.log.Warn("function failed", "cluster", t.cluster, "function", t.function, "event_id", t.id, "attempt", n, "error", err.Error())
	if n < r.opts.Attempts {
		return err
	}
	return r.parkEvent(ctx, t.function, e, events.ReasonHandlerFailed, err)
}
