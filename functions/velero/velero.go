// Package velero is what the functions backup and restore share: which Velero objects an upgrade makes, what they are
// called, and how they end.
package velero

import (
	"cmp"
	"fmt"
	"strings"

	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// Namespace of OADP.
const Namespace = "openshift-adp"

// Labels of the Velero objects that an upgrade makes.
const (
	// LabelClusterID tells whose a backup is in a bucket that several clusters share; the spelling is the
	// lifecycle-agent's.
	LabelClusterID = "config.openshift.io/clusterID"
	// LabelUpgrade is the id of the upgrade.
	LabelUpgrade = "reroot.dev/upgrade"
)

// Resources of Velero and OADP.
var (
	Backups          = velerov1.SchemeGroupVersion.WithResource("backups")
	Restores         = velerov1.SchemeGroupVersion.WithResource("restores")
	StorageLocations = velerov1.SchemeGroupVersion.WithResource("backupstoragelocations")
	DataProtection   = schema.GroupVersionResource{Group: "oadp.openshift.io", Version: "v1alpha1", Resource: "dataprotectionapplications"}
)

// ObjectName is what a Backup or Restore that the user called name is called in one upgrade. Backups outlive clusters
// in a bucket that several may share, so that the user's name alone could be another cluster's or an older upgrade's.
func ObjectName(name, upgrade string) string { return name + "-" + upgrade }

// Pairs sorts the documents of oadpContent into Backups and Restores, each with its partner. Other kinds are ignored,
// as the lifecycle-agent does. Problems are a cluster.ContentError with all of them.
func Pairs(docs []cluster.Document) (backups, restores []cluster.Document, err error) {
	var problems []error
	partner := map[string]int{} // Restores of each Backup
	for _, d := range docs {
		if d.GroupVersionKind().GroupVersion() != velerov1.SchemeGroupVersion {
			continue
		}
		switch d.GetKind() {
		case "Backup":
			if _, twice := partner[d.GetName()]; twice {
				problems = append(problems, fmt.Errorf("%s: Backup %s is defined twice", d.From, d.GetName()))
			}
			partner[d.GetName()] = 0
			backups = append(backups, d)
		case "Restore":
			restores = append(restores, d)
		}
		if ns := d.GetNamespace(); ns != "" && ns != Namespace {
			problems = append(problems, fmt.Errorf("%s: %s %s is in namespace %s, OADP is in %s", d.From, d.GetKind(), d.GetName(), ns, Namespace))
		}
	}
	for _, d := range restores {
		r, err := cluster.Object[velerov1.Restore](d.Unstructured)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", d.From, err))
			continue
		}
		if _, known := partner[r.Spec.BackupName]; !known {
			problems = append(problems, fmt.Errorf("%s: Restore %s names Backup %q, which is not there", d.From, r.Name, r.Spec.BackupName))
			continue
		}
		partner[r.Spec.BackupName]++
	}
	for _, d := range backups {
		if _, err := cluster.Object[velerov1.Backup](d.Unstructured); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", d.From, err))
		}
		if n := partner[d.GetName()]; n != 1 {
			problems = append(problems, fmt.Errorf("%s: Backup %s has %d Restores, not one", d.From, d.GetName(), n))
		}
	}
	if len(problems) > 0 {
		return nil, nil, &cluster.ContentError{Problems: problems}
	}
	return backups, restores, nil
}

// Owned is the Velero object that an upgrade makes of the user's document, under another name and with its labels.
func Owned(s upgrade.State, doc cluster.Document, name string) *unstructured.Unstructured {
	u := doc.DeepCopy()
	u.SetName(name)
	u.SetNamespace(Namespace)
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[LabelClusterID], labels[LabelUpgrade] = s.Origin.ID, s.Upgrade
	u.SetLabels(labels)
	unstructured.RemoveNestedField(u.Object, "status")
	return u
}

// Progress says how far a Backup or Restore is; total 0 means that it is not known yet.
func Progress(phase string, done, total int) string {
	phase = cmp.Or(phase, string(velerov1.BackupPhaseNew))
	if total > 0 {
		return fmt.Sprintf("%s, %d of %d items", phase, done, total)
	}
	return phase
}

// Why says why a Backup or Restore failed, in Velero's own words where it has any.
func Why(reason string, invalid []string, errors, warnings int) string {
	if reason != "" {
		invalid = append([]string{reason}, invalid...)
	}
	if len(invalid) == 0 {
		return fmt.Sprintf("%d errors, %d warnings", errors, warnings)
	}
	return strings.Join(invalid, "; ")
}
