package project

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/deploy/crds"
	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// show brings the resource in line with the newest state.
func (f *Function) show(ctx context.Context, answered *answer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.newest
	if err := f.cluster.Ours(ctx, s); err != nil {
		return err
	}
	incarnation, err := f.cluster.Incarnation(ctx)
	if err != nil {
		return err
	}
	w := writer{Client: f.cluster, state: s, desired: Project(s), incarnation: incarnation, answered: answered}
	return retry.OnError(retry.DefaultRetry, apierrors.IsConflict, func() error { return w.write(ctx) })
}

// writer writes one state once.
type writer struct {
	*cluster.Client
	state       upgrade.State
	desired     Desired
	incarnation string
	answered    *answer
}

func (w *writer) write(ctx context.Context) error {
	live, err := w.live(ctx)
	if err != nil || live == nil {
		return err
	}
	if shown(live) > w.state.Sequence {
		return nil
	}
	agreed, err := w.writeSpec(ctx, live)
	if err != nil {
		return err
	}
	return w.writeStatus(ctx, live, agreed)
}

// live reads the resource and makes it where it is not there, or is another cluster's.
func (w *writer) live(ctx context.Context) (*v1.ImageBasedUpgrade, error) {
	u, err := w.Resource(v1.Resource).Get(ctx, v1.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return w.create(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read ImageBasedUpgrade: %w", err)
	}
	live, err := cluster.Object[v1.ImageBasedUpgrade](u)
	if err != nil {
		return nil, err
	}
	// A resource without a stamp is a user's, unless the node has just come into a new root: then it is the seed's.
	stamp := live.Annotations[v1.AnnotationIncarnation]
	if stamp == w.incarnation || stamp == "" && !w.state.Phase.InNewRoot() {
		return live, nil
	}
	uid := live.UID
	if err := w.Resource(v1.Resource).Delete(ctx, v1.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}); err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("cannot replace the ImageBasedUpgrade of another cluster: %w", err)
	}
	return w.create(ctx)
}

func (w *writer) create(ctx context.Context) (*v1.ImageBasedUpgrade, error) {
	made := &v1.ImageBasedUpgrade{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.GroupVersion.String(), Kind: v1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: v1.Name, Annotations: w.annotations(nil, true)},
		Spec:       w.spec(v1.Spec{}),
	}
	u, err := cluster.Unstructured(made)
	if err != nil {
		return nil, err
	}
	u, err = w.Resource(v1.Resource).Create(ctx, u, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		return nil, w.define(ctx)
	}
	if apierrors.IsAlreadyExists(err) {
		return nil, &functions.Retry{After: pause, Reason: "waiting for an ImageBasedUpgrade that is being made or deleted"}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot create ImageBasedUpgrade: %w", err)
	}
	return cluster.Object[v1.ImageBasedUpgrade](u)
}

// define brings the resource's definition: a new root's etcd has it only if the seed's cluster had.
func (w *writer) define(ctx context.Context) error {
	var definition unstructured.Unstructured
	if err := yaml.Unmarshal(crds.ImageBasedUpgrade, &definition.Object); err != nil {
		return fmt.Errorf("cannot read the definition of ImageBasedUpgrade: %w", err)
	}
	_, err := w.Resource(cluster.CustomResourceDefinitions).Create(ctx, &definition, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot define ImageBasedUpgrade: %w", err)
	}
	return &functions.Retry{After: pause / 4, Reason: "waiting for the API server to serve ImageBasedUpgrade"}
}

