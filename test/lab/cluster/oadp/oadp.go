// Package oadp is the lab's stand-in for the OADP operator, of which the lab has
// no source. It does the one thing that an upgrade depends on: a
// DataProtectionApplication becomes Velero's BackupStorageLocations, in whatever
// etcd the node has booted into, and says that it is reconciled.
//
// What the operator also does, deploying Velero with its plug-ins, is a static pod
// of the lab's nodes; volumes, node agents and the operator's own checks of a
// location are absent.
package oadp

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// Namespace is the only one in which an application is looked for.
const Namespace = "openshift-adp"

const (
	fieldManager = "oadp-operator"
	// interval is how often Run looks; a watch would be as quick as OADP, and no
	// quicker than Velero, which looks at its locations every ten seconds.
	interval = time.Second
)

var (
	applications = schema.GroupVersionResource{Group: "oadp.openshift.io", Version: "v1alpha1", Resource: "dataprotectionapplications"}
	locations    = velerov1.SchemeGroupVersion.WithResource("backupstoragelocations")
)

// application is the part of a DataProtectionApplication that is understood.
type application struct {
	Spec struct {
		BackupLocations []struct {
			Name   string                              `json:"name"`
			Velero *velerov1.BackupStorageLocationSpec `json:"velero"`
		} `json:"backupLocations"`
	} `json:"spec"`
}

// Locations are the BackupStorageLocations that an application asks for. One
// without a name is called after the application and its place in the list.
func Locations(dpa *unstructured.Unstructured) ([]*velerov1.BackupStorageLocation, error) {
	var parsed application
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(dpa.Object, &parsed); err != nil {
		return nil, fmt.Errorf("cannot read DataProtectionApplication %s: %w", dpa.GetName(), err)
	}
	var found []*velerov1.BackupStorageLocation
	for i, location := range parsed.Spec.BackupLocations {
		if location.Velero == nil {
			return nil, fmt.Errorf("cannot use backup location %d of DataProtectionApplication %s: it is not velero's", i, dpa.GetName())
		}
		name := location.Name
		if name == "" {
			name = dpa.GetName() + "-" + strconv.Itoa(i+1)
		}
		found = append(found, &velerov1.BackupStorageLocation{
			TypeMeta:   metav1.TypeMeta{APIVersion: velerov1.SchemeGroupVersion.String(), Kind: "BackupStorageLocation"},
			ObjectMeta: metav1.ObjectMeta{Namespace: dpa.GetNamespace(), Name: name, Labels: map[string]string{"app.kubernetes.io/managed-by": fieldManager}},
			Spec:       *location.Velero,
		})
	}
	return found, nil
}

// Reconciled is the status of an application that has been dealt with.
func Reconciled() map[string]any {
	return map[string]any{"conditions": []any{map[string]any{
		"type": "Reconciled", "status": "True", "reason": "Complete", "message": "Reconcile complete",
	}}}
}

// Run reconciles every application until ctx ends. What goes wrong is logged and
// tried again.
func Run(ctx context.Context, client dynamic.Interface, log *slog.Logger) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := Reconcile(ctx, client); err != nil && ctx.Err() == nil {
			log.Warn("cannot reconcile", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Reconcile makes the locations of every application, once. An application of a
// kind that the API server does not have is no application.
func Reconcile(ctx context.Context, client dynamic.Interface) error {
	list, err := client.Resource(applications).Namespace(Namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list DataProtectionApplications: %w", err)
	}
	for i := range list.Items {
		if err := reconcile(ctx, client, &list.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func reconcile(ctx context.Context, client dynamic.Interface, dpa *unstructured.Unstructured) error {
	wanted, err := Locations(dpa)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	for _, location := range wanted {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(location)
		if err != nil {
			return fmt.Errorf("cannot convert BackupStorageLocation %s: %w", location.Name, err)
		}
		delete(content, "status") // Velero's
		if _, err := client.Resource(locations).Namespace(location.Namespace).Apply(ctx, location.Name, &unstructured.Unstructured{Object: content}, options); err != nil {
			return fmt.Errorf("cannot apply BackupStorageLocation %s: %w", location.Name, err)
		}
	}
	status := &unstructured.Unstructured{Object: map[string]any{"status": Reconciled()}}
	status.SetGroupVersionKind(dpa.GroupVersionKind())
	status.SetName(dpa.GetName())
	status.SetNamespace(dpa.GetNamespace())
	if _, err := client.Resource(applications).Namespace(dpa.GetNamespace()).ApplyStatus(ctx, dpa.GetName(), status, options); err != nil {
		return fmt.Errorf("cannot report on DataProtectionApplication %s: %w", dpa.GetName(), err)
	}
	return nil
}
