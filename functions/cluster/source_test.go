package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/finalize"
	"github.com/reroot-dev/reroot/functions/project"
	"github.com/reroot-dev/reroot/functions/runtime"
	"github.com/reroot-dev/reroot/functions/stage"
	"github.com/reroot-dev/reroot/functions/velero"
)

const name = "edge-1"

var discard = slog.New(slog.DiscardHandler)

func isConflict(err error) bool { return apierrors.IsConflict(err) }

// pipeline is a runtime with the functions that make and answer requests, and the cluster source.
type pipeline struct {
	*journal.Memory
	stop func()
}

func newPipeline(t *testing.T, store *journal.Memory) *pipeline {
	t.Helper()
	projection := project.New(world.Client)
	r := runtime.New(store, runtime.Options{Functions: map[string]functions.Handler{
		stage.Name: stage.Function{}, finalize.Name: finalize.Function{}, project.Name: projection,
	}})
	source := &cluster.Source{Cluster: name, Client: world.Client, Inbox: store, Projection: projection, Log: discard,
		State: func(ctx context.Context) (upgrade.State, error) { return journal.Fold(ctx, store, name, 0) }}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { source.Run(ctx) })
	p := &pipeline{Memory: store, stop: sync.OnceFunc(func() { cancel(); running.Wait() })}
	t.Cleanup(p.stop)
	return p
}

func (p *pipeline) history(ctx context.Context) (told []event.Event, err error) {
	for r, err := range p.Read(ctx, name, 1) {
		if err != nil {
			return nil, err
		}
		told = append(told, r.Event)
	}
	return told, nil
}

// reaches waits until the history and the resource are in a phase.
func (p *pipeline) reaches(t *testing.T, phase upgrade.Phase) *v1.ImageBasedUpgrade {
	t.Helper()
	var shown *v1.ImageBasedUpgrade
	eventually(t, "the resource shows "+string(phase), func(ctx context.Context) error {
		state, err := journal.Fold(ctx, p, name, 0)
		if err != nil || state.Phase != phase {
			return fmt.Errorf("phase %s, %v", state.Phase, err)
		}
		if shown, err = upgradeResource(ctx); err != nil {
			return err
		}
		if got, want := shown.Annotations[v1.AnnotationSequence], fmt.Sprint(state.Sequence); got != want || shown.Generation != shown.Status.ObservedGeneration {
			return fmt.Errorf("it shows event %s of %s, observed generation %d of %d", got, want, shown.Status.ObservedGeneration, shown.Generation)
		}
		return nil
	})
	return shown
}

