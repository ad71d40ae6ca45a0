// Package pullseed is the function that brings the seed onto the node: it commands the import of the seed image and
// then the pull of the container images that the seed lists, and closes the Prep stage. The work is the node's.
package pullseed

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions/remedy"
)

// Name of the function.
const Name = "pullseed"

// Function implements functions.Handler.
type Function struct{}

// Handle reacts as the table upgrade.Reactions says.
func (Function) Handle(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	say := func(t events.Type, data any) ([]event.Event, error) {
		return []event.Event{events.Caused(e, "functions/"+Name, t, 0, data)}, nil
	}
	command := func(limit time.Duration) events.Command {
		return events.Command{Attempt: s.Attempt, For: s.Booted, NotAfter: events.Recorded(e).Add(limit)}
	}
	switch events.TypeOf(e) {
	case events.TypePrepValidated:
		return say(events.TypeSeedpullRequested, events.SeedpullRequested{
			// The node has not yet reported in this upgrade, so the command is for whatever it runs.
			Command: events.Command{Attempt: s.Attempt, NotAfter: events.Recorded(e).Add(upgrade.SeedpullLimit)},
			Seed:    s.Seed, Stateroot: s.Stateroot(), PullSecretRef: s.Spec.SeedImageRef.PullSecretRef,
		})
	case events.TypeSeedpullCompleted:
		if s.Phase != upgrade.Precache {
			return nil, nil // a late report of an upgrade that was given up
		}
		return say(events.TypePrecacheRequested, events.PrecacheRequested{
			Command: command(upgrade.PrecacheLimit), Stateroot: s.Stateroot(), PullSecretRef: s.Spec.SeedImageRef.PullSecretRef,
		})
	case events.TypePrecacheCompleted:
		if s.Phase != upgrade.Precache || s.New == nil {
			return nil, nil
		}
		return say(events.TypePrepCompleted, events.PrepCompleted{Target: *s.New})
	case events.TypeSeedpullFailed, events.TypePrecacheFailed:
		f, err := events.Decode[events.NodeFailure](e)
		if err != nil {
			return nil, err
		}
		return say(events.TypePrepFailed, events.PrepFailed{Failure: remedy.Of(f.Failure, remedy.AskAgain)})
	case events.TypeDeadlinePassed:
		if s.Phase != upgrade.Seedpull && s.Phase != upgrade.Precache {
			return nil, nil
		}
		return say(events.TypePrepFailed, events.PrepFailed{Failure: events.Failure{
			Reason:  events.ReasonDeadline,
			Message: fmt.Sprintf("%s did not end in the time it is given; the node last reported from stateroot %s", s.Phase, stateroot(s.Booted)),
			Next:    "check that reroot-node runs on the node and reaches the journal, set stage Idle, then ask again",
		}})
	}
	return nil, nil
}

func stateroot(d *events.Deployment) string {
	if d == nil {
		return "(unknown: it has not reported in this history)"
	}
	return d.Stateroot
}
