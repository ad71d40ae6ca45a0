// Package oadp is the lab's stand-in for the OADP operator, of which the lab has
// no source. It does what an upgrade depends on: in whatever etcd the node has
// booted into, a DataProtectionApplication becomes Velero's
// BackupStorageLocations, says that it is reconciled, and only then Velero starts
// ([Run]).
//
// One thing it does for Velero. Velero looks for backups in its locations when it
// starts and then once a minute, and skips a location that it has not validated
// yet, as every new one: the first look would always be in vain. So a new location
// is declared available when its bucket answers; Velero validates it as ever.
//
// What the operator also does, deploying Velero with its plug-ins, is a static pod
// of the lab's nodes; volumes and node agents are absent.
package oadp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// Namespace is the only one in which an application is looked for.
const Namespace = "openshift-adp"

const (
	fieldManager = "oadp-operator"
	// interval is how often Run looks.
	interval = 500 * time.Millisecond
	// probeTimeout bounds the wait for a bucket's answer.
	probeTimeout = 5 * time.Second
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

// Run reconciles until ctx ends, and accepts connections at address as soon as
// there is a location for Velero to start with. What goes wrong is logged and
// tried again, except that the address cannot be used.
func Run(ctx context.Context, client dynamic.Interface, address string, log *slog.Logger) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var listener net.Listener
	for {
		ready, err := Reconcile(ctx, client)
		if err != nil && ctx.Err() == nil {
			log.Warn("cannot reconcile", "err", err)
		}
		if ready && listener == nil {
			if listener, err = net.Listen("tcp", address); err != nil {
				return fmt.Errorf("cannot say that velero may start: %w", err)
			}
			defer answer(listener)()
			log.Info("velero may start")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// answer accepts connections and closes them, until the function that it returns
// is called.
func answer(listener net.Listener) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
		}
	}()
	return func() {
		_ = listener.Close()
		<-done
	}
}

// Reconcile makes the locations of every application, once, and says whether Velero
// has a location to start with. A kind that the API server does not have has no
// objects.
func Reconcile(ctx context.Context, client dynamic.Interface) (ready bool, err error) {
	found, err := list(ctx, client, applications)
	if err != nil {
		return false, err
	}
	for i := range found {
		if err := reconcile(ctx, client, &found[i]); err != nil {
			return false, err
		}
	}
	found, err = list(ctx, client, locations)
	if err != nil {
		return false, err
	}
	for i := range found {
		if err := announce(ctx, client, &found[i]); err != nil {
			return false, err
		}
	}
	return len(found) > 0, nil
}

func list(ctx context.Context, client dynamic.Interface, resource schema.GroupVersionResource) ([]unstructured.Unstructured, error) {
	found, err := client.Resource(resource).Namespace(Namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", resource.Resource, err)
	}
	return found.Items, nil
}

// announce declares a location available that nobody has looked at.
func announce(ctx context.Context, client dynamic.Interface, location *unstructured.Unstructured) error {
	var parsed velerov1.BackupStorageLocation
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(location.Object, &parsed); err != nil {
		return fmt.Errorf("cannot read BackupStorageLocation %s: %w", location.GetName(), err)
	}
	if parsed.Status.Phase != "" || parsed.Spec.ObjectStorage == nil {
		return nil
	}
	if err := probe(ctx, parsed.Spec.Config["s3Url"], parsed.Spec.ObjectStorage.Bucket); err != nil {
		return fmt.Errorf("cannot use BackupStorageLocation %s: %w", parsed.Name, err)
	}
	patch := []byte(`{"status":{"phase":"` + string(velerov1.BackupStorageLocationPhaseAvailable) + `"}}`)
	_, err := client.Resource(locations).Namespace(Namespace).Patch(ctx, parsed.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil {
		return fmt.Errorf("cannot announce BackupStorageLocation %s: %w", parsed.Name, err)
	}
	return nil
}

// probe asks an S3 server for a bucket. That it wants credentials is an answer.
func probe(ctx context.Context, server, bucket string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	target, err := url.JoinPath(server, bucket)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, target, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusForbidden {
		return fmt.Errorf("bucket %s: %s", bucket, response.Status)
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
