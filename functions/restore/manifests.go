package restore

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// fieldManager is the owner of what is applied.
const fieldManager = "reroot"

// manifests applies the extra manifests, wave by wave, once the cluster has settled. It returns how many objects were
// applied, or which one was refused, or a functions.Retry.
func (f Function) manifests(ctx context.Context, s upgrade.State) (int, *events.ManifestsFailed, error) {
	if err := f.Cluster.Settled(ctx, s); err != nil {
		return 0, nil, err
	}
	docs, err := f.Cluster.Manifests(ctx, s.Spec.ExtraManifests)
	if content, ok := cluster.AsContent(err); ok {
		return 0, &events.ManifestsFailed{Failure: events.Fail(events.ReasonManifestsFailed, content.Error(),
			"mend the ConfigMaps that spec.extraManifests names")}, nil
	}
	if err != nil {
		return 0, nil, cluster.Again(err, "waiting for the cluster's API")
	}
	for _, doc := range docs {
		err := f.apply(ctx, doc)
		switch {
		case err == nil:
		case cluster.Refused(err):
			object := fmt.Sprintf("%s %s", doc.GetKind(), doc.GetName())
			return 0, &events.ManifestsFailed{Object: object, Failure: events.Fail(events.ReasonManifestsFailed,
				fmt.Sprintf("cannot apply %s from %s: %s", object, doc.From, cluster.Cause(err)),
				"mend the manifest, set stage Idle after the rollback, then ask again")}, nil
		default:
			return 0, nil, cluster.Again(err, "waiting for the cluster's API")
		}
	}
	return len(docs), nil, nil
}

// apply creates the object or, where it is there, replaces it, or merges into it when its annotation says so.
func (f Function) apply(ctx context.Context, doc cluster.Document) error {
	merge := doc.GetAnnotations()[cluster.AnnotationApplyType] == cluster.ApplyMerge
	want := doc.DeepCopy()
	unstructured.RemoveNestedField(want.Object, "status")
	api, err := f.Cluster.For(want)
	if err != nil {
		return err
	}
	if merge {
		body, err := want.MarshalJSON()
		if err != nil {
			return err
		}
		force := true
		_, err = api.Patch(ctx, want.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: fieldManager, Force: &force})
		return err
	}
	_, err = api.Create(ctx, want, metav1.CreateOptions{FieldManager: fieldManager})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	live, err := api.Get(ctx, want.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	want.SetResourceVersion(live.GetResourceVersion())
	_, err = api.Update(ctx, want, metav1.UpdateOptions{FieldManager: fieldManager})
	return err
}
