package project_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/cluster/clustertest"
	"github.com/reroot-dev/reroot/functions/project"
)

var world *clustertest.World

func TestMain(m *testing.M) { clustertest.Main(m, &world, clustertest.Start) }

// teller tells a story and shows each event as the runtime would.
type teller struct {
	t     *testing.T
	f     *project.Function
	state upgrade.State
	story upgradetest.Story
}

// begin removes the resource and begins a new history.
func begin(t *testing.T) *teller {
	t.Helper()
	err := world.Client.Resource(v1.Resource).Delete(t.Context(), v1.Name, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return &teller{t: t, f: project.New(world.Client), state: upgrade.New(upgradetest.Cluster), story: upgradetest.Story{Upgrade: "up-1"}}
}

// tell adds an event to the history without showing it.
func (y *teller) tell(kind events.Type, over map[string]any) event.Event {
	y.t.Helper()
	e := y.story.Tell(y.state, kind, over)
	next, err := y.state.Apply(e, "h"+e.ID())
	if err != nil {
		y.t.Fatal(err)
	}
	y.state = next
	return e
}

func (y *teller) handle(s upgrade.State, e event.Event) {
	y.t.Helper()
	patiently(y.t, func(ctx context.Context) error {
		out, err := y.f.Handle(ctx, s, e)
		if len(out) > 0 {
			y.t.Errorf("it emits %v", out)
		}
		return err
	})
}

func (y *teller) show(kind events.Type, over map[string]any) {
	y.t.Helper()
	e := y.tell(kind, over)
	y.handle(y.state, e)
}

// patiently repeats what asks for it, as the runtime does.
func patiently(t *testing.T, do func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		last = do(ctx)
		if again := (*functions.Retry)(nil); errors.As(last, &again) {
			return false, nil
		}
		return true, last
	})
	if err != nil {
		t.Fatalf("%v, last: %v", err, last)
	}
}

