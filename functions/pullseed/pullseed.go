// Package pullseed is the function that brings the seed onto the node: it commands the import of the seed image and
// then the pull of the container images that the seed lists, and closes the Prep stage. The work is the node's.
package pullseed

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
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
		f.Next = cmp.Or(f.Next, remedies[f.Reason], "see what journalctl -u reroot-node says on the node") + ", set stage Idle, then ask again"
		return say(events.TypePrepFailed, events.PrepFailed{Failure: f.Failure})
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

// remedies are what a person can do about a failure that the node reports.
var remedies = map[events.Reason]string{
	events.ReasonSeedUnreachable:   "check the registry, and the node's DNS and proxy",
	events.ReasonSeedUnauthorized:  "put credentials for the registry into the pull secret",
	events.ReasonSeedNotFound:      "push the seed image again: it has been removed from the registry",
	events.ReasonSeedCorrupt:       "push the seed image again",
	events.ReasonSeedUnsafe:        "do not use this seed image: make another from a cluster that you trust",
	events.ReasonPullSecretMissing: "create the pull secret",
	events.ReasonNoSpace:           "make room on the node's disk",
	events.ReasonPrecacheFailed:    "make the seed's container images available in their registries",
	events.ReasonCommandRefused:    "check that no earlier upgrade of the node is under way",
}

func stateroot(d *events.Deployment) string {
	if d == nil {
		return "(unknown: it has not reported in this history)"
	}
	return d.Stateroot
}
