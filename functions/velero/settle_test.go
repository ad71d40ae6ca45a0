package velero_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/backup"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/restore"
	"github.com/reroot-dev/reroot/functions/velero"
)

const restless = "MachineConfigPool master has 0 of 1 machines ready"

// ready sets how many of the pool's one machine are ready.
func ready(t *testing.T, machines int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"status":{"readyMachineCount":%d}}`, machines)
	if _, err := world.Client.Resource(cluster.MachineConfigPools).Patch(t.Context(), "master", types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
}

// waits checks that a function waits for the cluster to settle, and that it answers when it has.
func (y *teller) waits(t *testing.T, h functions.Handler, want events.Type) {
	t.Helper()
	ready(t, 0)
	_, err := h.Handle(t.Context(), y.state, y.last)
	ready(t, 1)
	if again := (*functions.Retry)(nil); !errors.As(err, &again) || again.Reason != "waiting for the cluster to settle: "+restless {
		t.Errorf("before it has settled: %v", err)
	}
	if answer, _ := y.answer(t, h); events.TypeOf(answer) != want {
		t.Errorf("when it has settled it says %s", answer.Type())
	}
}

func TestRestlessCluster(t *testing.T) {
	t.Run("nothing is backed up", func(t *testing.T) {
		y := begin(t, "restless", map[string]any{}, events.TypeUpgradeStarted)
		y.waits(t, backup.Function{Cluster: world.Client}, events.TypeBackupCompleted)
	})
	t.Run("no Backup is made, one that is made goes on", func(t *testing.T) {
		configMap(t, "default", "calm", pairOf("calm", "default"))
		y := begin(t, "restless", map[string]any{"oadpContent": refs("default/calm")}, events.TypeUpgradeStarted)
		made := func() bool { return exists(t, velero.Backups, velero.Namespace, "calm-restless") }
		ready(t, 0)
		defer ready(t, 1)
		if _, err := (backup.Function{Cluster: world.Client}).Handle(t.Context(), y.state, y.last); err == nil || made() {
			t.Fatalf("it has begun: %v", err)
		}
		object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "velero.io/v1", "kind": "Backup",
			"metadata": map[string]any{"namespace": velero.Namespace, "name": "calm-restless", "labels": map[string]any{velero.LabelUpgrade: "restless"}}, "spec": map[string]any{}, "status": map[string]any{"phase": "Completed"}}}
		if _, err := world.Client.Resource(velero.Backups).Namespace(velero.Namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if answer, _ := y.answer(t, backup.Function{Cluster: world.Client}); events.TypeOf(answer) != events.TypeBackupCompleted {
			t.Errorf("it says %s", answer.Data())
		}
	})
	t.Run("a Backup that Velero was killed with is brought to its mind", func(t *testing.T) {
		configMap(t, "default", "woken", pairOf("woken", "default"))
		y := begin(t, "dozing", map[string]any{"oadpContent": refs("default/woken")}, events.TypeUpgradeStarted)
		backups := world.Client.Resource(velero.Backups).Namespace(velero.Namespace)
		object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "velero.io/v1", "kind": "Backup",
			"metadata": map[string]any{"namespace": velero.Namespace, "name": "woken-dozing", "labels": map[string]any{velero.LabelUpgrade: "dozing"}}, "spec": map[string]any{}, "status": map[string]any{"phase": "ReadyToStart"}}}
		if _, err := backups.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		_, err := (backup.Function{Cluster: world.Client}).Handle(t.Context(), y.state, y.last)
		if again := (*functions.Retry)(nil); !errors.As(err, &again) || !strings.Contains(again.Reason, "ReadyToStart") {
			t.Fatalf("it does not wait: %v", err)
		}
		seen, err := backups.Get(t.Context(), "woken-dozing", metav1.GetOptions{})
		if err != nil || seen.GetAnnotations()["reroot.dev/woken"] == "" {
			t.Errorf("Velero sees no change: %v, %v", seen.GetAnnotations(), err)
		}
		// It has to end, too, if it is woken often enough: as long as it seems to be running Velero begins no other.
		err = wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 90*time.Second, true, func(ctx context.Context) (bool, error) {
			if seen, err = backups.Get(ctx, "woken-dozing", metav1.GetOptions{}); err != nil {
				return false, err
			}
			_, _ = (backup.Function{Cluster: world.Client}).Handle(ctx, y.state, y.last) // says again that it waits
			phase, _, _ := unstructured.NestedString(seen.Object, "status", "phase")
			return phase != "ReadyToStart" && phase != "InProgress", nil
		})
		if err != nil {
			t.Errorf("Velero does not go on with it: %v, %v", seen.Object["status"], err)
		}
	})
	t.Run("until the deadline", func(t *testing.T) {
		y := begin(t, "restless-late", map[string]any{"oadpContent": refs("default/late")}, events.TypeUpgradeStarted)
		y.tell(t, events.TypeDeadlinePassed, nil)
		ready(t, 0)
		defer ready(t, 1)
		answer, _ := y.answer(t, backup.Function{Cluster: world.Client})
		if f, err := events.Decode[events.BackupFailed](answer); err != nil || f.Reason != events.ReasonDeadline || !strings.Contains(f.Message, restless) || f.Next == "" {
			t.Errorf("%v: %s", err, answer.Data())
		}
	})
	t.Run("no manifest is applied", func(t *testing.T) {
		y := begin(t, "restless", map[string]any{}, events.TypeReconfigureCompleted)
		y.waits(t, restore.Function{Cluster: world.Client}, events.TypeManifestsApplied)
	})
	t.Run("the new root is not kept", func(t *testing.T) {
		y := begin(t, "restless", map[string]any{}, events.TypeRestoreCompleted)
		y.waits(t, restore.Function{Cluster: world.Client}, events.TypeConfirmRequested)
	})
}
