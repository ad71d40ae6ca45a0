package site

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const oadpNamespace = "openshift-adp"

// carry adds an object to the snapshot without what an API server sets.
func (s *Site) carry(o *unstructured.Unstructured) {
	c := o.DeepCopy()
	for _, field := range []string{"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink", "ownerReferences"} {
		unstructured.RemoveNestedField(c.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(c.Object, "status")
	s.Objects = append(s.Objects, *c)
}

// collectCredentials takes the cluster's pull secret and the hash of its administrator's password.
func collectCredentials(ctx context.Context, src *source, s *Site) error {
	pull, err := src.api.Resource(core("secrets")).Namespace("openshift-config").Get(ctx, "pull-secret", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("pull secret: %w", err)
	}
	if s.PullSecret, err = secretValue(pull, ".dockerconfigjson"); err != nil {
		return fmt.Errorf("pull secret: %w", err)
	}
	admin, err := src.api.Resource(core("secrets")).Namespace(metav1.NamespaceSystem).Get(ctx, "kubeadmin", metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err): // the user removed it; the seed's is worth nothing
	case err != nil:
		return fmt.Errorf("kubeadmin: %w", err)
	default:
		if s.Kubeadmin, err = secretValue(admin, "kubeadmin"); err != nil {
			return fmt.Errorf("kubeadmin: %w", err)
		}
	}
	return nil
}

// collectOADP takes how Velero reaches its object store: the Secrets first, then what refers to them.
func collectOADP(ctx context.Context, src *source, s *Site) error {
	locations, err := listed(ctx, src, oadpNamespace, schema.GroupVersionResource{Group: "velero.io", Version: "v1", Resource: "backupstoragelocations"})
	if err != nil {
		return err
	}
	for _, l := range locations {
		name, _, err := unstructured.NestedString(l.Object, "spec", "credential", "name")
		if err != nil || name == "" {
			name = "cloud-credentials" // Velero's default
		}
		secret, err := src.api.Resource(core("secrets")).Namespace(oadpNamespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
		case err != nil:
			return fmt.Errorf("Secret %s/%s: %w", oadpNamespace, name, err)
		default:
			s.carry(secret)
		}
	}
	apps, err := listed(ctx, src, oadpNamespace, schema.GroupVersionResource{Group: "oadp.openshift.io", Version: "v1alpha1", Resource: "dataprotectionapplications"})
	if err != nil {
		return err
	}
	if len(apps) > 0 {
		locations = nil // the OADP operator makes them from its own resource
	}
	for _, o := range append(apps, locations...) {
		s.carry(&o)
	}
	return nil
}

// listed are the objects of a kind in a namespace, or in all; none where the kind is not served.
func listed(ctx context.Context, src *source, namespace string, resource schema.GroupVersionResource) ([]unstructured.Unstructured, error) {
	list, err := src.api.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{})
	switch {
	case apierrors.IsNotFound(err): // what brings the kind is not installed
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%s: %w", resource.Resource, err)
	}
	return list.Items, nil
}

// collectConfigMaps takes the ConfigMaps that the command names.
func collectConfigMaps(ctx context.Context, src *source, s *Site) error {
	var problems []error
	for _, ref := range src.Carry {
		cm, err := src.api.Resource(core("configmaps")).Namespace(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
		if err != nil {
			problems = append(problems, fmt.Errorf("%s/%s: %w", ref.Namespace, ref.Name, err))
			continue
		}
		s.carry(cm)
	}
	return errors.Join(problems...)
}
