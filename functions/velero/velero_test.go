package velero_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/backup"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/cluster/clustertest"
	"github.com/reroot-dev/reroot/functions/restore"
	"github.com/reroot-dev/reroot/functions/velero"
	lab "github.com/reroot-dev/reroot/test/lab/cluster"
)

// The tests of backup and restore are here because each is the other's proof, on one Velero.
var world *clustertest.World

func TestMain(m *testing.M) { clustertest.Main(m, &world, clustertest.StartVelero) }

// teller tells a story up to an event that a function is to answer.
type teller struct {
	state upgrade.State
	story upgradetest.Story
	last  event.Event
}

func (y *teller) tell(t *testing.T, kind events.Type, over map[string]any) {
	t.Helper()
	y.take(t, y.story.Tell(y.state, kind, over))
}

func (y *teller) take(t *testing.T, e event.Event) {
	t.Helper()
	if p := events.Validate(e); p != nil {
		t.Fatalf("%s is invalid: %v", e.Type(), p)
	}
	next, err := y.state.Apply(e, "h"+e.ID())
	if err != nil {
		t.Fatal(err)
	}
	y.state, y.last = next, e
}

// begin tells an upgrade with the given spec up to an event of the good path.
func begin(t *testing.T, id string, spec map[string]any, until events.Type) *teller {
	t.Helper()
	y := &teller{state: upgrade.New(upgradetest.Cluster), story: upgradetest.Story{Upgrade: id}}
	spec["seedImageRef"] = map[string]any{"version": "4.17.0", "image": "registry.lab/seed:4.17.0"}
	for i, kind := range upgradetest.Until(until) {
		over := map[string]any{}
		if i == 0 {
			over["spec"] = spec
		}
		y.tell(t, kind, over)
	}
	return y
}

// answer calls a function as the runtime does, until it answers, and takes what it says into the history. Waits are
// what it asked to wait for.
func (y *teller) answer(t *testing.T, h functions.Handler) (answer event.Event, waits []string) {
	t.Helper()
	var out []event.Event
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (done bool, err error) {
		out, err = h.Handle(ctx, y.state, y.last)
		if again := (*functions.Retry)(nil); errors.As(err, &again) {
			if len(waits) == 0 || waits[len(waits)-1] != again.Reason {
				waits = append(waits, again.Reason)
			}
			return false, nil
		}
		return true, err
	})
	if err != nil || len(out) != 1 {
		t.Fatalf("%s: answers %v, %v; waited for %q", events.TypeOf(y.last).Short(), out, err, waits)
	}
	y.take(t, out[0])
	return out[0], waits
}

func refs(names ...string) []any {
	var all []any
	for _, n := range names {
		namespace, name, _ := strings.Cut(n, "/")
		all = append(all, map[string]any{"namespace": namespace, "name": name})
	}
	return all
}

