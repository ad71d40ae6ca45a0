// Package backup is the function that waits until the cluster has settled, has Velero back up what the user named, wave
// by wave, and pins what was made: only these Backups, by name and uid, will be restored. It deletes nothing: a Backup of
// the same name that belongs to another cluster or an older upgrade is left alone, because this one is called differently.
package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/velero"
)

// Name of the function.
const Name = "backup"

// poll is how long to wait for a Backup to make progress; a nudge from the cluster source ends it earlier.
const poll = 500 * time.Millisecond

// Function implements functions.Handler.
type Function struct{ Cluster *cluster.Client }

// Handle reacts as the table upgrade.Reactions says.
func (f Function) Handle(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	if s.Phase != upgrade.Backup {
		return nil, nil
	}
	say := func(t events.Type, data any) ([]event.Event, error) {
		return []event.Event{events.Caused(e, "functions/"+Name, t, 0, data)}, nil
	}
	if events.TypeOf(e) == events.TypeDeadlinePassed {
		return say(events.TypeBackupFailed, f.expiry(ctx, s))
	}
	done, failed, err := f.run(ctx, s)
	switch {
	case err != nil:
		return nil, err
	case failed != nil:
		return say(events.TypeBackupFailed, *failed)
	}
	return say(events.TypeBackupCompleted, events.BackupCompleted{Backups: done})
}

// begin returns nil once a Backup of this upgrade has been made, or none has and the cluster is as a backup should find
// it: it may be weeks since Prep has looked. Later a flapping operator is no reason not to look at Backups that run.
func (f Function) begin(ctx context.Context, s upgrade.State) error {
	if err := f.Cluster.Ours(ctx, s); err != nil {
		return err
	}
	if len(s.Spec.OADPContent) > 0 {
		made, err := f.Cluster.Resource(velero.Backups).Namespace(velero.Namespace).List(ctx, metav1.ListOptions{LabelSelector: velero.LabelUpgrade + "=" + s.Upgrade, Limit: 1})
		if err != nil && !apierrors.IsNotFound(err) {
			return cluster.Again(err, "waiting for the cluster's API")
		}
		if err == nil && len(made.Items) > 0 {
			return nil
		}
	}
	return f.Cluster.Settled(ctx, s)
}

// expiry is the failure when the time for the backups has passed.
func (f Function) expiry(ctx context.Context, s upgrade.State) events.BackupFailed {
	if again := (*functions.Retry)(nil); errors.As(f.begin(ctx, s), &again) {
		return events.BackupFailed{Failure: events.Fail(events.ReasonDeadline, "cannot begin to back up: "+again.Reason,
			"bring the cluster to rest (oc get clusteroperators,machineconfigpools,nodes), set stage Idle, then ask again")}
	}
	return events.BackupFailed{Failure: events.Fail(events.ReasonDeadline, "the backups did not end in the time they are given",
		"look at the Backups in namespace openshift-adp and at Velero's log, set stage Idle, then ask again")}
}

