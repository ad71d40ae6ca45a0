package staticpod_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

var (
	secrets     = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	deployments = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	locations   = veleroResource("backupstoragelocations")
	backups     = veleroResource("backups")
	restores    = veleroResource("restores")
)

const veleroNamespace = "velero"

func veleroResource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "velero.io", Version: "v1", Resource: name}
}

// A real Velero, with its object store, runs beside the control plane and brings
// a deleted ConfigMap back.
func TestVelero(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Velero, about 15 seconds")
	}
	t.Parallel()
	executables := binaries(t, "velero", "velero-plugin-for-aws", "s3")
	kubelet := labKubelet(t)
	c := newControlPlane(t)
	c.start(kubelet)
	c.awaitReady()
	client := dynamic.NewForConfigOrDie(c.client)
	installVelero(t, client, executables["velero"])
	c.putVelero(client, executables)
	await(t, client, locations, "default", "Available")

	create(t, client, namespaces, "", object("v1", "Namespace", "shop", nil))
	create(t, client, configMaps, "shop", object("v1", "ConfigMap", "prices", map[string]any{"data": map[string]any{"tea": "3"}}))
	create(t, client, backups, veleroNamespace, object("velero.io/v1", "Backup", "shop", map[string]any{
		"spec": map[string]any{"includedNamespaces": []any{"shop"}}}))
	await(t, client, backups, "shop", "Completed")

	inShop := in(client, configMaps, "shop")
	if err := inShop.Delete(t.Context(), "prices", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	create(t, client, restores, veleroNamespace, object("velero.io/v1", "Restore", "shop", map[string]any{
		"spec": map[string]any{"backupName": "shop"}}))
	await(t, client, restores, "shop", "Completed")
	restored, err := inShop.Get(t.Context(), "prices", metav1.GetOptions{})
	if err != nil {
		t.Fatalf("the ConfigMap was not restored: %v", err)
	}
	if price, _, _ := unstructured.NestedString(restored.Object, "data", "tea"); price != "3" {
		t.Errorf("the restored ConfigMap says %q, want 3", price)
	}
}

// installVelero creates what Velero expects to find in a cluster: its resource
// definitions, and a Deployment of its own name, which a Restore looks up.
func installVelero(t *testing.T, client dynamic.Interface, velero string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), velero, "install", "--crds-only", "--dry-run", "--output=json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var list unstructured.UnstructuredList
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	for _, definition := range list.Items {
		create(t, client, definitions, "", &definition)
	}
	for _, resource := range []schema.GroupVersionResource{locations, backups, restores} {
		eventually(t, resource.Resource+" are served", func() bool {
			_, err := client.Resource(resource).List(t.Context(), metav1.ListOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	create(t, client, namespaces, "", object("v1", "Namespace", veleroNamespace, nil))
	labels := map[string]any{"app": "velero"}
	create(t, client, deployments, veleroNamespace, object("apps/v1", "Deployment", "velero", map[string]any{"spec": map[string]any{
		"replicas": int64(0),
		"selector": map[string]any{"matchLabels": labels},
		"template": map[string]any{
			"metadata": map[string]any{"labels": labels},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "velero", "image": "lab.reroot.dev/velero:v1.18.3"}}},
		},
	}}))
}

// putVelero adds Velero and its object store to the node's manifests, and tells
// Velero where the store is.
func (c *controlPlane) putVelero(client dynamic.Interface, executables map[string]string) {
	c.t.Helper()
	plugins := filepath.Join(c.dir, "plugins")
	if err := os.Mkdir(plugins, 0o755); err != nil {
		c.t.Fatal(err)
	}
	for link, name := range map[string]string{
		filepath.Join(c.imgs, "s3-v1.2.0"):              "s3",
		filepath.Join(c.imgs, "velero-v1.18.3"):         "velero",
		filepath.Join(plugins, "velero-plugin-for-aws"): "velero-plugin-for-aws",
	} {
		if err := os.Symlink(executables[name], link); err != nil {
			c.t.Fatal(err)
		}
	}
	ports := freePorts(c.t, 3)
	create(c.t, client, secrets, veleroNamespace, object("v1", "Secret", "store", map[string]any{
		"stringData": map[string]any{"credentials": "[default]\naws_access_key_id=lab\naws_secret_access_key=lab\n"}}))
	create(c.t, client, locations, veleroNamespace, object("velero.io/v1", "BackupStorageLocation", "default", map[string]any{"spec": map[string]any{
		"provider":         "aws",
		"default":          true,
		"backupSyncPeriod": "5s",
		"objectStorage":    map[string]any{"bucket": "backups"},
		"credential":       map[string]any{"name": "store", "key": "credentials"},
		"config":           map[string]any{"region": "us-east-1", "s3ForcePathStyle": "true", "s3Url": "http://" + loopback(ports[0])},
	}}))
	c.put("s3.yaml", manifest(c.t, "s3", "lab.reroot.dev/s3:v1.2.0",
		[]string{"s3", "-addr=" + loopback(ports[0]), "-file=" + filepath.Join(c.dir, "s3.db"), "-bucket=backups"}, probed(ports[0])))
	c.put("velero.yaml", manifest(c.t, "velero", "lab.reroot.dev/velero:v1.18.3", []string{
		"velero", "server", "--kubeconfig=" + c.kubeconfig(), "--namespace=" + veleroNamespace, "--plugin-dir=" + plugins,
		"--metrics-address=" + loopback(ports[1]), "--profiler-address=" + loopback(ports[2]), "--store-validation-frequency=10s",
	}, env("VELERO_NAMESPACE", veleroNamespace), env("TMPDIR", c.dir) /* for the credentials that it writes */, after("s3")))
}

// await waits until Velero has brought an object to a phase.
func await(t *testing.T, client dynamic.Interface, resource schema.GroupVersionResource, name, phase string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s %s is %s", resource.Resource, name, phase), func() bool {
		o, err := in(client, resource, veleroNamespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		got, _, _ := unstructured.NestedString(o.Object, "status", "phase")
		if final := map[string]bool{"Failed": true, "PartiallyFailed": true, "FailedValidation": true}; final[got] {
			t.Fatalf("%s %s: %v", resource.Resource, name, o.Object["status"])
		}
		return got == phase
	})
}
