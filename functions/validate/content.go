package validate

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/velero"
)

// backupContent: the ConfigMaps of spec.oadpContent are there and hold Backups and Restores in pairs that the API
// server would take.
func (s *subject) backupContent(ctx context.Context) (finding, error) {
	const expected = "Backups, each with one Restore"
	if len(s.spec.OADPContent) == 0 {
		return holds("nothing is to be backed up", "ConfigMaps only where spec.oadpContent names some")
	}
	docs, err := s.Documents(ctx, s.spec.OADPContent)
	var backups, restores []cluster.Document
	if err == nil {
		backups, restores, err = velero.Pairs(docs)
	}
	if err == nil {
		err = s.rehearse(ctx, slices.Concat(backups, restores))
	}
	if content, ok := cluster.AsContent(err); ok {
		return invalid("spec.oadpContent", expected, content)
	}
	if err != nil {
		return finding{}, err
	}
	return holds(fmt.Sprintf("%d Backups with their Restores, in %d waves", len(backups), len(cluster.Waves(backups))), expected)
}

// rehearse has the API server check the objects without making them.
func (s *subject) rehearse(ctx context.Context, docs []cluster.Document) error {
	var problems []error
	for _, d := range docs {
		u := d.DeepCopy()
		u.SetNamespace(velero.Namespace)
		api, err := s.For(u)
		if meta.IsNoMatchError(err) {
			return nil // OADP is not installed: the next check says so
		}
		if err != nil {
			return err
		}
		_, err = api.Create(ctx, u, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err == nil, apierrors.IsAlreadyExists(err), apierrors.IsNotFound(err):
		case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
			problems = append(problems, fmt.Errorf("%s: %w", d.From, err))
		default:
			return err
		}
	}
	if len(problems) > 0 {
		return &cluster.ContentError{Problems: problems}
	}
	return nil
}

// extraManifests: the ConfigMaps of spec.extraManifests are there and hold objects that may be applied. A kind that
// the cluster does not serve is not a failure: the new root may.
func (s *subject) extraManifests(ctx context.Context) (finding, error) {
	const expected = "objects of kinds that may be applied"
	if len(s.spec.ExtraManifests) == 0 {
		return holds("nothing is to be applied", "ConfigMaps only where spec.extraManifests names some")
	}
	docs, err := s.Manifests(ctx, s.spec.ExtraManifests)
	if content, ok := cluster.AsContent(err); ok {
		return invalid("spec.extraManifests", expected, content)
	}
	if err != nil {
		return finding{}, err
	}
	observed := fmt.Sprintf("%d objects in %d waves", len(docs), len(cluster.Waves(docs)))
	for _, d := range docs {
		_, err := s.For(d.Unstructured)
		switch {
		case meta.IsNoMatchError(err):
			observed += fmt.Sprintf("; %s[%s]: this cluster does not serve the kind", d.GetKind(), d.GetName())
		case err != nil:
			return finding{}, err
		}
	}
	return holds(observed, expected)
}

func invalid(field, expected string, content *cluster.ContentError) (finding, error) {
	return fails(events.ReasonConfigMapInvalid, content.Error(), expected,
		fmt.Sprintf("cannot use the ConfigMaps of %s: %v", field, content),
		"mend the ConfigMaps, set stage Idle, then ask again")
}
