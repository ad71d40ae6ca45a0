package executor

import (
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// settle says what the start of the executor at this place means for what was under way when it ended: the entries to
// append, in one record. It is pure. Within one boot nothing has changed and the interrupted step is run again; after a
// reboot the root that runs decides.
func settle(s ledger.State, here Place, w watchdog.Record) ([]ledger.Entry, error) {
	started := ledger.Entry{Kind: ledger.Started, Booted: &here.Booted, BootID: here.BootID}
	pivot, ok := s.Newest(events.TypePivotRequested)
	if !ok || s.BootID == here.BootID {
		return []ledger.Entry{started}, nil
	}
	to, err := target(pivot)
	if err != nil {
		return nil, err
	}
	v := voyage{s: s, here: here, pivot: pivot, to: to}
	if w.Old == pivot.From && w.New == to {
		v.watchdog = w
	}
	var news []ledger.Entry
	switch {
	case pivot.Open():
		news = v.arrive()
	case pivot.Result == ledger.Completed && here.Booted == to:
		news = v.stay()
	case pivot.Result == ledger.Completed && here.Booted == pivot.From && (s.Booted == nil || *s.Booted != here.Booted):
		news = v.comeBack()
	}
	return append(news, started), nil
}

// voyage is a pivot and where the node is after it.
type voyage struct {
	s        ledger.State
	here     Place
	pivot    ledger.Job
	to       events.Deployment
	watchdog watchdog.Record // of this pivot, else zero
}

// arrive judges the first start after a pivot, which may never have come to its reboot.
func (v voyage) arrive() []ledger.Entry {
	wasThere := v.watchdog.Boots > 0 || v.watchdog.Phase == watchdog.GivenUp
	switch {
	case v.here.Booted == v.to:
		pivot := v.pivot
		end := ledger.Entry{
			Kind: ledger.Ended, Job: pivot.ID, BootID: v.here.BootID, Result: ledger.Completed,
			Fact: fact(pivot, events.TypePivotCompleted, events.PivotCompleted{Outcome: outcome(pivot, v.here), From: pivot.From}),
		}
		if !pivot.Reverting() {
			return []ledger.Entry{end}
		}
		// It had been given up, but a power cut came before the boot order was restored.
		return []ledger.Entry{end, goBack(pivot, v.here, why(pivot))}
	case v.here.Booted == v.pivot.From && wasThere:
		trigger, failure := v.reason()
		return []ledger.Entry{{
			Kind: ledger.Ended, Job: v.pivot.ID, BootID: v.here.BootID, Result: ledger.NotDone,
			Fact: v.cameBack(v.pivot, trigger, failure),
		}}
	case v.pivot.Current != step.Reboot:
		return nil // it goes on, or is undone, from where it was
	}
	return []ledger.Entry{{
		Kind: ledger.Failed, Job: v.pivot.ID, Step: v.pivot.Current, BootID: v.here.BootID,
		Failure: &events.Failure{
			Reason:  events.ReasonPivotFailed,
			Message: fmt.Sprintf("the machine was rebooted into %s and came up in %s", name(v.to), name(v.here.Booted)),
			Next:    "look at the console log of that boot: the boot loader or the new kernel did not come up",
		},
	}}
}

// stay judges a further boot of the new root: one that a rollback should have ended has failed.
func (v voyage) stay() []ledger.Entry {
	r, ok := v.s.Newest(events.TypeNodeRollbackRequested)
	if !ok || !r.Open() || r.Current != step.Reboot {
		return nil
	}
	return []ledger.Entry{{
		Kind: ledger.Failed, Job: r.ID, Step: r.Current, BootID: v.here.BootID,
		Failure: &events.Failure{
			Reason:  events.ReasonRollbackFailed,
			Message: fmt.Sprintf("the machine was rebooted into %s and came up in %s", name(v.pivot.From), name(v.here.Booted)),
			Next:    "look at the console log of that boot, or choose the old entry there",
		},
	}}
}

// comeBack judges the first start in the old root after the new one ran: whatever was to be done there is over.
func (v voyage) comeBack() []ledger.Entry {
	var news []ledger.Entry
	rollback, asked := v.s.Newest(events.TypeNodeRollbackRequested)
	asked = asked && rollback.Open()
	for _, j := range v.s.Jobs {
		if j.Open() && (!asked || j.ID != rollback.ID) {
			news = append(news, ledger.Entry{Kind: ledger.Ended, Job: j.ID, BootID: v.here.BootID, Result: ledger.Cancelled})
		}
	}
	if asked {
		return append(news, ledger.Entry{
			Kind: ledger.Ended, Job: rollback.ID, BootID: v.here.BootID, Result: ledger.Completed,
			Fact: v.cameBack(rollback, trigger(rollback), rollback.Why),
		})
	}
	t, failure := v.reason()
	return append(news, ledger.Entry{Kind: ledger.Reported, Fact: v.cameBack(v.pivot, t, failure)})
}

// reason says why the node is in the old root although nobody asked it to.
func (v voyage) reason() (events.Trigger, *events.Failure) {
	if v.watchdog.Phase == watchdog.GivenUp {
		return events.TriggerWatchdog, &events.Failure{
			Reason: events.ReasonWatchdog, Message: events.Line("the watchdog gave the new root up: "+v.watchdog.Why, events.MaxText),
			Next: "look at the new root's journal, which is kept until Idle",
		}
	}
	return events.TriggerUncontrolled, &events.Failure{
		Reason: events.ReasonUncontrolled, Message: fmt.Sprintf("the node booted %s although nothing asked it to", name(v.here.Booted)),
		Next: "look at the console log of the last boots",
	}
}

func (v voyage) cameBack(j ledger.Job, t events.Trigger, failure *events.Failure) *event.Event {
	return fact(j, events.TypeNodeRollbackCompleted, events.NodeRollbackCompleted{
		Outcome: outcome(j, v.here), Trigger: t, Failure: failure,
	})
}

// trigger is who asked for a rollback.
func trigger(j ledger.Job) events.Trigger {
	if j.Trigger != "" {
		return j.Trigger
	}
	var p events.NodeRollbackRequested
	if err := json.Unmarshal(j.Data, &p); err == nil && p.Trigger != "" {
		return p.Trigger
	}
	return events.TriggerUser
}

// why is the failure of a job that is being reverted.
func why(j ledger.Job) events.Failure {
	if j.Failure != nil {
		return *j.Failure
	}
	return events.Failure{Reason: events.ReasonPivotFailed, Message: "the pivot was called off while it was under way"}
}

// goBack makes the executor's own decision to boot the old root a job like one that was commanded. The facts that it
// ends in are caused by the pivot, since no event of the history asked for it.
func goBack(pivot ledger.Job, here Place, why events.Failure) ledger.Entry {
	data, err := json.Marshal(events.NodeRollbackRequested{
		Command: events.Command{Attempt: pivot.Attempt, For: &here.Booted}, Target: pivot.From, Trigger: events.TriggerFailure,
	})
	if err != nil {
		panic(fmt.Sprintf("payload of a rollback does not encode: %v", err))
	}
	id := events.DerivedID(pivot.ID, writer, events.TypeNodeRollbackRequested, 0)
	return ledger.Entry{Kind: ledger.Accepted, Job: id, Accept: &ledger.Job{
		ID: id, Type: events.TypeNodeRollbackRequested, Cause: pivot.Cause, Data: data, Attempt: pivot.Attempt,
		From: here.Booted, Trigger: events.TriggerFailure, Why: &why,
	}}
}