func configMap(t *testing.T, namespace, name, text string) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"namespace": namespace, "name": name}, "data": map[string]any{"all.yaml": text}}}
	api := world.Client.Resource(cluster.ConfigMaps).Namespace(namespace)
	if _, err := api.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func exists(t *testing.T, resource schema.GroupVersionResource, namespace, name string) bool {
	t.Helper()
	_, err := world.Client.Resource(resource).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

// TestThereAndBack backs up a workload, loses it as a pivot would, and restores it.
func TestThereAndBack(t *testing.T) {
	if err := lab.AddWorkload(t.Context(), world.Config); err != nil {
		t.Fatal(err)
	}
	stranger := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "velero.io/v1", "kind": "Backup",
		"metadata": map[string]any{"namespace": velero.Namespace, "name": "shop-settings", "labels": map[string]any{velero.LabelClusterID: "another"}}, "spec": map[string]any{}, "status": map[string]any{"phase": "Completed"}}}
	backups := world.Client.Resource(velero.Backups).Namespace(velero.Namespace)
	if _, err := backups.Create(t.Context(), stranger, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	configMap(t, "default", "extra", `
{apiVersion: v1, kind: ConfigMap, metadata: {name: greeting, namespace: late, annotations: {lca.openshift.io/apply-wave: "2"}}, data: {say: hello}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: late, annotations: {lca.openshift.io/apply-wave: "1"}}}
`)
	y := begin(t, "there-and-back", map[string]any{"oadpContent": refs(lab.BackupNamespace + "/" + lab.BackupConfigMap), "extraManifests": refs("default/extra")}, events.TypeUpgradeStarted)

	answer, waits := y.answer(t, backup.Function{Cluster: world.Client})
	done, err := events.Decode[events.BackupCompleted](answer)
	if err != nil {
		t.Fatalf("%v: %s", err, answer.Data())
	}
	if len(done.Backups) != 2 || done.Backups[0].Name != "shop-settings-there-and-back" || done.Backups[0].Wave != 1 || done.Backups[1].Wave != 2 {
		t.Fatalf("backups %+v", done.Backups)
	}
	inWaves(t, done.Backups)
	if len(waits) == 0 || !strings.HasPrefix(waits[0], "Backup shop-settings-there-and-back (wave 1 of 2) is ") {
		t.Errorf("waited for %q", waits)
	}
	if !exists(t, velero.Backups, velero.Namespace, "shop-settings") {
		t.Error("a Backup of another cluster is gone")
	}

	lose(t)
	for _, kind := range upgradetest.GoodPath[len(upgradetest.Until(events.TypeBackupCompleted)):len(upgradetest.Until(events.TypeReconfigureCompleted))] {
		y.tell(t, kind, nil)
	}
	answer, _ = y.answer(t, restore.Function{Cluster: world.Client})
	if applied, err := events.Decode[events.ManifestsApplied](answer); err != nil || applied.Applied != 2 {
		t.Fatalf("%v: %s", err, answer.Data())
	}
	if !exists(t, cluster.ConfigMaps, "late", "greeting") {
		t.Error("the extra manifest is not there")
	}
	answer, waits = y.answer(t, restore.Function{Cluster: world.Client})
	restored, err := events.Decode[events.RestoreCompleted](answer)
	if err != nil || len(restored.Restores) != 2 || restored.Restores[1].Backup != "shop-storefront-there-and-back" {
		t.Fatalf("%v: %s", err, answer.Data())
	}
	if len(waits) == 0 || !strings.HasPrefix(waits[0], "waiting for Velero to find Backup shop-settings-there-and-back") {
		t.Errorf("waited for %q", waits)
	}
	for name, want := range map[string]bool{"catalogue": true, "session-cache": false} {
		if got := exists(t, cluster.ConfigMaps, lab.WorkloadNamespace, name); got != want {
			t.Errorf("ConfigMap %s is there: %t", name, got)
		}
	}
	if !exists(t, cluster.Deployments, lab.WorkloadNamespace, "storefront") {
		t.Error("the Deployment is not there")
	}
	answer, _ = y.answer(t, restore.Function{Cluster: world.Client})
	if events.TypeOf(answer) != events.TypeConfirmRequested {
		t.Errorf("it says %s", answer.Type())
	}
}

