package validate

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/velero"
)

// backupStorage: OADP is set up, and every storage location that it has can be reached. Where nothing is to be backed
// up it is not looked at.
func (s *subject) backupStorage(ctx context.Context) (finding, error) {
	const expected = "OADP is reconciled, its storage locations are Available"
	if len(s.spec.OADPContent) == 0 {
		return holds("not needed", "storage only where spec.oadpContent names ConfigMaps")
	}
	locations, err := s.oadp(ctx, velero.StorageLocations)
	if err != nil {
		return finding{}, err
	}
	if len(locations) == 0 {
		return fails(events.ReasonBackupStorageUnavailable, "no BackupStorageLocation", expected,
			fmt.Sprintf("cannot back up: there is no BackupStorageLocation in namespace %s", velero.Namespace),
			"install OADP and give its DataProtectionApplication a backup location, set stage Idle, then ask again")
	}
	applications, err := s.oadp(ctx, velero.DataProtection)
	if err != nil {
		return finding{}, err
	}
	var wrong []string
	for _, a := range applications {
		if status, message := cluster.Condition(&a, "Reconciled"); status != "True" {
			wrong = append(wrong, fmt.Sprintf("DataProtectionApplication %s is not reconciled: %s", a.GetName(), message))
		}
	}
	for _, l := range locations {
		if phase, _, _ := unstructured.NestedString(l.Object, "status", "phase"); phase != "Available" {
			message, _, _ := unstructured.NestedString(l.Object, "status", "message")
			wrong = append(wrong, fmt.Sprintf("BackupStorageLocation %s is %s: %s", l.GetName(), cluster.OrUnknown(phase), message))
		}
	}
	if len(wrong) > 0 {
		why := strings.Join(wrong, "; ")
		f, _ := fails(events.ReasonBackupStorageUnavailable, why, expected, "cannot back up: "+why,
			"check the object store, its credentials and Velero's log, set stage Idle, then ask again")
		f.patience = s.patience
		return f, nil
	}
	return holds(fmt.Sprintf("%d Available", len(locations)), expected)
}

// oadp lists objects in OADP's namespace; there are none where OADP is not installed.
func (s *subject) oadp(ctx context.Context, resource schema.GroupVersionResource) ([]unstructured.Unstructured, error) {
	found, err := s.Resource(resource).Namespace(velero.Namespace).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list %s: %w", resource.Resource, err)
	}
	return found.Items, nil
}
