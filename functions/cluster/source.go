package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
)

// Origin is the inbox origin, and the writer, of what the cluster source submits.
const Origin = "source"

const (
	// watchLimit is how long one watch lasts; after it everything is listed again.
	watchLimit = 5 * time.Minute
	// backOff is the pause before an API that is away is tried again.
	backOff = time.Second
)

// Projection writes the ImageBasedUpgrade: the function project does.
type Projection interface {
	// Show brings the resource in line with the state and stamps it for this incarnation of the API.
	Show(ctx context.Context, s upgrade.State) error
	// Refuse shows why what the resource asks for cannot even be submitted. Request is its [RequestID].
	Refuse(ctx context.Context, s upgrade.State, request string, asked events.Stage, why string) error
}

// Source turns what users do on the cluster's API into events: a new spec of the ImageBasedUpgrade becomes a request,
// a Backup or Restore that goes into another phase a nudge for whoever waits for it.
//
// It reacts to generations of the spec that the status has not observed, never to writes of the status, and is shut
// until the resource is stamped for this incarnation of the API. A request's id is made of the resource's uid and
// generation, so that one that is submitted twice is one. It writes nothing itself.
type Source struct {
	Cluster    string // name of the history
	Client     *Client
	Inbox      journal.Inbox
	State      func(ctx context.Context) (upgrade.State, error) // the fold of the whole history
	Projection Projection
	Log        *slog.Logger
}

// Run watches until ctx ends; then no goroutine of it is left.
func (s *Source) Run(ctx context.Context) {
	var watches sync.WaitGroup
	defer watches.Wait()
	watches.Go(func() { s.follow(ctx, v1.Resource, "", s.resource) })
	for _, kind := range []string{"backups", "restores", "backupstoragelocations"} {
		phases := map[string]string{}
		watches.Go(func() {
			s.follow(ctx, velerov1.SchemeGroupVersion.WithResource(kind), metav1.NamespaceAll, func(ctx context.Context, u *unstructured.Unstructured) error {
				return s.nudge(ctx, phases, u)
			})
		})
	}
}

// follow hands every object of a kind to see, then each as it changes, and nil when there is none. Whatever goes wrong,
// it begins again with a list: nothing is missed, and what is seen twice does no harm.
func (s *Source) follow(ctx context.Context, kind schema.GroupVersionResource, namespace string, see func(context.Context, *unstructured.Unstructured) error) {
	trouble := trouble{log: s.Log.With("cluster", s.Cluster, "resource", kind.Resource)}
	for ctx.Err() == nil {
		err := s.followOnce(ctx, kind, namespace, see, trouble.over)
		if err != nil && ctx.Err() == nil {
			trouble.met(err)
			pause(ctx, backOff)
		}
	}
}

