package runtime

import (
	"context"
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/functions"
)

const (
	// busyPause is when a delivery comes again whose task is just being worked on because of a nudge.
	busyPause = time.Second
	// nudgePause is when a task is called again that was nudged while it ran.
	nudgePause = 50 * time.Millisecond
	// leastPause keeps a function that wants to be called again at once from spinning.
	leastPause = 10 * time.Millisecond
)

// waiter is a task that runs, or that asked to be called again.
type waiter struct {
	event  event.Event
	busy   bool
	nudged bool // while it was busy: what it saw may be old
}

// begin claims a task; false means that it is being worked on.
func (r *Runtime) begin(t task, e event.Event) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiting[t]
	if w == nil {
		w = &waiter{event: e}
		r.waiting[t] = w
	}
	if w.busy {
		return false
	}
	w.busy, w.nudged = true, false
	return true
}

// end releases a task; it stays known while it waits.
func (r *Runtime) end(t task, err error) (nudged bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.waiting[t]
	w.busy = false
	if later := (*journal.Later)(nil); !errors.As(err, &later) {
		delete(r.waiting, t)
	}
	if err == nil {
		delete(r.failures, t)
	}
	return w.nudged
}

// failed counts a failure of a task.
func (r *Runtime) failed(t task) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures[t]++
	return r.failures[t]
}

// wait shows what a function waits for and asks for the event again.
func (r *Runtime) wait(ctx context.Context, t task, e event.Event, retry *functions.Retry) error {
	report := events.Caused(e, "runtime", events.TypeStepProgressed, 0, events.StepProgressed{
		Of: t.function, Step: events.TypeOf(e).Short(), State: events.StepWaiting, Detail: retry.Reason})
	if err := r.store.Report(ctx, report); err != nil {
		return err
	}
	return &journal.Later{After: max(retry.After, leastPause)}
}

// nudge wakes the tasks of a cluster that wait in this process; it is a short cut, not a promise. They still get their delivery when it is due, and find then that
// there is nothing left to do.
func (r *Runtime) nudge(ctx context.Context, cluster string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t, w := range r.waiting {
		switch {
		case t.cluster != cluster:
		case w.busy:
			w.nudged = true
		default:
			w.busy = true
			r.running.Go(func() { r.rework(ctx, t, w.event) })
		}
	}
}

// rework runs a task that was woken, again if it was nudged meanwhile.
func (r *Runtime) rework(ctx context.Context, t task, e event.Event) {
	for {
		err := r.work(ctx, t, e)
		if !r.end(t, err) || err == nil || ctx.Err() != nil || !r.begin(t, e) {
			return
		}
	}
}
