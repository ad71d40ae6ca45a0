package cluster_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
)

// forget removes the resource, which shows another history.
func forget(t *testing.T) {
	t.Helper()
	err := world.Client.Resource(v1.Resource).Delete(context.Background(), v1.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
}

// TestRollbackIsTriedAgain: after a rollback that failed the resource can ask for one, whoever asked for the first.
func TestRollbackIsTriedAgain(t *testing.T) {
	by := func(trigger events.Trigger) map[string]any { return map[string]any{"trigger": trigger} }
	annotate := func(o *v1.ImageBasedUpgrade) { o.Annotations[v1.AnnotationRollbackAgain] = "" }
	for _, tt := range []struct {
		name    string
		trigger events.Trigger
		asks    func(*v1.ImageBasedUpgrade)
	}{
		{"a user's, by annotation", events.TriggerUser, annotate},
		{"after a failure, by annotation", events.TriggerFailure, annotate},
		{"after a failure, by stage", events.TriggerFailure, func(o *v1.ImageBasedUpgrade) { o.Spec.Stage = events.StageRollback }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			forget(t)
			store, state := journal.NewMemory(nil), upgrade.New(name)
			story := &upgradetest.Story{Upgrade: "up-1"}
			tell := func(kind events.Type, over map[string]any) event.Event {
				e := story.Tell(state, kind, over)
				records, err := store.Append(t.Context(), name, journal.Head{Sequence: state.Sequence, Hash: state.Hash}, e)
				if err == nil {
					state, err = state.Apply(records[0].Event, records[0].Hash)
				}
				if err != nil {
					t.Fatal(err)
				}
				return e
			}
			for _, kind := range upgradetest.Until(events.TypeConfirmRequested) {
				tell(kind, nil)
			}
			tell(events.TypeRollbackStarted, by(tt.trigger))
			tell(events.TypeNodeRollbackRequested, by(tt.trigger))
			tell(events.TypeNodeRollbackFailed, map[string]any{"reason": events.ReasonRollbackFailed})
			tell(events.TypeRollbackFailed, map[string]any{"reason": events.ReasonRollbackFailed})
			p := newPipeline(t, store)
			t.Cleanup(func() { p.stop(); forget(t) })
			p.reaches(t, upgrade.RollbackFailed)

			if err := user(t, tt.asks); err != nil {
				t.Fatal(err)
			}
			if o := p.reaches(t, upgrade.RollingBack); has(o.Annotations, v1.AnnotationRollbackAgain) || o.Spec.Stage != events.StageRollback {
				t.Errorf("stage %s, annotations %v", o.Spec.Stage, o.Annotations)
			}
			told, err := p.history(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			request, answer := told[state.Sequence], told[len(told)-1]
			if events.TypeOf(request) != events.TypeStageRequested || events.TypeOf(answer) != events.TypeRollbackStarted || events.Causation(answer) != request.ID() {
				t.Errorf("%s, then %s", request.Type(), answer.Type())
			}
			if got, want := fmt.Sprint(len(told)), fmt.Sprint(state.Sequence+2); got != want {
				t.Errorf("%s events, want %s", got, want)
			}
		})
	}
}
