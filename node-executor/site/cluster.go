package site

import (
	"context"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func config(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "config.openshift.io", Version: "v1", Resource: resource}
}

func core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

// collectCluster learns what the cluster is called from its configuration objects.
func collectCluster(ctx context.Context, src *source, s *Site) error {
	var problems []error
	read := func(into *string, resource, name string, path ...string) {
		o, err := src.api.Resource(config(resource)).Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			*into, err = text(o, path...)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s %s: %w", resource, name, err))
		}
	}
	read(&s.Names.ClusterID, "clusterversions", "version", "spec", "clusterID")
	read(&s.Names.InfraID, "infrastructures", "cluster", "status", "infrastructureName")
	read(&s.Names.Domain, "dnses", "cluster", "spec", "baseDomain")
	s.Names.API = src.server
	return errors.Join(problems...)
}

// text is a string that must be there and not be empty.
func text(o *unstructured.Unstructured, path ...string) (string, error) {
	v, _, err := unstructured.NestedString(o.Object, path...)
	if err != nil {
		return "", err
	}
	if v == "" {
		return "", fmt.Errorf("field %v is not set", path)
	}
	return v, nil
}
