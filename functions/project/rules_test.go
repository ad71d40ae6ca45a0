package project_test

import (
	"context"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reroot-dev/reroot/events"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// progress is a status as the function would have written it.
func progress(idle bool, next ...events.Stage) v1.Status {
	c := metav1.Condition{Type: v1.Idle, Status: metav1.ConditionFalse, Reason: v1.ReasonInProgress, LastTransitionTime: metav1.Now()}
	if idle {
		c.Status, c.Reason = metav1.ConditionTrue, v1.ReasonIdle
	}
	return v1.Status{Conditions: []metav1.Condition{c}, ValidNextStages: next}
}

// TestRules has the API server judge changes of the spec by the definition's rules.
func TestRules(t *testing.T) {
	y := begin(t)
	patiently(t, func(ctx context.Context) error { return y.f.Show(ctx, y.state) }) // the definition is there
	seed := v1.SeedImageRef{Version: "4.17.0", Image: "registry.lab/seed:4.17.0"}
	other := v1.SeedImageRef{Version: "4.18.0", Image: "registry.lab/seed:4.18.0"}
	content := []events.ConfigMapRef{{Name: "content", Namespace: "openshift-adp"}}
	budget := &v1.AutoRollbackOnFailure{InitMonitorTimeoutSeconds: 600}
	prepared := progress(false, events.StageIdle, events.StageUpgrade)
	tests := []struct {
		name     string
		from, to v1.Spec
		status   v1.Status
		want     string // part of the refusal; "" when it is allowed
	}{
		{"Idle to Prep with a seed", v1.Spec{Stage: events.StageIdle}, v1.Spec{Stage: events.StagePrep, SeedImageRef: seed}, progress(true, events.StagePrep), ""},
		{"Idle to Upgrade", v1.Spec{Stage: events.StageIdle}, v1.Spec{Stage: events.StageUpgrade}, progress(true, events.StagePrep), "the stage transition is not permitted"},
		{"Prep to Upgrade", v1.Spec{Stage: events.StagePrep, SeedImageRef: seed}, v1.Spec{Stage: events.StageUpgrade, SeedImageRef: seed}, prepared, ""},
		{"Prep to Upgrade before it is prepared", v1.Spec{Stage: events.StagePrep, SeedImageRef: seed}, v1.Spec{Stage: events.StageUpgrade, SeedImageRef: seed}, progress(false, events.StageIdle), "the stage transition is not permitted"},
		{"no stage at all", v1.Spec{Stage: events.StagePrep, SeedImageRef: seed}, v1.Spec{SeedImageRef: seed}, prepared, "the stage transition is not permitted"},
		{"a stage that does not exist", v1.Spec{Stage: events.StageIdle}, v1.Spec{Stage: "Sideways"}, progress(true, events.StagePrep), "Unsupported value"},
		{"another seed while in progress", v1.Spec{Stage: events.StagePrep, SeedImageRef: seed}, v1.Spec{Stage: events.StagePrep, SeedImageRef: other}, prepared, "can not change spec.seedImageRef while ibu is in progress"},
		{"no seed while in progress", v1.Spec{Stage: events.StagePrep, SeedImageRef: seed}, v1.Spec{Stage: events.StagePrep}, prepared, "can not change spec.seedImageRef while ibu is in progress"},
		{"another seed while Idle", v1.Spec{Stage: events.StageIdle, SeedImageRef: seed}, v1.Spec{Stage: events.StageIdle, SeedImageRef: other}, progress(true, events.StagePrep), ""},
		{"another seed on the way to Idle", v1.Spec{Stage: events.StagePrep, SeedImageRef: seed}, v1.Spec{Stage: events.StageIdle, SeedImageRef: other}, prepared, ""},
		{"content added while in progress", v1.Spec{Stage: events.StagePrep}, v1.Spec{Stage: events.StagePrep, OADPContent: content}, prepared, "can not change spec.oadpContent while ibu is in progress"},
		{"manifests removed while in progress", v1.Spec{Stage: events.StagePrep, ExtraManifests: content}, v1.Spec{Stage: events.StagePrep}, prepared, "can not change spec.extraManifests while ibu is in progress"},
		{"watchdog changed while in progress", v1.Spec{Stage: events.StagePrep}, v1.Spec{Stage: events.StagePrep, AutoRollbackOnFailure: budget}, prepared, "can not change spec.autoRollbackOnFailure while ibu is in progress"},
		{"an image with blanks", v1.Spec{Stage: events.StageIdle}, v1.Spec{Stage: events.StageIdle, SeedImageRef: v1.SeedImageRef{Image: "a b"}}, progress(true, events.StagePrep), "spec.seedImageRef.image"},
		{"a negative budget", v1.Spec{Stage: events.StageIdle}, v1.Spec{Stage: events.StageIdle, AutoRollbackOnFailure: &v1.AutoRollbackOnFailure{InitMonitorTimeoutSeconds: -1}}, progress(true, events.StagePrep), "initMonitorTimeoutSeconds"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			begin(t)
			o := &v1.ImageBasedUpgrade{Spec: tt.from}
			o.APIVersion, o.Kind, o.Name = v1.GroupVersion.String(), v1.Kind, v1.Name
			made, err := world.Client.Resource(v1.Resource).Create(t.Context(), encoded(t, o), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			o.ResourceVersion, o.Status = made.GetResourceVersion(), tt.status
			if _, err := world.Client.Resource(v1.Resource).UpdateStatus(t.Context(), encoded(t, o), metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			err = ask(t, func(o *v1.ImageBasedUpgrade) { o.Spec = tt.to })
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("it is refused: %v", err)
			case tt.want != "" && (!apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	t.Run("another name", func(t *testing.T) {
		o := &v1.ImageBasedUpgrade{}
		o.APIVersion, o.Kind, o.Name = v1.GroupVersion.String(), v1.Kind, "second"
		_, err := world.Client.Resource(v1.Resource).Create(t.Context(), encoded(t, o), metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "ibu is a singleton") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a spec where there was none", func(t *testing.T) {
		begin(t)
		bare := &unstructured.Unstructured{Object: map[string]any{"apiVersion": v1.GroupVersion.String(), "kind": v1.Kind, "metadata": map[string]any{"name": v1.Name}}}
		made, err := world.Client.Resource(v1.Resource).Create(t.Context(), bare, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		status := encoded(t, &v1.ImageBasedUpgrade{Status: progress(true, events.StagePrep)})
		made.Object["status"] = status.Object["status"]
		if _, err := world.Client.Resource(v1.Resource).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		label := []byte(`{"metadata":{"labels":{"a":"b"}}}`)
		if _, err := world.Client.Resource(v1.Resource).Patch(t.Context(), v1.Name, types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
			t.Errorf("a label is refused: %v", err)
		}
		if err := ask(t, func(o *v1.ImageBasedUpgrade) { o.Spec = v1.Spec{Stage: events.StagePrep, SeedImageRef: seed} }); err != nil {
			t.Errorf("it is refused: %v", err)
		}
	})
}

// TestColumns: `kubectl get ibu` shows the last condition.
func TestColumns(t *testing.T) {
	y := begin(t)
	patiently(t, func(ctx context.Context) error { return y.f.Show(ctx, y.state) })
	definition, err := world.Client.Resource(cluster.CustomResourceDefinitions).Get(t.Context(), "imagebasedupgrades.lca.openshift.io", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	versions, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	columns, _, _ := unstructured.NestedSlice(versions[0].(map[string]any), "additionalPrinterColumns")
	want := map[string]string{"Age": ".metadata.creationTimestamp", "Desired Stage": ".spec.stage", "State": ".status.conditions[-1:].reason", "Details": ".status.conditions[-1:].message"}
	for _, c := range columns {
		column := c.(map[string]any)
		if name := column["name"].(string); want[name] != column["jsonPath"] {
			t.Errorf("column %s shows %s", name, column["jsonPath"])
		}
		delete(want, column["name"].(string))
	}
	if len(want) > 0 {
		t.Errorf("columns are missing: %v", want)
	}
}

func encoded(t *testing.T, o *v1.ImageBasedUpgrade) *unstructured.Unstructured {
	t.Helper()
	u, err := cluster.Unstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
