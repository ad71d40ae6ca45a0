package restore

import (
	"context"
	"errors"
	"fmt"

	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/velero"
)

// restores drives the waves as far as they go now. It ends with all Restores, with the failure of one, or with an
// error, which is a functions.Retry while Velero works.
func (f Function) restores(ctx context.Context, s upgrade.State) ([]events.RestoreRef, *events.RestoreFailed, error) {
	done := []events.RestoreRef{}
	if len(s.Backups) == 0 {
		return done, nil, nil
	}
	if err := f.Cluster.Ours(ctx, s); err != nil {
		return nil, nil, err
	}
	docs, err := f.Cluster.Documents(ctx, s.Spec.OADPContent)
	if err == nil {
		_, docs, err = velero.Pairs(docs)
	}
	if content, ok := cluster.AsContent(err); ok {
		return nil, &events.RestoreFailed{Failure: events.Fail(events.ReasonRestoreFailed, content.Error(),
			"the ConfigMaps that spec.oadpContent names changed since the backup; set them right and ask again")}, nil
	}
	if err != nil {
		return nil, nil, cluster.Again(err, "waiting for the cluster's API")
	}
	waves := cluster.Waves(docs)
	for i, wave := range waves {
		running := ""
		for _, doc := range wave {
			r, err := f.ensure(ctx, s, doc)
			if unusable := (*unusableError)(nil); cluster.Refused(err) || errors.As(err, &unusable) {
				return nil, &events.RestoreFailed{Failure: events.Fail(events.ReasonRestoreFailed,
					fmt.Sprintf("cannot restore with %s from %s: %s", doc.GetName(), doc.From, cluster.Cause(err)),
					"mend the Restore in its ConfigMap, set stage Idle after the rollback, then ask again")}, nil
			}
			if err != nil {
				return nil, nil, cluster.Again(err, "waiting for the cluster's API")
			}
			ref := events.RestoreRef{Namespace: r.Namespace, Name: r.Name, Backup: r.Spec.BackupName, Wave: doc.Wave}
			switch r.Status.Phase {
			case velerov1.RestorePhaseCompleted:
			case velerov1.RestorePhaseFailed, velerov1.RestorePhasePartiallyFailed, velerov1.RestorePhaseFailedValidation:
				return nil, ended(r, ref), nil
			default:
				running = fmt.Sprintf("Restore %s (wave %d of %d) is %s", r.Name, i+1, len(waves), progress(r))
			}
			done = append(done, ref)
		}
		if running != "" {
			return nil, nil, &functions.Retry{After: poll, Reason: running}
		}
	}
	return done, nil, nil
}

// ensure returns the upgrade's Restore for the user's document, and makes it when it is not there and the Backup that
// it is for is.
func (f Function) ensure(ctx context.Context, s upgrade.State, doc cluster.Document) (*velerov1.Restore, error) {
	api := f.Cluster.Resource(velero.Restores).Namespace(velero.Namespace)
	name := velero.ObjectName(doc.GetName(), s.Upgrade)
	u, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		want, from := wanted(s, doc, name)
		if err := f.synced(ctx, s, from); err != nil {
			return nil, err
		}
		u, err = api.Create(ctx, want, metav1.CreateOptions{})
	}
	if err != nil {
		return nil, err
	}
	return cluster.Object[velerov1.Restore](u)
}

// wanted is the Restore to make, and the name of the Backup that it is from.
func wanted(s upgrade.State, doc cluster.Document, name string) (*unstructured.Unstructured, string) {
	u := velero.Owned(s, doc, name)
	spec, _ := u.Object["spec"].(map[string]any)
	asked, _ := spec["backupName"].(string)
	from := velero.ObjectName(asked, s.Upgrade)
	spec["backupName"] = from
	return u, from
}

// unusableError says that a Backup must not be restored from.
type unusableError struct{ backup, why string }

func (e *unusableError) Error() string { return "Backup " + e.backup + " cannot be used: " + e.why }

// synced returns nil when Velero has found the pinned Backup in the object store, and a functions.Retry until then. A
// Backup that Velero synced has a new uid, so that the labels that it was made with tell whose it is.
func (f Function) synced(ctx context.Context, s upgrade.State, name string) error {
	pinned := false
	for _, b := range s.Backups {
		pinned = pinned || b.Name == name
	}
	if !pinned {
		return &unusableError{name, "it is not one that this upgrade made"}
	}
	u, err := f.Cluster.Resource(velero.Backups).Namespace(velero.Namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return &functions.Retry{After: poll, Reason: fmt.Sprintf("waiting for Velero to find Backup %s in the object store", name)}
	}
	if err != nil {
		return err
	}
	if l := u.GetLabels(); l[velero.LabelClusterID] != s.Origin.ID || l[velero.LabelUpgrade] != s.Upgrade {
		return &unusableError{name, "its labels say that it is another cluster's or upgrade's"}
	}
	return nil
}

func progress(r *velerov1.Restore) string {
	done, total := 0, 0
	if p := r.Status.Progress; p != nil {
		done, total = p.ItemsRestored, p.TotalItems
	}
	return velero.Progress(string(r.Status.Phase), done, total)
}

func ended(r *velerov1.Restore, ref events.RestoreRef) *events.RestoreFailed {
	detail := velero.Why(r.Status.FailureReason, r.Status.ValidationErrors, r.Status.Errors, r.Status.Warnings)
	return &events.RestoreFailed{Restore: &ref, Failure: events.Fail(events.ReasonRestoreFailed,
		fmt.Sprintf("Restore %s ended as %s: %s", r.Name, r.Status.Phase, detail),
		fmt.Sprintf("look at its log in the object store, restores/%s/, set stage Idle after the rollback, then ask again", r.Name))}
}
