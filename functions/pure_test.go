package functions_test

import (
	"context"
	"slices"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/finalize"
	"github.com/reroot-dev/reroot/functions/pivot"
	"github.com/reroot-dev/reroot/functions/pullseed"
	"github.com/reroot-dev/reroot/functions/rollback"
	"github.com/reroot-dev/reroot/functions/stage"
)

// pure are the functions that need nothing but the history.
var pure = map[string]functions.Handler{
	stage.Name: stage.Function{}, pullseed.Name: pullseed.Function{}, pivot.Name: pivot.Function{},
	rollback.Name: rollback.Function{}, finalize.Name: finalize.Function{},
}

type told struct {
	t    events.Type
	over map[string]any
}

// tell folds a story and returns the state and its last event.
func tell(t *testing.T, story ...told) (upgrade.State, event.Event) {
	t.Helper()
	s, y := upgrade.New(upgradetest.Cluster), &upgradetest.Story{Upgrade: "up-1"}
	var e event.Event
	for _, step := range story {
		e = y.Tell(s, step.t, step.over)
		next, err := s.Apply(e, "h"+e.ID())
		if err != nil {
			t.Fatalf("%s: %v", step.t.Short(), err)
		}
		s = next
	}
	return s, e
}

func path(to events.Type, more ...told) []told {
	var story []told
	for _, t := range upgradetest.Until(to) {
		story = append(story, told{t: t})
	}
	return append(story, more...)
}

func through(stage events.Stage, to events.Type) []told {
	story := path(to)
	story[0].over = map[string]any{"through": stage}
	return story
}

func ask(s events.Stage) told { return told{events.TypeStageRequested, map[string]any{"stage": s}} }

func why(r events.Reason) map[string]any { return map[string]any{"reason": r} }

