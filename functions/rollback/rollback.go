// Package rollback is the function that brings the node back to the old root: on request, after a failure behind the
// pivot, and in the books when the node went back by itself. The node's report is what counts: rollback.completed is
// stated only after a fact from the old root.
package rollback

import (
	"context"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/remedy"
)

// Name of the function.
const Name = "rollback"

// Function implements functions.Handler.
type Function struct{}

// Handle reacts as the table upgrade.Reactions says.
func (Function) Handle(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	say := func(t events.Type, data any) event.Event { return events.Caused(e, "functions/"+Name, t, 0, data) }
	switch events.TypeOf(e) {
	case events.TypeUpgradeFailed:
		// Where the node itself reported why it cannot go on, it is already on its way back.
		if s.Phase == upgrade.Failing && !goesBackItself(s) {
			return []event.Event{say(events.TypeRollbackStarted, events.RollbackStarted{Trigger: events.TriggerFailure})}, nil
		}
	case events.TypePivotCompleted:
		if s.Phase != upgrade.Cryptoregen && s.Old != nil {
			return []event.Event{say(events.TypeRollbackStarted, events.RollbackStarted{Trigger: events.TriggerUncontrolled})}, nil
		}
	case events.TypeRollbackStarted:
		return command(s, e, say)
	case events.TypeNodeRollbackCompleted:
		return completed(s, e, say)
	case events.TypeNodeRollbackFailed:
		f, err := events.Decode[events.NodeFailure](e)
		if err != nil || s.Phase != upgrade.RollingBack {
			return nil, err
		}
		return []event.Event{say(events.TypeRollbackFailed, events.RollbackFailed{Failure: remedy.Of(f.Failure, remedy.RollBackAgain)})}, nil
	}
	return nil, nil
}

func goesBackItself(s upgrade.State) bool {
	return s.Failure != nil && (s.Failure.Reason == events.ReasonCryptoFailed || s.Failure.Reason == events.ReasonReconfigureFailed)
}

func command(s upgrade.State, e event.Event, say func(events.Type, any) event.Event) ([]event.Event, error) {
	if s.Old == nil {
		return nil, &functions.Fail{Reason: events.ReasonInternal, Err: fmt.Errorf("cannot roll back: no old root is known")}
	}
	return []event.Event{say(events.TypeNodeRollbackRequested, events.NodeRollbackRequested{
		Command: events.Command{Attempt: s.Attempt, For: s.New, NotAfter: events.Recorded(e).Add(s.Spec.Budget() + upgrade.OverdueGrace)},
		Target:  *s.Old, Trigger: s.Trigger,
	})}, nil
}

// completed closes the rollback, and first the upgrade when the node went back before anything else was said.
func completed(s upgrade.State, e event.Event, say func(events.Type, any) event.Event) ([]event.Event, error) {
	if s.Phase != upgrade.BackOnOld {
		return nil, nil
	}
	fact, err := events.Decode[events.NodeRollbackCompleted](e)
	if err != nil {
		return nil, err
	}
	var out []event.Event
	if f := why(fact); f != nil {
		out = append(out, say(events.TypeUpgradeFailed, events.UpgradeFailed{Failure: remedy.Of(*f, remedy.AskAgain), AfterPivot: true}))
	}
	return append(out, say(events.TypeRollbackCompleted, events.RollbackCompleted{Trigger: fact.Trigger, Booted: fact.Booted})), nil
}

// why is the failure that the node went back for by itself, nil where it was asked to.
func why(fact events.NodeRollbackCompleted) *events.Failure {
	switch {
	case fact.Trigger == events.TriggerUser:
		return nil
	case fact.Failure != nil:
		return fact.Failure
	case fact.Trigger == events.TriggerWatchdog:
		return &events.Failure{Reason: events.ReasonWatchdog, Message: "the new root was not confirmed within its budget",
			Next: "look at the new root's journal, which is kept until Idle"}
	case fact.Trigger == events.TriggerUncontrolled:
		return &events.Failure{Reason: events.ReasonUncontrolled,
			Message: fmt.Sprintf("the node booted stateroot %s although nobody asked it to", fact.Booted.Stateroot),
			Next:    "look at the console log of the last boots"}
	}
	return nil
}
