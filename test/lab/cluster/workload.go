package cluster

import (
	"context"
	"fmt"

	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/test/lab/cluster/oadp"
)

// The user's workload, and what says which part of it survives an upgrade.
const (
	// WorkloadNamespace holds the workload. In it are backed up ConfigMap
	// "catalogue" and Secret "payment" (first wave), Deployment "storefront"
	// (second wave); ConfigMap "session-cache" is not.
	WorkloadNamespace = "shop"
	// BackupConfigMap, in BackupNamespace, holds the Backups and Restores: it is
	// what an ImageBasedUpgrade's spec.oadpContent names.
	BackupConfigMap = "shop-backup"
	BackupNamespace = oadp.Namespace

	waveAnnotation = "lca.openshift.io/apply-wave"
	// backedUp is the label by which the backups choose; its value is the wave.
	backedUp = "shop.example/backup"
)

// AddWorkload creates the user's workload and the ConfigMap with its backups. The
// cluster must be serving; its controllers need not run.
func AddWorkload(ctx context.Context, config *rest.Config) error {
	a, err := newApplier(config)
	if err != nil {
		return err
	}
	backups, err := backupConfigMap()
	if err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: WorkloadNamespace}}
	if err := a.apply(ctx, namespace); err != nil {
		return err
	}
	return a.apply(ctx, append(workload(), backups)...)
}

func workload() []runtime.Object {
	named := func(name, wave string) metav1.ObjectMeta {
		meta := metav1.ObjectMeta{Namespace: WorkloadNamespace, Name: name}
		if wave != "" {
			meta.Labels = map[string]string{backedUp: wave}
		}
		return meta
	}
	app := map[string]string{"app": "storefront"}
	var replicas int32 = 1
	return []runtime.Object{
		&corev1.ConfigMap{ObjectMeta: named("catalogue", "1"), Data: map[string]string{"items.json": `["lamp","chair","table"]`}},
		&corev1.Secret{ObjectMeta: named("payment", "1"), Data: map[string][]byte{"token": []byte("lab payment token")}},
		&appsv1.Deployment{
			ObjectMeta: named("storefront", "2"),
			Spec: appsv1.DeploymentSpec{
				Replicas: &replicas,
				Selector: &metav1.LabelSelector{MatchLabels: app},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: app},
					Spec: corev1.PodSpec{Containers: []corev1.Container{{
						Name: "storefront", Image: registry + "storefront:1",
						EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "payment"}}}},
					}}},
				},
			},
		},
		&corev1.ConfigMap{ObjectMeta: named("session-cache", ""), Data: map[string]string{"sessions": "17"}},
	}
}

// backupConfigMap is the user's choice: two pairs of Backup and Restore, one per
// wave.
func backupConfigMap() (*corev1.ConfigMap, error) {
	data := map[string]string{}
	for _, pair := range []struct {
		name, wave string
		resources  []string
	}{
		{"shop-settings", "1", []string{"configmaps", "secrets"}},
		{"shop-storefront", "2", []string{"deployments.apps"}},
	} {
		meta := metav1.ObjectMeta{
			Namespace:   oadp.Namespace,
			Name:        pair.name,
			Labels:      map[string]string{velerov1.StorageLocationLabel: storageLocation},
			Annotations: map[string]string{waveAnnotation: pair.wave},
		}
		backup, err := document(&velerov1.Backup{ObjectMeta: meta, Spec: velerov1.BackupSpec{
			IncludedNamespaces:               []string{WorkloadNamespace},
			IncludedNamespaceScopedResources: pair.resources,
			LabelSelector:                    &metav1.LabelSelector{MatchLabels: map[string]string{backedUp: pair.wave}},
			StorageLocation:                  storageLocation,
		}})
		if err != nil {
			return nil, err
		}
		restore, err := document(&velerov1.Restore{ObjectMeta: meta, Spec: velerov1.RestoreSpec{BackupName: pair.name}})
		if err != nil {
			return nil, err
		}
		data[pair.name+".yaml"] = backup + "---\n" + restore
	}
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: BackupNamespace, Name: BackupConfigMap}, Data: data}, nil
}

// document is object as a user would write it: YAML without a status.
func document(object runtime.Object) (string, error) {
	content, err := toUnstructured(object)
	if err != nil {
		return "", err
	}
	delete(content.Object, "status")
	data, err := yaml.Marshal(content.Object)
	if err != nil {
		return "", fmt.Errorf("cannot encode %s: %w", content.GetName(), err)
	}
	return string(data), nil
}