// run drives the waves as far as they go now. It ends with all Backups, with the failure of one, or with an error,
// which is a functions.Retry while Velero works.
func (f Function) run(ctx context.Context, s upgrade.State) ([]events.BackupRef, *events.BackupFailed, error) {
	if err := f.begin(ctx, s); err != nil {
		return nil, nil, err
	}
	done := []events.BackupRef{}
	if len(s.Spec.OADPContent) == 0 {
		return done, nil, nil
	}
	docs, err := f.Cluster.Documents(ctx, s.Spec.OADPContent)
	if err == nil {
		docs, _, err = velero.Pairs(docs)
	}
	if content, ok := cluster.AsContent(err); ok {
		return nil, &events.BackupFailed{Failure: events.Fail(events.ReasonConfigMapInvalid, content.Error(),
			"mend the ConfigMaps that spec.oadpContent names, set stage Idle, then ask again")}, nil
	}
	if err != nil {
		return nil, nil, cluster.Again(err, "waiting for the cluster's API")
	}
	waves := cluster.Waves(docs)
	for i, wave := range waves {
		running := ""
		for _, doc := range wave {
			b, err := f.ensure(ctx, s, doc)
			if cluster.Refused(err) || apierrors.IsNotFound(err) { // not found: Velero's kinds are gone
				return nil, &events.BackupFailed{Failure: events.Fail(events.ReasonBackupFailed,
					fmt.Sprintf("cannot create Backup %s from %s: %s", doc.GetName(), doc.From, cluster.Cause(err)),
					"mend the Backup or OADP, set stage Idle, then ask again")}, nil
			}
			if err != nil {
				return nil, nil, cluster.Again(err, "waiting for the cluster's API")
			}
			ref := events.BackupRef{Namespace: b.Namespace, Name: b.Name, UID: string(b.UID), Wave: doc.Wave}
			switch ending(b) {
			case failed:
				return nil, failure(b, ref), nil
			case underWay:
				if err := f.wake(ctx, b); err != nil {
					return nil, nil, cluster.Again(err, "waiting for the cluster's API")
				}
				running = fmt.Sprintf("Backup %s (wave %d of %d) is %s", b.Name, i+1, len(waves), progress(b))
			}
			done = append(done, ref)
		}
		if running != "" {
			return nil, nil, &functions.Retry{After: poll, Reason: running}
		}
	}
	return done, nil, nil
}

// ensure returns the upgrade's Backup for the user's document, and makes it when it is not there.
func (f Function) ensure(ctx context.Context, s upgrade.State, doc cluster.Document) (*velerov1.Backup, error) {
	api := f.Cluster.Resource(velero.Backups).Namespace(velero.Namespace)
	name := velero.ObjectName(doc.GetName(), s.Upgrade)
	u, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		u, err = api.Create(ctx, velero.Owned(s, doc, name), metav1.CreateOptions{})
	}
	if err != nil {
		return nil, err
	}
	return cluster.Object[velerov1.Backup](u)
}

// annotationWoken is when a Backup was last changed for Velero to look at it.
const annotationWoken = "reroot.dev/woken"

// wakeEvery is how often that is done at most.
const wakeEvery = 10 * time.Second

// wake changes a Backup that Velero was about to start, so that it looks at it. Velero 1.18 starts a Backup only at the
// moment when it sees it change to ReadyToStart: one that it was killed with would stay there for ever.
func (f Function) wake(ctx context.Context, b *velerov1.Backup) error {
	if b.Status.Phase != velerov1.BackupPhaseReadyToStart {
		return nil
	}
	// Within the interval the patch is the same, changes nothing, and nobody is told of it.
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, annotationWoken, time.Now().UTC().Truncate(wakeEvery).Format(time.RFC3339))
	_, err := f.Cluster.Resource(velero.Backups).Namespace(b.Namespace).Patch(ctx, b.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil // the next look says so
	}
	return err
}

type end int

const (
	underWay end = iota
	completed
	failed
)

// ending says how a Backup ended, if it has.
func ending(b *velerov1.Backup) end {
	switch b.Status.Phase {
	case velerov1.BackupPhaseCompleted:
		return completed
	case velerov1.BackupPhaseFailed, velerov1.BackupPhasePartiallyFailed, velerov1.BackupPhaseFailedValidation, velerov1.BackupPhaseDeleting:
		return failed
	}
	return underWay
}

func progress(b *velerov1.Backup) string {
	done, total := 0, 0
	if p := b.Status.Progress; p != nil {
		done, total = p.ItemsBackedUp, p.TotalItems
	}
	return velero.Progress(string(b.Status.Phase), done, total)
}

func failure(b *velerov1.Backup, ref events.BackupRef) *events.BackupFailed {
	detail := velero.Why(b.Status.FailureReason, b.Status.ValidationErrors, b.Status.Errors, b.Status.Warnings)
	return &events.BackupFailed{Backup: &ref, Failure: events.Fail(events.ReasonBackupFailed,
		fmt.Sprintf("Backup %s ended as %s: %s", b.Name, b.Status.Phase, detail),
		fmt.Sprintf("look at it with: velero -n %s backup logs %s; set stage Idle, then ask again", velero.Namespace, b.Name))}
}
