package cluster

import (
	"fmt"
	"time"

	olmv1alpha1 "github.com/operator-framework/api/pkg/operators/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/reroot-dev/reroot/test/lab/cluster/oadp"
)

const (
	storageLocation = "default"
	credentials     = "cloud-credentials"
	credentialsKey  = "cloud"
	// syncPeriod is below Velero's minute, so that a location that was synced just
	// before a restart is synced again when Velero starts.
	syncPeriod = 5 * time.Second
)

// BackupStore is the S3 bucket that a cluster's Velero uses.
type BackupStore struct {
	URL       string // "http://127.0.0.1:9000"
	Bucket    string // must exist
	Prefix    string // below which everything is; may be empty
	AccessKey string
	SecretKey string
}

// oadpObjects are the operator's: installed, with Velero as it would have set it
// up. Velero and the operator's stand-in are static pods in the lab; the
// Deployment, which Velero insists on having, has no replicas.
func oadpObjects(store *BackupStore, now metav1.Time) ([]runtime.Object, error) {
	var none int32
	labels := map[string]string{"component": "velero", "deploy": "velero"}
	objects := []runtime.Object{
		&olmv1alpha1.ClusterServiceVersion{
			ObjectMeta: metav1.ObjectMeta{Namespace: oadp.Namespace, Name: "oadp-operator.v1.5.0"},
			Spec: olmv1alpha1.ClusterServiceVersionSpec{
				DisplayName:     "OADP Operator",
				InstallStrategy: olmv1alpha1.NamedInstallStrategy{StrategyName: olmv1alpha1.InstallStrategyNameDeployment, StrategySpec: olmv1alpha1.StrategyDetailsDeployment{DeploymentSpecs: []olmv1alpha1.StrategyDeploymentSpec{}}},
			},
			Status: olmv1alpha1.ClusterServiceVersionStatus{
				Phase: olmv1alpha1.CSVPhaseSucceeded, Reason: olmv1alpha1.CSVReasonInstallSuccessful, LastUpdateTime: &now, LastTransitionTime: &now,
			},
		},
		&appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: oadp.Namespace, Name: "velero", Labels: labels},
			Spec: appsv1.DeploymentSpec{
				Replicas: &none,
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "velero", Image: veleroImage}}},
				},
			},
		},
	}
	if store == nil {
		return objects, nil
	}
	credential := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: oadp.Namespace, Name: credentials},
		Data: map[string][]byte{credentialsKey: fmt.Appendf(nil,
			"[default]\naws_access_key_id=%s\naws_secret_access_key=%s\n", store.AccessKey, store.SecretKey)},
	}
	dpa := dataProtectionApplication(store)
	locations, err := oadp.Locations(dpa)
	if err != nil {
		return nil, err
	}
	for _, location := range locations {
		objects = append(objects, location)
	}
	return append(objects, credential, dpa), nil
}

// dataProtectionApplication is what a user of OADP writes, and what the operator
// reports of it.
func dataProtectionApplication(store *BackupStore) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "oadp.openshift.io/v1alpha1",
		"kind":       "DataProtectionApplication",
		"metadata":   map[string]any{"namespace": oadp.Namespace, "name": "dpa"},
		"spec": map[string]any{
			"configuration": map[string]any{"velero": map[string]any{"defaultPlugins": []any{"openshift", "aws"}}},
			"backupLocations": []any{map[string]any{"name": storageLocation, "velero": map[string]any{
				"provider":         "aws",
				"default":          true,
				"config":           map[string]any{"region": "us-east-1", "s3ForcePathStyle": "true", "s3Url": store.URL},
				"credential":       map[string]any{"name": credentials, "key": credentialsKey},
				"objectStorage":    map[string]any{"bucket": store.Bucket, "prefix": store.Prefix},
				"backupSyncPeriod": syncPeriod.String(),
			}}},
		},
		"status": oadp.Reconciled(),
	}}
}
