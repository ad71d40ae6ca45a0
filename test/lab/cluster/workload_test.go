package cluster_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// patience bounds each wait for a controller; a pass takes a few seconds.
const patience = 90 * time.Second

// veleroPeriod is how often Velero looks for backups in a store
// (pkg/controller/backup_sync_controller.go), whatever the location's period says.
const veleroPeriod = time.Minute

// installPlugin gives a node's Velero its S3 plug-in.
func installPlugin(t *testing.T, c *cluster.Cluster, plugin string) {
	t.Helper()
	dir := filepath.Join(c.Var, strings.TrimPrefix(cluster.VeleroPluginDir, "/var/"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(plugin, filepath.Join(dir, "velero-plugin-for-aws")); err != nil {
		t.Fatal(err)
	}
}

// checkWorkloadMoves lets the Velero of one node make the backups that the user's
// ConfigMap names, and that of the other, given what the user gave the first,
// restore them: what an upgrade does over two roots. Exactly what the backups hold
// arrives.
func checkWorkloadMoves(t *testing.T, from, to *rest.Config) {
	for range 2 { // the second time changes nothing
		if err := cluster.AddWorkload(t.Context(), from); err != nil {
			t.Fatal(err)
		}
	}
	source, destination := dynamic.NewForConfigOrDie(from), dynamic.NewForConfigOrDie(to)
	awaitPhase(t, source, "backupstoragelocations", "default", "Available")
	backups, restores := documents(t, source)
	for _, backup := range backups {
		create(t, source, "backups", backup)
		awaitPhase(t, source, "backups", backup.GetName(), "Completed")
	}
	copyTo(t, source, destination, schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, "cloud-credentials")
	copyTo(t, source, destination, schema.GroupVersionResource{Group: "oadp.openshift.io", Version: "v1alpha1", Resource: "dataprotectionapplications"}, "dpa")
	start := time.Now()
	for _, restore := range restores {
		awaitPhase(t, destination, "backups", restore.GetName(), "Completed")
		create(t, destination, "restores", restore)
		awaitPhase(t, destination, "restores", restore.GetName(), "Completed")
	}
	took := time.Since(start).Round(time.Millisecond)
	t.Logf("synced and restored in %s", took)
	if took > veleroPeriod-10*time.Second {
		t.Errorf("took %s: Velero had no location when it looked for backups first", took)
	}
	checkRestored(t, to)
}

// checkRestored looks for what was backed up, and for what was not.
func checkRestored(t *testing.T, config *rest.Config) {
	t.Helper()
	for resource, want := range map[string]map[string]bool{
		"v1/configmaps":       {"catalogue": true, "session-cache": false},
		"v1/secrets":          {"payment": true},
		"apps/v1/deployments": {"storefront": true},
	} {
		for name, want := range want {
			_, err := lookup(t, config, resource, cluster.WorkloadNamespace, name)
			if err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			if got := err == nil; got != want {
				t.Errorf("%s %s is there: %t, want %t", resource, name, got, want)
			}
		}
	}
}

// documents are the Backups and the Restores in the user's ConfigMap.
func documents(t *testing.T, client dynamic.Interface) (backups, restores []*unstructured.Unstructured) {
	t.Helper()
	configMap, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).
		Namespace(cluster.BackupNamespace).Get(t.Context(), cluster.BackupConfigMap, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data, _, _ := unstructured.NestedStringMap(configMap.Object, "data")
	for _, text := range data {
		decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
		for {
			document := &unstructured.Unstructured{}
			if err := decoder.Decode(document); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if document.GetAnnotations()["lca.openshift.io/apply-wave"] == "" {
				t.Errorf("%s %s is in no wave", document.GetKind(), document.GetName())
			}
			if document.GetKind() == "Backup" {
				backups = append(backups, document)
			} else {
				restores = append(restores, document)
			}
		}
	}
	if len(backups) != 2 || len(restores) != 2 {
		t.Fatalf("%d backups and %d restores, want two of each", len(backups), len(restores))
	}
	return backups, restores
}

// serveStore runs the lab's S3 server until the test ends.
func serveStore(t *testing.T, program string) *cluster.BackupStore {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)[0])
	server := exec.Command(program, "-addr", address, "-file", filepath.Join(t.TempDir(), "s3.db"), "-bucket", "backups")
	server.Stdout, server.Stderr = os.Stderr, os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	})
	return &cluster.BackupStore{URL: "http://" + address, Bucket: "backups", AccessKey: "lab", SecretKey: "lab"}
}

func velero(client dynamic.Interface, resource string) dynamic.ResourceInterface {
	return client.Resource(schema.GroupVersionResource{Group: "velero.io", Version: "v1", Resource: resource}).Namespace(cluster.BackupNamespace)
}

func create(t *testing.T, client dynamic.Interface, resource string, object *unstructured.Unstructured) {
	t.Helper()
	if _, err := velero(client, resource).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// copyTo creates in one cluster what a user wrote in another.
func copyTo(t *testing.T, from, to dynamic.Interface, resource schema.GroupVersionResource, name string) {
	t.Helper()
	object, err := from.Resource(resource).Namespace(cluster.BackupNamespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delete(object.Object, "status")
	object.Object["metadata"] = map[string]any{"namespace": cluster.BackupNamespace, "name": name}
	if _, err := to.Resource(resource).Namespace(cluster.BackupNamespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// awaitPhase waits until Velero has brought one of its objects, which may not be
// there yet, to a phase.
func awaitPhase(t *testing.T, client dynamic.Interface, resource, name, want string) {
	t.Helper()
	await(t, resource+" "+name+" is "+want, func(ctx context.Context) (bool, error) {
		object, err := velero(client, resource).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		phase, _, _ := unstructured.NestedString(object.Object, "status", "phase")
		if strings.Contains(phase, "Failed") {
			return false, fmt.Errorf("%s: %v", phase, object.Object["status"])
		}
		return phase == want, nil
	})
}

func await(t *testing.T, what string, done wait.ConditionWithContextFunc) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, done); err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}
