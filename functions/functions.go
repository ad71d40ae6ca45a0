// Package functions says what a function is: a small handler that reacts to one event of a cluster's history and
// states what follows from it. Each lives in a folder of its own; package runtime hosts them.
//
// A handler never waits. What takes time (a Velero backup, an import on the node) ends in an event or, where the
// outside world has no events, in [Retry]: the runtime calls again later, or at once when the cluster changed. It is
// called twice, late and after a crash: whatever it does must be harmless the second time, and because the ids of
// what it returns are derived from the event it reacts to, the history ends equal.
package functions

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// Handler is a function. State is the fold of the history up to and including e. The events that it returns are
// appended together, all or none, and only if the history still allows them.
type Handler interface {
	Handle(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error)
}

// HandlerFunc lets an ordinary function be a [Handler].
type HandlerFunc func(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error)

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	return f(ctx, s, e)
}

// Retry asks to be called again with the same event. Reason is shown as the step's progress: say what is awaited.
type Retry struct {
	After  time.Duration
	Reason string
}

func (r *Retry) Error() string { return fmt.Sprintf("%s; again in %s", r.Reason, r.After) }

// Fail says that no repetition will help. The runtime parks the event with the reason; the history stays as it is
// until a person redrives or aborts. A failure that the history has an event for is returned as that event instead.
type Fail struct {
	Reason events.Reason
	Err    error
}

func (f *Fail) Error() string { return string(f.Reason) + ": " + f.Err.Error() }
func (f *Fail) Unwrap() error { return f.Err }
