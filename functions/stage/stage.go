// Package stage is the function that moves an upgrade from one stage to the next: it answers every request for a
// stage, starts what was asked for from the outset (upgrade.requested's through), and closes a stage that failed
// before the pivot. It has no dependencies: everything it needs is in the history.
package stage

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions/remedy"
)

// Name of the function.
const Name = "stage"

// Function implements functions.Handler.
type Function struct{}

// Handle reacts as the table upgrade.Reactions says.
func (Function) Handle(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	say := func(t events.Type, data any) ([]event.Event, error) {
		return []event.Event{events.Caused(e, "functions/"+Name, t, 0, data)}, nil
	}
	switch events.TypeOf(e) {
	case events.TypeUpgradeRequested:
		return say(events.TypePrepStarted, events.PrepStarted{Attempt: s.Attempt + 1})
	case events.TypeStageRequested:
		req, err := events.Decode[events.StageRequested](e)
		if err != nil {
			return nil, err
		}
		return say(answer(s, req.Stage))
	case events.TypePrepCompleted:
		if s.Through == events.StageUpgrade || s.Through == events.StageFinalize {
			return say(events.TypeUpgradeStarted, events.UpgradeStarted{})
		}
	case events.TypeUpgradeCompleted:
		if s.Through == events.StageFinalize {
			return say(events.TypeFinalizeStarted, events.FinalizeStarted{})
		}
	case events.TypeBackupFailed, events.TypePivotFailed:
		f, err := failure(e)
		if err != nil {
			return nil, err
		}
		return say(events.TypeUpgradeFailed, events.UpgradeFailed{Failure: f})
	}
	return nil, nil
}

// answer is the event that a request for a stage leads to.
func answer(s upgrade.State, want events.Stage) (events.Type, any) {
	next := s.Phase.ValidNextStages()
	if !contains(next, want) {
		return events.TypeStageRejected, rejection(s, want, next)
	}
	switch want {
	case events.StageUpgrade:
		return events.TypeUpgradeStarted, events.UpgradeStarted{}
	case events.StageRollback:
		return events.TypeRollbackStarted, events.RollbackStarted{Trigger: events.TriggerUser}
	case events.StageIdle:
		if s.Pivots > 0 && s.Phase != upgrade.UpgradeFailed {
			return events.TypeFinalizeStarted, events.FinalizeStarted{}
		}
		return events.TypeAbortStarted, events.AbortStarted{}
	}
	// Prep: the stage is valid, but what to install is named by upgrade.requested, not by a bare request for it.
	return events.TypeStageRejected, rejection(s, want, next)
}

func rejection(s upgrade.State, want events.Stage, next []events.Stage) events.StageRejected {
	r := events.StageRejected{Stage: want, Reason: events.ReasonIllegalTransition, ValidNextStages: next}
	switch {
	case s.Phase.Dark():
		r.Reason = events.ReasonNodeDark
		r.Message = "the node is between two roots and answers when it has booted"
	case want == events.StagePrep && s.Phase == upgrade.Idle:
		r.Message = "Prep begins with upgrade.requested, which says what to install"
	default:
		r.Message = fmt.Sprintf("stage %s cannot follow phase %s", want, s.Phase)
	}
	return r
}

// failure is that of a backup.failed or node.pivot.failed event, with what to do about it.
func failure(e event.Event) (events.Failure, error) {
	if events.TypeOf(e) == events.TypePivotFailed {
		f, err := events.Decode[events.NodeFailure](e)
		return remedy.Of(f.Failure, remedy.AskAgain), err
	}
	f, err := events.Decode[events.BackupFailed](e)
	return f.Failure, err
}

func contains(list []events.Stage, s events.Stage) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