// inWaves checks that the second Backup began after the first had ended, and that both carry whose they are.
func inWaves(t *testing.T, made []events.BackupRef) {
	t.Helper()
	var ended string
	for _, ref := range made {
		b, err := world.Client.Resource(velero.Backups).Namespace(ref.Namespace).Get(t.Context(), ref.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if string(b.GetUID()) != ref.UID || b.GetLabels()[velero.LabelClusterID] != clustertest.ID || b.GetLabels()[velero.LabelUpgrade] != "there-and-back" {
			t.Errorf("%s has uid %s and labels %v", ref.Name, b.GetUID(), b.GetLabels())
		}
		started, _, _ := unstructured.NestedString(b.Object, "status", "startTimestamp")
		if started < ended { // RFC 3339, in UTC
			t.Errorf("%s began at %s, the wave before ended at %s", ref.Name, started, ended)
		}
		ended, _, _ = unstructured.NestedString(b.Object, "status", "completionTimestamp")
	}
}

// lose takes away what a pivot takes away, the workload and what Velero's objects say of the backups in the store, and
// starts everything again: Velero looks into the store when it starts, and then once a minute.
func lose(t *testing.T) {
	t.Helper()
	if err := world.Client.Resource(velero.Backups).Namespace(velero.Namespace).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: velero.LabelUpgrade}); err != nil {
		t.Fatal(err)
	}
	if err := world.Client.Resource(cluster.Namespaces).Delete(t.Context(), lab.WorkloadNamespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := world.Client.Resource(cluster.Namespaces).Get(ctx, lab.WorkloadNamespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := world.Down(); err != nil {
		t.Fatal(err)
	}
	if err := world.Up(context.Background()); err != nil {
		t.Fatal(err)
	}
}

const pair = `
{apiVersion: velero.io/v1, kind: Backup, metadata: {name: NAME}, spec: {includedNamespaces: [default], storageLocation: LOCATION}}
---
{apiVersion: velero.io/v1, kind: Restore, metadata: {name: NAME}, spec: {backupName: NAME}}
`

func pairOf(name, location string) string {
	return strings.NewReplacer("NAME", name, "LOCATION", location).Replace(pair)
}

func TestBackup(t *testing.T) {
	t.Run("nothing is to be backed up", func(t *testing.T) {
		y := begin(t, "nothing", map[string]any{}, events.TypeUpgradeStarted)
		answer, _ := y.answer(t, backup.Function{Cluster: world.Client})
		if events.TypeOf(answer) != events.TypeBackupCompleted || string(answer.Data()) != `{"backups":[]}` {
			t.Errorf("%s %s", answer.Type(), answer.Data())
		}
	})
	t.Run("Velero refuses it", func(t *testing.T) {
		configMap(t, "default", "refused", pairOf("refused", "nowhere"))
		y := begin(t, "refused", map[string]any{"oadpContent": refs("default/refused")}, events.TypeUpgradeStarted)
		answer, _ := y.answer(t, backup.Function{Cluster: world.Client})
		f, err := events.Decode[events.BackupFailed](answer)
		if err != nil || f.Reason != events.ReasonBackupFailed || f.Backup == nil || !strings.Contains(f.Message, "FailedValidation") || !strings.Contains(f.Message, "nowhere") || f.Next == "" {
			t.Errorf("%v: %s", err, answer.Data())
		}
	})
	t.Run("the ConfigMap has gone since it was validated", func(t *testing.T) {
		y := begin(t, "gone", map[string]any{"oadpContent": refs("default/gone")}, events.TypeUpgradeStarted)
		answer, _ := y.answer(t, backup.Function{Cluster: world.Client})
		f, err := events.Decode[events.BackupFailed](answer)
		if err != nil || f.Reason != events.ReasonConfigMapInvalid || !strings.Contains(f.Message, "ConfigMap default/gone does not exist") {
			t.Errorf("%v: %s", err, answer.Data())
		}
	})
	t.Run("the API server refuses it", func(t *testing.T) {
		configMap(t, "default", "invalid", strings.Replace(pairOf("invalid", "default"), "[default]", "default", 1))
		y := begin(t, "invalid", map[string]any{"oadpContent": refs("default/invalid")}, events.TypeUpgradeStarted)
		answer, _ := y.answer(t, backup.Function{Cluster: world.Client})
		f, err := events.Decode[events.BackupFailed](answer)
		if err != nil || f.Reason == events.ReasonDeadline || !strings.Contains(f.Message, "default/invalid[all.yaml]") {
			t.Errorf("%v: %s", err, answer.Data())
		}
	})
	t.Run("the deadline passes", func(t *testing.T) {
		y := begin(t, "late", map[string]any{"oadpContent": refs("default/late")}, events.TypeUpgradeStarted)
		y.tell(t, events.TypeDeadlinePassed, nil)
		answer, _ := y.answer(t, backup.Function{Cluster: world.Client})
		if f, err := events.Decode[events.BackupFailed](answer); err != nil || f.Reason != events.ReasonDeadline {
			t.Errorf("%v: %s", err, answer.Data())
		}
	})
}

// TestRestoreOfAStranger: a Backup by the right name that is another cluster's is not restored from.
func TestRestoreOfAStranger(t *testing.T) {
	stranger := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "velero.io/v1", "kind": "Backup",
		"metadata": map[string]any{"namespace": velero.Namespace, "name": "stolen-stranger", "labels": map[string]any{velero.LabelClusterID: "another"}}, "spec": map[string]any{}, "status": map[string]any{"phase": "Completed"}}}
	if _, err := world.Client.Resource(velero.Backups).Namespace(velero.Namespace).Create(t.Context(), stranger, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	configMap(t, "default", "stolen", pairOf("stolen", "default"))
	y := begin(t, "stranger", map[string]any{"oadpContent": refs("default/stolen")}, events.TypeUpgradeStarted)
	y.tell(t, events.TypeBackupCompleted, map[string]any{"backups": []any{map[string]any{"namespace": velero.Namespace, "name": "stolen-stranger", "uid": "77777777-2222-3333-4444-555555555555", "wave": 1}}})
	for _, kind := range upgradetest.GoodPath[len(upgradetest.Until(events.TypeBackupCompleted)):len(upgradetest.Until(events.TypeManifestsApplied))] {
		y.tell(t, kind, nil)
	}
	answer, _ := y.answer(t, restore.Function{Cluster: world.Client})
	f, err := events.Decode[events.RestoreFailed](answer)
	if err != nil || f.Reason != events.ReasonRestoreFailed || !strings.Contains(f.Message, "its labels say that it is another cluster's or upgrade's") {
		t.Errorf("%v: %s", err, answer.Data())
	}
}

