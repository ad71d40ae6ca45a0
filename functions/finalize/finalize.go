// Package finalize is the function that returns a cluster to Idle, after success, after a rollback, or by aborting
// before the pivot: it commands the node to remove what the upgrade left, and closes the upgrade.
package finalize

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions/remedy"
)

// Name of the function.
const Name = "finalize"

// Function implements functions.Handler.
type Function struct{}

// Handle reacts as the table upgrade.Reactions says.
func (Function) Handle(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	say := func(t events.Type, data any) ([]event.Event, error) {
		return []event.Event{events.Caused(e, "functions/"+Name, t, 0, data)}, nil
	}
	cleaning := s.Phase == upgrade.Finalizing || s.Phase == upgrade.Aborting
	if !cleaning {
		return nil, nil
	}
	switch events.TypeOf(e) {
	case events.TypeFinalizeStarted, events.TypeAbortStarted:
		return say(events.TypeCleanupRequested, events.CleanupRequested{
			Command: events.Command{Attempt: s.Attempt, For: s.Booted, NotAfter: events.Recorded(e).Add(upgrade.CleanupLimit)},
			Remove:  s.Removable(),
		})
	case events.TypeCleanupCompleted:
		return say(events.TypeIdleReached, events.IdleReached{})
	case events.TypeCleanupFailed:
		f, err := events.Decode[events.NodeFailure](e)
		if err != nil {
			return nil, err
		}
		return say(events.TypeIdleFailed, events.IdleFailed{Failure: remedy.Of(f.Failure, remedy.CleanUpAgain)})
	case events.TypeDeadlinePassed:
		return say(events.TypeIdleFailed, events.IdleFailed{Failure: events.Failure{
			Reason: events.ReasonDeadline, Message: "the node did not report that it has cleaned up",
			Next: "check that reroot-node runs on the node and reaches the journal, then set stage Idle again",
		}})
	}
	return nil, nil
}