// cleanedUp is the node's answer to the newest event, a command to clean up.
func (p *pipeline) cleanedUp(t *testing.T, answer events.Type) {
	t.Helper()
	var command event.Event
	eventually(t, "the node is asked to clean up", func(ctx context.Context) error {
		told, err := p.history(ctx)
		if err != nil {
			return err
		}
		if command = told[len(told)-1]; events.TypeOf(command) != events.TypeCleanupRequested {
			return errors.New(command.Type())
		}
		return nil
	})
	outcome := events.Outcome{Attempt: 1, Booted: events.Deployment{Stateroot: "rhcos_4.16.0", Commit: strings.Repeat("a", 64)}, BootID: "boot-1"}
	var fact any = events.CleanupCompleted{Outcome: outcome, Removed: []string{}}
	if answer == events.TypeCleanupFailed {
		fact = events.NodeFailure{Outcome: outcome, Failure: events.Failure{Reason: events.ReasonCleanupFailed, Message: "cannot remove"}}
	}
	state, err := journal.Fold(t.Context(), p, name, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Append(t.Context(), name, journal.Head{Sequence: state.Sequence, Hash: state.Hash}, events.Caused(command, "node", answer, 0, fact)); err != nil {
		t.Fatal(err)
	}
}

func askFor(version string) func(*v1.ImageBasedUpgrade) {
	return func(o *v1.ImageBasedUpgrade) {
		o.Spec.Stage = events.StagePrep
		o.Spec.SeedImageRef = v1.SeedImageRef{Version: version, Image: "registry.lab/seed:" + version}
	}
}

func goIdle(o *v1.ImageBasedUpgrade) { o.Spec.Stage = events.StageIdle }

// TestSource drives a pipeline by nothing but the ImageBasedUpgrade.
func TestSource(t *testing.T) {
	outer := t
	p := newPipeline(outer, journal.NewMemory(nil))
	p.reaches(t, upgrade.Idle)

	t.Run("a spec becomes a request", func(t *testing.T) {
		if err := user(t, askFor("4.17.0")); err != nil {
			t.Fatal(err)
		}
		o := p.reaches(t, upgrade.Validating)
		told, err := p.history(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		request, err := events.Decode[events.UpgradeRequested](told[0])
		if err != nil || request.Through != events.StagePrep || request.Spec.SeedImageRef.Version != "4.17.0" {
			t.Errorf("%+v, %v", request, err)
		}
		if told[0].ID() != cluster.RequestID(o) || events.Writer(told[0].Source()) != "source" {
			t.Errorf("its id is %s, its source %s", told[0].ID(), told[0].Source())
		}
	})
	t.Run("a restart and a write to the status are no requests", func(t *testing.T) {
		before, err := p.history(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.stop()
		p = newPipeline(outer, p.Memory)
		patch := []byte(`{"status":{"startedAt":"2026-11-22T12:00:00Z"}}`)
		if _, err := world.Client.Resource(v1.Resource).Patch(t.Context(), v1.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		if err := user(t, goIdle); err != nil { // comes after whatever the write led to
			t.Fatal(err)
		}
		p.cleanedUp(t, events.TypeCleanupFailed)
		p.reaches(t, upgrade.CleanupFailed)
		after, err := p.history(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := events.TypeOf(after[len(before)]); got != events.TypeStageRequested || len(after) != len(before)+5 {
			t.Errorf("%d events, then %d; the first of them %s", len(before), len(after), got)
		}
	})
	t.Run("the annotation tries to clean up again", func(t *testing.T) {
		if err := user(t, func(o *v1.ImageBasedUpgrade) { o.Annotations[v1.AnnotationManualCleanup] = "" }); err != nil {
			t.Fatal(err)
		}
		p.cleanedUp(t, events.TypeCleanupCompleted)
		if o := p.reaches(t, upgrade.Idle); has(o.Annotations, v1.AnnotationManualCleanup) {
			t.Error("the annotation is still there")
		}
	})
	t.Run("what cannot be a request is answered on the resource", func(t *testing.T) {
		if err := user(t, askFor("newest")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the answer is shown", func(ctx context.Context) error {
			o, err := upgradeResource(ctx)
			if err != nil {
				return err
			}
			last := o.Status.Conditions[len(o.Status.Conditions)-1]
			if last.Type != v1.PrepInProgress || last.Reason != v1.ReasonInvalidTransition || !strings.Contains(last.Message, "seedImageRef.version") {
				return fmt.Errorf("%+v", last)
			}
			return nil
		})
		if dead, err := p.Parked(t.Context(), name); err != nil || len(dead) > 0 {
			t.Errorf("parked: %v, %v", dead, err)
		}
	})
	t.Run("a resource that is deleted is made again", func(t *testing.T) {
		before, err := upgradeResource(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := world.Client.Resource(v1.Resource).Delete(t.Context(), v1.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is there", func(ctx context.Context) error {
			o, err := upgradeResource(ctx)
			if err == nil && o.UID == before.UID {
				return errors.New("it has not gone")
			}
			return err
		})
		p.reaches(t, upgrade.Idle)
	})
	t.Run("requests survive the API server", func(t *testing.T) {
		if err := world.Down(); err != nil {
			t.Fatal(err)
		}
		if err := world.Up(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := user(t, askFor("4.18.0")); err != nil {
			t.Fatal(err)
		}
		p.reaches(t, upgrade.Validating)
	})
}

func has(m map[string]string, key string) bool { _, ok := m[key]; return ok }

// inbox hands on what is submitted.
type inbox chan event.Event

func (i inbox) Submit(ctx context.Context, _ string, e event.Event) error {
	select {
	case i <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// silent is a projection that writes nothing.
type silent struct{}

func (silent) Show(context.Context, upgrade.State) error { return nil }
func (silent) Refuse(context.Context, upgrade.State, string, events.Stage, string) error {
	return nil
}

// TestNudges: a Backup's way through its phases nudges once a phase, its progress does not.
func TestNudges(t *testing.T) {
	submitted := make(inbox)
	open := upgrade.New(name)
	open.Phase, open.Upgrade = upgrade.Backup, "up-1"
	source := &cluster.Source{Cluster: name, Client: world.Client, Inbox: submitted, Projection: silent{}, Log: discard,
		State: func(context.Context) (upgrade.State, error) { return open, nil }}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { source.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })

	create(t, map[string]any{"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": map[string]any{"name": "shop", "namespace": velero.Namespace}, "spec": map[string]any{}})
	backups := world.Client.Resource(velero.Backups).Namespace(velero.Namespace)
	report := func(patch string) {
		t.Helper()
		if _, err := backups.Patch(t.Context(), "shop", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	nudged := func() {
		t.Helper()
		select {
		case e := <-submitted:
			change, err := events.Decode[events.ClusterChanged](e)
			if err != nil || change.Object != "Backup/openshift-adp/shop" {
				t.Fatalf("%+v, %v", change, err)
			}
			if p := events.Validate(e); p != nil {
				t.Error(p)
			}
		case <-time.After(time.Minute):
			t.Fatal("no nudge")
		}
	}
	nudged()
	report(`{"status":{"phase":"InProgress"}}`)
	nudged()
	report(`{"status":{"progress":{"itemsBackedUp":1}}}`)
	report(`{"status":{"phase":"Completed"}}`)
	nudged()
	select { // deliveries are in order: one for the progress would be here by now
	case e := <-submitted:
		t.Errorf("nudged again: %s", e.Data())
	default:
	}
}