func TestManifests(t *testing.T) {
	tests := []struct {
		name, text string
		want       string // part of the failure; "" where all is applied
	}{
		{"a kind that nobody serves", "{apiVersion: new.example/v1, kind: Later, metadata: {name: a}}", "Later a"},
		{"an object that is invalid", "{apiVersion: v1, kind: ConfigMap, metadata: {name: Not_A_Name}}", "ConfigMap Not_A_Name"},
		{"a forbidden kind", "{apiVersion: operators.coreos.com/v1alpha1, kind: Subscription, metadata: {name: s}}", "Subscription[s] in extra manifests is not allowed"},
		{"an object that exists is replaced", "{apiVersion: v1, kind: ConfigMap, metadata: {name: there}, data: {b: new}}", ""},
		{"an object that exists is merged", "{apiVersion: v1, kind: ConfigMap, metadata: {name: there, annotations: {lca.openshift.io/apply-type: merge}}, data: {c: new}}", ""},
	}
	configMap(t, "default", "there", "old")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			configMap(t, "default", "extra-manifests", tt.text)
			y := begin(t, "manifests", map[string]any{"extraManifests": refs("default/extra-manifests")}, events.TypeReconfigureCompleted)
			answer, _ := y.answer(t, restore.Function{Cluster: world.Client})
			if tt.want == "" {
				if applied, err := events.Decode[events.ManifestsApplied](answer); err != nil || applied.Applied != 1 {
					t.Errorf("%v: %s", err, answer.Data())
				}
				return
			}
			f, err := events.Decode[events.ManifestsFailed](answer)
			if err != nil || f.Reason != events.ReasonManifestsFailed || !strings.Contains(f.Message, tt.want) || f.Next == "" {
				t.Errorf("%v: %s", err, answer.Data())
			}
			answer, _ = y.answer(t, restore.Function{Cluster: world.Client})
			if u, err := events.Decode[events.UpgradeFailed](answer); err != nil || !u.AfterPivot || u.Failure != f.Failure {
				t.Errorf("%v: %s", err, answer.Data())
			}
		})
	}
	u, err := world.Client.Resource(cluster.ConfigMaps).Namespace("default").Get(t.Context(), "there", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data, _, _ := unstructured.NestedStringMap(u.Object, "data")
	if len(data) != 2 || data["b"] != "new" || data["c"] != "new" {
		t.Errorf("after replacing and merging it holds %v", data)
	}
}
