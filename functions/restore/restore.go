// Package restore is the function that makes the cluster the user's again in the new root: it waits until the cluster
// has settled, applies extra manifests, has Velero restore what was backed up, wave by wave, and, when the cluster has
// settled again, has the node confirm the new root. What fails here fails the upgrade, and a rollback follows.
//
// The ConfigMaps that say what to apply and restore are on the new root's API as they were on the old one's: the node
// carries them, because what they hold may be secret and never travels in an event.
package restore

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/remedy"
)

// Name of the function.
const Name = "restore"

// poll is how long to wait for something on the cluster; a nudge from the cluster source ends it earlier.
const poll = 500 * time.Millisecond

// Function implements functions.Handler.
type Function struct{ Cluster *cluster.Client }

// Handle reacts as the table upgrade.Reactions says.
func (f Function) Handle(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	say := func(t events.Type, data any) ([]event.Event, error) {
		return []event.Event{events.Caused(e, "functions/"+Name, t, 0, data)}, nil
	}
	switch events.TypeOf(e) {
	case events.TypeReconfigureCompleted:
		if s.Phase != upgrade.Manifests {
			return nil, nil
		}
		applied, failed, err := f.manifests(ctx, s)
		switch {
		case err != nil:
			return nil, err
		case failed != nil:
			return say(events.TypeManifestsFailed, *failed)
		}
		return say(events.TypeManifestsApplied, events.ManifestsApplied{Applied: applied})
	case events.TypeManifestsApplied:
		if s.Phase != upgrade.Restore {
			return nil, nil
		}
		restores, failed, err := f.restores(ctx, s)
		switch {
		case err != nil:
			return nil, err
		case failed != nil:
			return say(events.TypeRestoreFailed, *failed)
		}
		return say(events.TypeRestoreCompleted, events.RestoreCompleted{Restores: restores})
	case events.TypeRestoreCompleted:
		// What was applied and restored may have set operators in motion: a root on which they do not come to rest is not
		// kept. The watchdog bounds the wait.
		if err := f.Cluster.Settled(ctx, s); err != nil {
			return nil, err
		}
		return say(events.TypeConfirmRequested, events.ConfirmRequested{Command: events.Command{
			Attempt: s.Attempt, For: s.New, NotAfter: events.Recorded(e).Add(s.Spec.Budget() + upgrade.OverdueGrace)}})
	case events.TypeConfirmCompleted:
		if s.Phase != upgrade.Confirmed {
			return nil, nil
		}
		return say(events.TypeUpgradeCompleted, events.UpgradeCompleted{Booted: *s.Booted})
	case events.TypeManifestsFailed, events.TypeRestoreFailed, events.TypeConfirmFailed:
		f, err := failure(e)
		if err != nil {
			return nil, err
		}
		return say(events.TypeUpgradeFailed, events.UpgradeFailed{Failure: f, AfterPivot: true})
	}
	return nil, nil
}

// failure is that of any *.failed event that this function reacts to, with what to do about it.
func failure(e event.Event) (events.Failure, error) {
	switch events.TypeOf(e) {
	case events.TypeManifestsFailed:
		f, err := events.Decode[events.ManifestsFailed](e)
		return f.Failure, err
	case events.TypeRestoreFailed:
		f, err := events.Decode[events.RestoreFailed](e)
		return f.Failure, err
	case events.TypeConfirmFailed:
		f, err := events.Decode[events.NodeFailure](e)
		return remedy.Of(f.Failure, remedy.AskAfterRollback), err
	}
	return events.Failure{}, fmt.Errorf("cannot read a failure out of %s", e.Type())
}