// shown is the ordinal of the newest event that the resource shows.
func shown(u *v1.ImageBasedUpgrade) uint64 {
	n, err := strconv.ParseUint(u.Annotations[v1.AnnotationSequence], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// writeSpec writes the stamps and, where the history has moved on by itself, the spec. It says whether spec and history
// agree, and leaves in live what the API server has.
func (w *writer) writeSpec(ctx context.Context, live *v1.ImageBasedUpgrade) (agreed bool, err error) {
	_, asks := live.Asks()
	pending := asks && live.Generation != live.Status.ObservedGeneration
	moved := live.Annotations[v1.AnnotationUpgrade] != w.state.Upgrade || live.Annotations[v1.AnnotationStage] != string(w.desired.Stage)
	want := *live
	want.Spec = w.spec(live.Spec)
	agreed = equal(want.Spec, live.Spec)
	if !agreed && (pending || !moved) {
		want.Spec = live.Spec
	} else {
		agreed = true
	}
	want.Annotations = w.annotations(live.Annotations, agreed)
	if maps.Equal(want.Annotations, live.Annotations) && equal(want.Spec, live.Spec) {
		return agreed, nil
	}
	u, err := cluster.Unstructured(&want)
	if err != nil {
		return false, err
	}
	u, err = w.Resource(v1.Resource).Update(ctx, u, metav1.UpdateOptions{})
	if apierrors.IsInvalid(err) {
		return false, w.unlock(ctx, live)
	}
	if err != nil {
		return false, fmt.Errorf("cannot update ImageBasedUpgrade: %w", err)
	}
	now, err := cluster.Object[v1.ImageBasedUpgrade](u)
	if err != nil {
		return false, err
	}
	*live = *now
	return agreed, nil
}

// unlock lets the definition's rules pass a spec that the history has reached by steps that the resource has not
// shown: the rules look at the status, so the step before is shown first. The write is then tried again.
func (w *writer) unlock(ctx context.Context, live *v1.ImageBasedUpgrade) error {
	before := *live
	before.Status.ValidNextStages = []events.Stage{w.desired.Stage}
	if live.Annotations[v1.AnnotationUpgrade] != w.state.Upgrade {
		before.Status.Conditions = []metav1.Condition{{Type: v1.Idle, Status: metav1.ConditionTrue, Reason: v1.ReasonIdle, Message: textIdle, LastTransitionTime: metav1.Now()}}
	}
	if equal(before.Status, live.Status) {
		return &functions.Fail{Reason: events.ReasonInternal, Err: fmt.Errorf("cannot update ImageBasedUpgrade: its definition does not let the spec go to stage %s", w.desired.Stage)}
	}
	u, err := cluster.Unstructured(&before)
	if err != nil {
		return err
	}
	if _, err := w.Resource(v1.Resource).UpdateStatus(ctx, u, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("cannot update the status of ImageBasedUpgrade: %w", err)
	}
	return apierrors.NewConflict(v1.Resource.GroupResource(), v1.Name, fmt.Errorf("the status has been changed"))
}

// spec is what the spec says when it agrees with the history. While the stage is Idle the rest of it is the user's.
func (w *writer) spec(live v1.Spec) v1.Spec {
	if w.desired.Stage == events.StageIdle {
		live.Stage = events.StageIdle
		return live
	}
	return v1.SpecOf(w.state.Spec, w.desired.Stage)
}

// annotations are those that there are, and the stamps; upgrade and stage are stamped when the spec agrees with them.
func (w *writer) annotations(live map[string]string, agreed bool) map[string]string {
	all := map[string]string{}
	maps.Copy(all, live)
	all[v1.AnnotationSequence] = strconv.FormatUint(w.state.Sequence, 10)
	all[v1.AnnotationIncarnation] = w.incarnation
	if agreed {
		all[v1.AnnotationUpgrade], all[v1.AnnotationStage] = w.state.Upgrade, string(w.desired.Stage)
	}
	for _, r := range cluster.Retries {
		if w.state.Phase != r.Failed {
			delete(all, r.Annotation) // it is being done: left in place, it would ask again after each failure, without end
		}
	}
	return all
}

// writeStatus writes the status where it is not yet as it should be.
func (w *writer) writeStatus(ctx context.Context, live *v1.ImageBasedUpgrade, agreed bool) error {
	want := *live
	answered := w.answered.to(live)
	if agreed || answered {
		want.Status.ObservedGeneration = live.Generation
	}
	conditions := list(slices.Clone(w.desired.Conditions))
	switch {
	case agreed:
	case answered:
		conditions.set(inProgressOf[w.answered.stage], metav1.ConditionFalse, v1.ReasonInvalidTransition, refusal(w.answered), time.Now())
	default: // what was refused stays refused while it is asked for
		for _, c := range live.Status.Conditions {
			if c.Reason == v1.ReasonInvalidTransition {
				conditions.set(c.Type, c.Status, c.Reason, c.Message, c.LastTransitionTime.Time)
			}
		}
	}
	for i := range conditions {
		conditions[i].ObservedGeneration = want.Status.ObservedGeneration
		if conditions[i].LastTransitionTime.IsZero() { // an empty history: nothing has ever happened
			conditions[i].LastTransitionTime = live.CreationTimestamp
		}
	}
	want.Status.Conditions = conditions
	want.Status.ValidNextStages, want.Status.History = w.desired.ValidNextStages, w.desired.History
	if equal(want.Status, live.Status) {
		return nil
	}
	u, err := cluster.Unstructured(&want)
	if err != nil {
		return err
	}
	if _, err = w.Resource(v1.Resource).UpdateStatus(ctx, u, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("cannot update the status of ImageBasedUpgrade: %w", err)
	}
	return nil
}

// inProgressOf is the condition that shows what becomes of a request for a stage.
var inProgressOf = map[events.Stage]string{
	events.StageIdle: v1.Idle, events.StagePrep: v1.PrepInProgress, events.StageUpgrade: v1.UpgradeInProgress, events.StageRollback: v1.RollbackInProgress,
}

// refusals are the lifecycle-agent's texts.
var refusals = map[events.Stage]string{
	events.StageIdle: "Abort or finalize not allowed", events.StagePrep: "Previous stage not succeeded",
	events.StageUpgrade: "Previous stage not succeeded", events.StageRollback: "Upgrade not started or already finalized",
}

func refusal(a *answer) string { return refusals[a.stage] + ": " + a.why }

// equal compares as the API does: times by the second, absent as empty.
func equal[T any](a, b T) bool {
	x, errX := cluster.Unstructured(&a)
	y, errY := cluster.Unstructured(&b)
	return errX == nil && errY == nil && reflect.DeepEqual(x.Object, y.Object)
}