func live(t *testing.T) *v1.ImageBasedUpgrade {
	t.Helper()
	u, err := world.Client.Resource(v1.Resource).Get(t.Context(), v1.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := cluster.Object[v1.ImageBasedUpgrade](u)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// ask changes the resource as a user would.
func ask(t *testing.T, change func(*v1.ImageBasedUpgrade)) error {
	t.Helper()
	o := live(t)
	change(o)
	u, err := cluster.Unstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = world.Client.Resource(v1.Resource).Update(t.Context(), u, metav1.UpdateOptions{})
	return err
}

// agrees checks that the resource shows the state, and nothing else.
func (y *teller) agrees() {
	y.t.Helper()
	o, want := live(y.t), project.Project(y.state)
	if got := o.Annotations[v1.AnnotationSequence]; got != strconv.FormatUint(y.state.Sequence, 10) {
		y.t.Errorf("it shows event %s, not %d", got, y.state.Sequence)
	}
	if o.Spec.Stage != want.Stage {
		y.t.Errorf("spec.stage is %s, not %s", o.Spec.Stage, want.Stage)
	}
	if want.Stage != events.StageIdle && o.Spec.SeedImageRef.Image != y.state.Spec.SeedImageRef.Image {
		y.t.Errorf("spec.seedImageRef is %+v", o.Spec.SeedImageRef)
	}
	if o.Status.ObservedGeneration != o.Generation {
		y.t.Errorf("generation %d, observed %d", o.Generation, o.Status.ObservedGeneration)
	}
	if !slices.Equal(o.Status.ValidNextStages, want.ValidNextStages) {
		y.t.Errorf("valid next stages %v, not %v", o.Status.ValidNextStages, want.ValidNextStages)
	}
	same := func(a, b metav1.Condition) bool {
		return a.Type == b.Type && a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
	}
	if !slices.EqualFunc(o.Status.Conditions, want.Conditions, same) {
		y.t.Errorf("conditions are\n%v\nnot\n%v", o.Status.Conditions, want.Conditions)
	}
	if len(o.Status.History) != len(want.History) {
		y.t.Errorf("history is %v, not %v", o.Status.History, want.History)
	}
}

func TestEmptyHistory(t *testing.T) {
	y := begin(t)
	patiently(t, func(ctx context.Context) error { return y.f.Show(ctx, y.state) })
	y.agrees()
	if c := live(t).Status.Conditions; len(c) != 1 || c[0].LastTransitionTime.IsZero() {
		t.Errorf("conditions %v", c)
	}
}

func TestEveryEventOfAGoodUpgrade(t *testing.T) {
	y := begin(t)
	for _, kind := range slices.Concat(upgradetest.GoodPath, []events.Type{events.TypeFinalizeStarted, events.TypeCleanupRequested, events.TypeCleanupCompleted, events.TypeIdleReached}) {
		y.show(kind, nil)
		y.agrees()
		if t.Failed() {
			t.Fatalf("after %s", kind.Short())
		}
	}
}

// TestOnlyTheNewest: events that are delivered while a newer one is known are passed over without asking the API.
func TestOnlyTheNewest(t *testing.T) {
	y := begin(t)
	y.show(events.TypeUpgradeRequested, nil)
	first := y.tell(events.TypePrepStarted, nil)
	past := y.state
	y.show(events.TypePrepValidated, nil)
	version := live(t).ResourceVersion
	y.handle(past, first)
	if got := live(t).ResourceVersion; got != version {
		t.Error("an old event is shown")
	}
	// Another process, which knows only the old event, does not go back either.
	y.f = project.New(world.Client)
	y.handle(past, first)
	y.agrees()
}

// TestStepsThatWereNotShown: the definition's rules do not stand in the way of a history that moved on by itself.
func TestStepsThatWereNotShown(t *testing.T) {
	y := begin(t)
	y.show(events.TypeUpgradeRequested, nil)
	for _, kind := range upgradetest.Until(events.TypeUpgradeStarted)[1:] {
		e := y.tell(kind, nil)
		if kind == events.TypeUpgradeStarted {
			y.handle(y.state, e)
		}
	}
	y.agrees()
	// A whole upgrade later, with another seed.
	for _, kind := range []events.Type{events.TypeAbortStarted, events.TypeCleanupRequested, events.TypeCleanupCompleted, events.TypeIdleReached} {
		y.tell(kind, nil)
	}
	y.story.Upgrade = "up-2"
	y.show(events.TypeUpgradeRequested, map[string]any{"spec": map[string]any{"seedImageRef": map[string]any{"version": "4.18.0", "image": "registry.lab/seed:4.18.0"}}})
	y.agrees()
}

// TestNewIncarnation: what another cluster left in the etcd that a seed brought is replaced.
func TestNewIncarnation(t *testing.T) {
	y := begin(t)
	for _, kind := range upgradetest.Until(events.TypePivotCompleted) {
		y.tell(kind, nil)
	}
	tests := map[string]map[string]string{
		"of another cluster": {v1.AnnotationIncarnation: "somewhere/else", v1.AnnotationSequence: "999999"},
		"without a stamp":    {},
	}
	for name, annotations := range tests {
		t.Run(name, func(t *testing.T) {
			y.t, y.f = t, project.New(world.Client)
			patiently(t, func(ctx context.Context) error { return y.f.Show(ctx, y.state) })
			if err := ask(t, func(o *v1.ImageBasedUpgrade) { o.Annotations = annotations }); err != nil {
				t.Fatal(err)
			}
			before := live(t).UID
			y.show(events.TypeNodeOverdue, nil)
			if live(t).UID == before {
				t.Error("it was not made again")
			}
			y.agrees()
			y.state.Overdue = false
		})
	}
}

// TestUsersRequestIsLeftAlone: the history moves while the resource asks for something that nobody has answered.
func TestUsersRequestIsLeftAlone(t *testing.T) {
	y := begin(t)
	for _, kind := range upgradetest.Until(events.TypeSeedpullRequested) {
		y.show(kind, nil)
	}
	if err := ask(t, func(o *v1.ImageBasedUpgrade) { o.Spec.Stage = events.StageIdle }); err != nil {
		t.Fatal(err)
	}
	y.show(events.TypeSeedpullCompleted, nil)
	o := live(t)
	if o.Spec.Stage != events.StageIdle || o.Status.ObservedGeneration == o.Generation {
		t.Errorf("stage %s, generation %d, observed %d", o.Spec.Stage, o.Generation, o.Status.ObservedGeneration)
	}
	y.show(events.TypeAbortStarted, nil)
	y.agrees()
}

// TestUsersResource: one that was there before is taken over with what its metadata holds, and asks for nothing when it
// names no stage.
func TestUsersResource(t *testing.T) {
	y := begin(t)
	patiently(t, func(ctx context.Context) error { return y.f.Show(ctx, y.state) })
	y = begin(t)
	bare := &unstructured.Unstructured{Object: map[string]any{"apiVersion": v1.GroupVersion.String(), "kind": v1.Kind,
		"metadata": map[string]any{"name": v1.Name, "labels": map[string]any{"team": "edge"}}}}
	if _, err := world.Client.Resource(v1.Resource).Create(t.Context(), bare, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patiently(t, func(ctx context.Context) error { return y.f.Show(ctx, y.state) })
	y.agrees()
	y.show(events.TypeUpgradeRequested, nil)
	y.agrees()
	if live(t).Labels["team"] != "edge" {
		t.Error("its label is gone")
	}
}

// TestRefusedRequest: the answer is shown on the resource, stays while it is asked for, and goes with the next stage.
func TestRefusedRequest(t *testing.T) {
	y := begin(t)
	for _, kind := range upgradetest.Until(events.TypeSeedpullRequested) {
		y.show(kind, nil)
	}
	if err := ask(t, func(o *v1.ImageBasedUpgrade) { o.Spec.Stage = events.StageIdle }); err != nil {
		t.Fatal(err)
	}
	request := cluster.RequestID(live(t))
	rejected := y.tell(events.TypeStageRejected, nil)
	rejected.SetExtension(events.ExtCausation, request)
	atRejection := y.state
	y.show(events.TypeSeedpullCompleted, nil) // a newer event is shown first
	y.handle(atRejection, rejected)
	y.show(events.TypePrecacheRequested, nil)
	o := live(t)
	last := o.Status.Conditions[len(o.Status.Conditions)-1]
	if last.Type != v1.Idle || last.Status != metav1.ConditionFalse || last.Reason != v1.ReasonInvalidTransition || last.Message != "Abort or finalize not allowed: no" {
		t.Errorf("the last condition is %+v", last)
	}
	if o.Status.ObservedGeneration != o.Generation || o.Spec.Stage != events.StageIdle {
		t.Errorf("stage %s, generation %d, observed %d", o.Spec.Stage, o.Generation, o.Status.ObservedGeneration)
	}
	for _, kind := range []events.Type{events.TypePrecacheCompleted, events.TypePrepCompleted, events.TypeUpgradeStarted} {
		y.show(kind, nil)
	}
	y.agrees()
}

// TestAnotherCluster: nothing is written to an API that is not the cluster's own.
func TestAnotherCluster(t *testing.T) {
	y := begin(t)
	y.tell(events.TypeUpgradeRequested, nil)
	y.tell(events.TypePrepStarted, nil)
	e := y.tell(events.TypePrepValidated, map[string]any{"cluster": map[string]any{"id": "99999999-2222-3333-4444-555555555555", "version": "4.16.0"}})
	_, err := y.f.Handle(t.Context(), y.state, e)
	if again := (*functions.Retry)(nil); !errors.As(err, &again) {
		t.Errorf("got %v, want to be called again", err)
	}
	if _, err := world.Client.Resource(v1.Resource).Get(t.Context(), v1.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the resource is there: %v", err)
	}
}
