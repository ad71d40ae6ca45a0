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

// checkWorkloadComesBack lets the node's own Velero make the backups that the
// user's ConfigMap names and bring back exactly what they hold, when the whole
// namespace is gone.
func checkWorkloadComesBack(t *testing.T, config *rest.Config) {
	for range 2 { // the second time changes nothing
		if err := cluster.AddWorkload(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	client := dynamic.NewForConfigOrDie(config)
	// As on a new root: the location is made again from what the user wrote.
	if err := velero(client, "backupstoragelocations").Delete(t.Context(), "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the backup location is back", func(ctx context.Context) (bool, error) {
		_, err := velero(client, "backupstoragelocations").Get(ctx, "default", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	awaitPhase(t, client, "backupstoragelocations", "default", "Available")

	backups, restores := documents(t, client)
	for _, backup := range backups {
		create(t, client, "backups", backup)
		awaitPhase(t, client, "backups", backup.GetName(), "Completed")
	}
	namespaces := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	if err := namespaces.Delete(t.Context(), cluster.WorkloadNamespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, "the workload's namespace is gone", func(ctx context.Context) (bool, error) {
		_, err := namespaces.Get(ctx, cluster.WorkloadNamespace, metav1.GetOptions{})
		return apierrors.IsNotFound(err), nil
	})
	for _, restore := range restores {
		create(t, client, "restores", restore)
		awaitPhase(t, client, "restores", restore.GetName(), "Completed")
	}
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

// awaitPhase waits until Velero says that one of its objects is in a phase.
func awaitPhase(t *testing.T, client dynamic.Interface, resource, name, want string) {
	t.Helper()
	await(t, resource+" "+name+" is "+want, func(ctx context.Context) (bool, error) {
		object, err := velero(client, resource).Get(ctx, name, metav1.GetOptions{})
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