func TestPureFunctions(t *testing.T) {
	tests := []struct {
		name     string
		function string
		story    []told
		want     []events.Type
	}{
		{"a request starts Prep", "stage", path(events.TypeUpgradeRequested), []events.Type{events.TypePrepStarted}},
		{"through Upgrade goes on by itself", "stage", path(events.TypePrepCompleted), []events.Type{events.TypeUpgradeStarted}},
		{"through Prep waits", "stage", through(events.StagePrep, events.TypePrepCompleted), nil},
		{"through Finalize closes", "stage", through(events.StageFinalize, events.TypeUpgradeCompleted), []events.Type{events.TypeFinalizeStarted}},
		{"through Upgrade keeps the way back", "stage", path(events.TypeUpgradeCompleted), nil},
		{"Upgrade after Prep", "stage", append(through(events.StagePrep, events.TypePrepCompleted), ask(events.StageUpgrade)), []events.Type{events.TypeUpgradeStarted}},
		{"Upgrade twice", "stage", path(events.TypeUpgradeStarted, ask(events.StageUpgrade)), []events.Type{events.TypeStageRejected}},
		{"Idle during Prep aborts", "stage", path(events.TypeSeedpullRequested, ask(events.StageIdle)), []events.Type{events.TypeAbortStarted}},
		{"Idle after success finalizes", "stage", path(events.TypeUpgradeCompleted, ask(events.StageIdle)), []events.Type{events.TypeFinalizeStarted}},
		{"Idle in the new root is rejected", "stage", path(events.TypeManifestsApplied, ask(events.StageIdle)), []events.Type{events.TypeStageRejected}},
		{"Rollback in the new root", "stage", path(events.TypeManifestsApplied, ask(events.StageRollback)), []events.Type{events.TypeRollbackStarted}},
		{"nothing while dark", "stage", path(events.TypeReconfigureRequested, ask(events.StageIdle)), []events.Type{events.TypeStageRejected}},
		{"a failed backup ends the stage", "stage", path(events.TypeUpgradeStarted, told{t: events.TypeBackupFailed}), []events.Type{events.TypeUpgradeFailed}},
		{"a failed pivot ends the stage", "stage", path(events.TypeReconfigureRequested, told{t: events.TypePivotFailed}), []events.Type{events.TypeUpgradeFailed}},
		{"Idle after a failed pivot aborts", "stage", path(events.TypeReconfigureRequested, told{t: events.TypePivotFailed}, told{events.TypeUpgradeFailed, map[string]any{"afterPivot": false}}, ask(events.StageIdle)), []events.Type{events.TypeAbortStarted}},

		{"seed is pulled after validation", "pullseed", path(events.TypePrepValidated), []events.Type{events.TypeSeedpullRequested}},
		{"images are pulled after the seed", "pullseed", path(events.TypeSeedpullCompleted), []events.Type{events.TypePrecacheRequested}},
		{"Prep ends with the images", "pullseed", path(events.TypePrecacheCompleted), []events.Type{events.TypePrepCompleted}},
		{"a failed pull fails Prep", "pullseed", path(events.TypeSeedpullRequested, told{t: events.TypeSeedpullFailed}), []events.Type{events.TypePrepFailed}},
		{"a failed precache fails Prep", "pullseed", path(events.TypePrecacheRequested, told{t: events.TypePrecacheFailed}), []events.Type{events.TypePrepFailed}},
		{"a silent node fails Prep", "pullseed", path(events.TypeSeedpullRequested, told{t: events.TypeDeadlinePassed}), []events.Type{events.TypePrepFailed}},
		{"validation's deadline is not its own", "pullseed", path(events.TypePrepStarted, told{t: events.TypeDeadlinePassed}), nil},
		{"a late seed of an aborted upgrade", "pullseed", path(events.TypeSeedpullRequested, told{t: events.TypeAbortStarted}, told{t: events.TypeSeedpullCompleted}), nil},

		{"the pivot is one batch", "pivot", path(events.TypeBackupCompleted), []events.Type{events.TypePivotRequested, events.TypeCryptoregenRequested, events.TypeReconfigureRequested}},

		{"a failure behind the pivot rolls back", "rollback", path(events.TypeManifestsApplied, told{t: events.TypeUpgradeFailed}), []events.Type{events.TypeRollbackStarted}},
		{"a failure before it does not", "rollback", path(events.TypeUpgradeStarted, told{events.TypeUpgradeFailed, map[string]any{"afterPivot": false}}), nil},
		{"a rollback is commanded", "rollback", path(events.TypeUpgradeCompleted, told{t: events.TypeRollbackStarted}), []events.Type{events.TypeNodeRollbackRequested}},
		{"the awaited new root is left alone", "rollback", path(events.TypePivotCompleted), nil},
		{"a stray new root is called back", "rollback", path(events.TypeReconfigureRequested, told{t: events.TypePivotFailed}, told{t: events.TypeAbortStarted}, told{t: events.TypePivotCompleted}), []events.Type{events.TypeRollbackStarted}},
		{"the old root closes the rollback", "rollback", path(events.TypeUpgradeCompleted, told{t: events.TypeRollbackStarted}, told{t: events.TypeNodeRollbackCompleted}), []events.Type{events.TypeRollbackCompleted}},
		{"the watchdog's rollback fails the upgrade first", "rollback", path(events.TypeReconfigureRequested, told{events.TypeNodeRollbackCompleted, map[string]any{"trigger": "watchdog"}}), []events.Type{events.TypeUpgradeFailed, events.TypeRollbackCompleted}},
		{"a node that goes back by itself says why", "rollback", path(events.TypePivotCompleted, told{t: events.TypeCryptoregenFailed}, told{events.TypeNodeRollbackCompleted, map[string]any{"trigger": "failure", "failure": map[string]any{"reason": "CryptoFailed", "message": "no"}}}), []events.Type{events.TypeUpgradeFailed, events.TypeRollbackCompleted}},
		{"a rollback that fails", "rollback", path(events.TypeUpgradeCompleted, told{t: events.TypeRollbackStarted}, told{events.TypeNodeRollbackFailed, why(events.ReasonRollbackFailed)}), []events.Type{events.TypeRollbackFailed}},

		{"finalize cleans up", "finalize", path(events.TypeUpgradeCompleted, told{t: events.TypeFinalizeStarted}), []events.Type{events.TypeCleanupRequested}},
		{"abort cleans up", "finalize", path(events.TypePrecacheRequested, told{t: events.TypeAbortStarted}), []events.Type{events.TypeCleanupRequested}},
		{"clean is Idle", "finalize", path(events.TypePrecacheRequested, told{t: events.TypeAbortStarted}, told{t: events.TypeCleanupCompleted}), []events.Type{events.TypeIdleReached}},
		{"not clean is not", "finalize", path(events.TypePrecacheRequested, told{t: events.TypeAbortStarted}, told{events.TypeCleanupFailed, why(events.ReasonCleanupFailed)}), []events.Type{events.TypeIdleFailed}},
		{"a cleanup without answer", "finalize", path(events.TypePrecacheRequested, told{t: events.TypeAbortStarted}, told{t: events.TypeDeadlinePassed}), []events.Type{events.TypeIdleFailed}},
		{"another's deadline", "finalize", path(events.TypePrepStarted, told{t: events.TypeDeadlinePassed}), nil},
	}
	for _, tt := range tests {
		t.Run(tt.function+": "+tt.name, func(t *testing.T) {
			s, e := tell(t, tt.story...)
			out, err := pure[tt.function].Handle(context.Background(), s, e)
			if err != nil {
				t.Fatal(err)
			}
			var got []events.Type
			for _, o := range out {
				got = append(got, events.TypeOf(o))
			}
			if !slices.Equal(got, tt.want) {
				t.Fatalf("emits %v, want %v", got, tt.want)
			}
			accepted(t, s, e, tt.function, out)
		})
	}
}

// accepted checks that what a function emits is valid, is its to emit, and is taken by the fold.
func accepted(t *testing.T, s upgrade.State, cause event.Event, function string, out []event.Event) {
	t.Helper()
	for _, o := range out {
		if p := events.Validate(o); p != nil {
			t.Errorf("%s is invalid: %v", o.Type(), p)
		}
		if events.Causation(o) != cause.ID() || events.Writer(o.Source()) != function {
			t.Errorf("%s says that %s wrote it because of %s", o.Type(), events.Writer(o.Source()), events.Causation(o))
		}
		next, err := s.Apply(o, "h"+o.ID())
		if err != nil {
			t.Fatalf("the fold refuses %s: %v", o.Type(), err)
		}
		s = next
	}
}

// TestReactions: no pure function emits in answer to an event what the table does not allow, whatever the state.
func TestReactions(t *testing.T) {
	for i := range upgradetest.GoodPath {
		s, e, err := upgradetest.After(upgradetest.GoodPath[:i+1]...)
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range pure {
			out, err := f.Handle(context.Background(), s, e)
			if err != nil {
				t.Fatalf("%s on %s: %v", name, e.Type(), err)
			}
			for _, o := range out {
				if !allowed(name, events.TypeOf(e), events.TypeOf(o)) {
					t.Errorf("%s emits %s on %s, which the table does not name", name, o.Type(), e.Type())
				}
			}
		}
	}
}

func allowed(function string, on, emits events.Type) bool {
	return slices.ContainsFunc(upgrade.Reactions, func(r upgrade.Reaction) bool {
		return r.Function == function && r.On == on && slices.Contains(r.Emits, emits)
	})
}