// followOnce lists and watches once. It calls well when both work.
func (s *Source) followOnce(ctx context.Context, kind schema.GroupVersionResource, namespace string, see func(context.Context, *unstructured.Unstructured) error, well func()) error {
	found, err := s.Client.Resource(kind).Namespace(namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) { // not served, maybe later
		found, err = &unstructured.UnstructuredList{}, nil
		defer pause(ctx, 10*backOff)
	}
	if err != nil {
		return err
	}
	for i := range found.Items {
		if err := see(ctx, &found.Items[i]); err != nil {
			return err
		}
	}
	if len(found.Items) == 0 {
		if err := see(ctx, nil); err != nil {
			return err
		}
	}
	if found.GetResourceVersion() == "" {
		well()
		return nil
	}
	limit := int64(watchLimit.Seconds())
	w, err := s.Client.watcher.Resource(kind).Namespace(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: found.GetResourceVersion(), TimeoutSeconds: &limit})
	if err != nil {
		return err
	}
	defer w.Stop()
	well()
	for change := range w.ResultChan() {
		u, ok := change.Object.(*unstructured.Unstructured)
		switch {
		case change.Type == watch.Error:
			return apierrors.FromObject(change.Object)
		case !ok:
		case change.Type == watch.Deleted:
			if err := see(ctx, nil); err != nil {
				return err
			}
		default:
			if err := see(ctx, u); err != nil {
				return err
			}
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// resource looks at the ImageBasedUpgrade, nil where there is none.
func (s *Source) resource(ctx context.Context, u *unstructured.Unstructured) error {
	state, err := s.State(ctx)
	if err != nil {
		return err
	}
	if u == nil {
		return s.Projection.Show(ctx, state)
	}
	live, err := Object[v1.ImageBasedUpgrade](u)
	if err != nil {
		return err
	}
	incarnation, err := s.Client.Incarnation(ctx)
	if err != nil {
		return err
	}
	if live.Annotations[v1.AnnotationIncarnation] != incarnation {
		return s.Projection.Show(ctx, state)
	}
	ask, asks := s.ask(live, state)
	switch {
	case !asks && live.Generation == live.Status.ObservedGeneration:
		return nil
	case !asks && live.Spec.Stage != events.StageIdle && !same(live.Spec.Upgrade(), state.Spec):
		return s.Projection.Refuse(ctx, state, RequestID(live), live.Spec.Stage, "the spec cannot change while the upgrade is in progress")
	case !asks:
		return s.Projection.Show(ctx, state) // the history has it already
	case ask.Subject() == "":
		return s.Projection.Refuse(ctx, state, ask.ID(), live.Spec.Stage, "there is no upgrade")
	}
	if err := state.Admit(ask, Origin, time.Now()); err != nil {
		return s.Projection.Refuse(ctx, state, ask.ID(), live.Spec.Stage, err.Error())
	}
	s.Log.Info("the resource asks for a stage", "cluster", s.Cluster, "stage", live.Spec.Stage, "event_id", ask.ID())
	return s.Inbox.Submit(ctx, Origin, ask)
}

// Retries are the annotations that ask for the stage of a failed phase again.
var Retries = []struct {
	Annotation string
	Failed     upgrade.Phase
	Stage      events.Stage
}{
	{v1.AnnotationManualCleanup, upgrade.CleanupFailed, events.StageIdle},
	{v1.AnnotationRollbackAgain, upgrade.RollbackFailed, events.StageRollback},
}

// ask is the request that the resource makes of the history, if it makes one.
func (s *Source) ask(u *v1.ImageBasedUpgrade, state upgrade.State) (event.Event, bool) {
	asked, asks := u.Asks()
	for _, r := range Retries {
		if _, again := u.Annotations[r.Annotation]; again && state.Phase == r.Failed {
			id := identifier(string(u.UID), r.Annotation, state.PhaseCause)
			return events.New(events.TypeStageRequested, id, s.Cluster, Origin, state.Upgrade, events.StageRequested{Stage: r.Stage}), true
		}
	}
	known := !asks || asked == events.StageUpgrade && state.Phase.Stage() == events.StageRollback
	// A rollback that failed without having been asked for is no answer to who asks for one now.
	known = known || asked == state.Phase.Stage() && (state.Phase != upgrade.RollbackFailed || state.Trigger == events.TriggerUser)
	if u.Generation == u.Status.ObservedGeneration || known {
		return event.Event{}, false
	}
	id := RequestID(u)
	if asked == events.StagePrep && state.Phase == upgrade.Idle {
		return events.New(events.TypeUpgradeRequested, id, s.Cluster, Origin, "ibu-"+id[:10],
			events.UpgradeRequested{Spec: u.Spec.Upgrade(), Through: events.StagePrep}), true
	}
	return events.New(events.TypeStageRequested, id, s.Cluster, Origin, state.Upgrade, events.StageRequested{Stage: asked}), true
}

// same compares specs as an event carries them.
func same(a, b events.UpgradeSpec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// RequestID is the id of the event that a generation of the resource's spec becomes.
func RequestID(u *v1.ImageBasedUpgrade) string {
	return identifier(u.Annotations[v1.AnnotationIncarnation], string(u.UID), strconv.FormatInt(u.Generation, 10))
}

// identifier is made of parts: 26 hex digits of a SHA-256.
func identifier(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintln(h, p)
	}
	return hex.EncodeToString(h.Sum(nil)[:13])
}

// nudge says that an object of Velero's went into another phase. Phases is what was seen before; the first sight of an
// object is a nudge too.
func (s *Source) nudge(ctx context.Context, phases map[string]string, u *unstructured.Unstructured) error {
	if u == nil {
		return nil
	}
	phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
	if seen, ok := phases[string(u.GetUID())]; ok && seen == phase {
		return nil
	}
	state, err := s.State(ctx)
	if err != nil {
		return err
	}
	if state.Phase.Open() {
		object := u.GetKind() + "/" + u.GetNamespace() + "/" + u.GetName()
		e := events.New(events.TypeClusterChanged, identifier(string(u.GetUID()), u.GetResourceVersion()), s.Cluster, Origin, state.Upgrade, events.ClusterChanged{Object: object})
		if err := s.Inbox.Submit(ctx, Origin, e); err != nil {
			return err
		}
	}
	phases[string(u.GetUID())] = phase
	return nil
}
