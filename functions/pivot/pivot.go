// Package pivot is the function that sends the node into the new root. It states three commands in one batch: the
// node stores all of them before it reboots, so that it needs neither hub nor network to finish.
package pivot

import (
	"context"
	"fmt"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
)

// Name of the function.
const Name = "pivot"

// Function implements functions.Handler.
type Function struct{}

// Handle reacts as the table upgrade.Reactions says.
func (Function) Handle(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	if events.TypeOf(e) != events.TypeBackupCompleted {
		return nil, nil
	}
	if s.Old == nil || s.New == nil {
		return nil, &functions.Fail{Reason: events.ReasonInternal, Err: fmt.Errorf("cannot pivot: backups are complete, but no deployment is known")}
	}
	// After the pivot the node alone decides how long it may take: until then its commands stay valid.
	until := events.Recorded(e).Add(s.Spec.Budget() + upgrade.OverdueGrace)
	say := func(t events.Type, data any) event.Event { return events.Caused(e, "functions/"+Name, t, 0, data) }
	inNew := events.Command{Attempt: s.Attempt, For: s.New, NotAfter: until}
	return []event.Event{
		say(events.TypePivotRequested, events.PivotRequested{
			Command: events.Command{Attempt: s.Attempt, For: s.Old, NotAfter: until},
			Target:  *s.New, BudgetSeconds: int(s.Spec.Budget().Seconds()),
			Carry: slices.Concat(s.Spec.OADPContent, s.Spec.ExtraManifests),
		}),
		say(events.TypeCryptoregenRequested, events.CryptoregenRequested{Command: inNew}),
		say(events.TypeReconfigureRequested, events.ReconfigureRequested{Command: inNew}),
	}, nil
}
