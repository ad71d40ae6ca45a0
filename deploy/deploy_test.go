// Package deploy_test reads the manifests below deploy as the programs that get them do.
package deploy_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	eventingv1 "knative.dev/eventing/pkg/apis/eventing/v1"
	"knative.dev/eventing/pkg/apis/feature"
	"knative.dev/pkg/apis"
	servingv1 "knative.dev/serving/pkg/apis/serving/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"

	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/trigger"
	"github.com/reroot-dev/reroot/functions/velero"
)

// types of every kind that is deployed.
var types = map[string]func() any{
	"v1/Namespace": func() any { return new(corev1.Namespace) },
	"v1/ConfigMap": func() any { return new(corev1.ConfigMap) },
	"rbac.authorization.k8s.io/v1/ClusterRole":         func() any { return new(rbacv1.ClusterRole) },
	"rbac.authorization.k8s.io/v1/ClusterRoleBinding":  func() any { return new(rbacv1.ClusterRoleBinding) },
	"rbac.authorization.k8s.io/v1/Role":                func() any { return new(rbacv1.Role) },
	"rbac.authorization.k8s.io/v1/RoleBinding":         func() any { return new(rbacv1.RoleBinding) },
	"apiextensions.k8s.io/v1/CustomResourceDefinition": func() any { return new(apiextensionsv1.CustomResourceDefinition) },
	"eventing.knative.dev/v1/Broker":                   func() any { return new(eventingv1.Broker) },
	"eventing.knative.dev/v1/Trigger":                  func() any { return new(eventingv1.Trigger) },
	"serving.knative.dev/v1/Service":                   func() any { return new(servingv1.Service) },
}

// build is `kubectl kustomize`, each object read strictly into its type and, if it is Knative's, admitted by it.
func build(t *testing.T, dir string) (objects []any) {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := feature.ToContext(context.Background(), feature.Flags{feature.DeliveryTimeout: feature.Enabled})
	for _, r := range built.Resources() {
		id := r.GetApiVersion() + "/" + r.GetKind()
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if types[id] == nil {
			t.Errorf("no type for %s", id)
			continue
		}
		o := types[id]()
		if err := yaml.UnmarshalStrict(text, o); err != nil {
			t.Errorf("%s %s: %v", id, r.GetName(), err)
		}
		if d, ok := o.(apis.Defaultable); ok {
			d.SetDefaults(ctx)
			if err := o.(apis.Validatable).Validate(ctx); err != nil {
				t.Errorf("%s %s: %v", id, r.GetName(), err)
			}
		}
		objects = append(objects, o)
	}
	return objects
}

func only[T any](objects []any) (found []T) {
	for _, o := range objects {
		if t, ok := o.(T); ok {
			found = append(found, t)
		}
	}
	return found
}

// TestKnative: everything that the Services name is there, or is a Secret that config.yaml asks for.
func TestKnative(t *testing.T) {
	objects := build(t, "knative")
	config := only[*corev1.ConfigMap](objects)
	brokers := only[*eventingv1.Broker](objects)
	if len(config) != 1 || config[0].Name != trigger.Config || len(brokers) != 1 || brokers[0].Name != trigger.Broker {
		t.Fatalf("config %v, broker %v", config, brokers)
	}
	services := only[*servingv1.Service](objects)
	if len(services) != len(trigger.Functions()) {
		t.Errorf("%d services", len(services))
	}
	for _, s := range services {
		c := s.Spec.Template.Spec.Containers[0]
		if s.Namespace != config[0].Namespace || c.Image == trigger.Image || !strings.Contains(c.Image, "/"+trigger.Image+":") {
			t.Errorf("%s in %s runs %q", s.Name, s.Namespace, c.Image)
		}
		for _, env := range c.Env {
			if env.ValueFrom == nil {
				continue
			}
			ref := env.ValueFrom.ConfigMapKeyRef
			if _, there := config[0].Data[ref.Key]; ref.Name != config[0].Name || !there {
				t.Errorf("%s: %s comes from %s/%s, which is not there", s.Name, env.Name, ref.Name, ref.Key)
			}
		}
		for _, v := range s.Spec.Template.Spec.Volumes {
			if v.Secret == nil || v.Secret.SecretName != trigger.NATS && v.Secret.SecretName != trigger.Kubeconfig {
				t.Errorf("%s: volume %s", s.Name, v.Name)
			}
		}
	}
	for _, tr := range only[*eventingv1.Trigger](objects) {
		if tr.Namespace != config[0].Namespace || tr.Spec.Broker != trigger.Broker {
			t.Errorf("trigger %s is in %s and listens to %s", tr.Name, tr.Namespace, tr.Spec.Broker)
		}
	}
}

// TestRights: the functions may reach every resource that they know of, and nothing by wildcard.
func TestRights(t *testing.T) {
	objects := build(t, "base")
	rules := map[string][]rbacv1.PolicyRule{} // by name
	for _, r := range only[*rbacv1.ClusterRole](objects) {
		rules[r.Name] = append(rules[r.Name], r.Rules...)
	}
	for _, r := range only[*rbacv1.Role](objects) {
		rules[r.Name] = append(rules[r.Name], r.Rules...)
	}
	granted := map[schema.GroupResource][]string{}
	for _, r := range rules["reroot-functions"] {
		for _, g := range r.APIGroups {
			for _, resource := range r.Resources {
				at := schema.GroupResource{Group: g, Resource: resource}
				granted[at] = append(granted[at], r.Verbs...)
				if slices.Contains(r.Verbs, "*") || g == "*" || resource == "*" {
					t.Errorf("wildcard: %v", r)
				}
			}
		}
	}
	known := []schema.GroupVersionResource{
		cluster.ClusterVersions, cluster.ClusterOperators, cluster.Proxies, cluster.MachineConfigPools, cluster.MachineConfigs,
		cluster.ClusterServiceVersions, cluster.Namespaces, cluster.ConfigMaps, cluster.Secrets, cluster.Nodes,
		cluster.CustomResourceDefinitions, cluster.Deployments,
		velero.Backups, velero.Restores, velero.StorageLocations, velero.DataProtection, v1.Resource,
	}
	for _, r := range known {
		if granted[r.GroupResource()] == nil {
			t.Errorf("nothing is granted on %s", r.GroupResource())
		}
		delete(granted, r.GroupResource())
	}
	delete(granted, schema.GroupResource{Group: v1.GroupVersion.Group, Resource: "imagebasedupgrades/status"})
	for r, verbs := range granted {
		t.Errorf("%s is granted on %s, which no function uses", verbs, r)
	}
	for _, b := range only[*rbacv1.ClusterRoleBinding](objects) {
		if rules[b.RoleRef.Name] == nil && b.RoleRef.Name != "reroot-manifests" {
			t.Errorf("%s binds %s, which is not there", b.Name, b.RoleRef.Name)
		}
	}
	if n := len(only[*apiextensionsv1.CustomResourceDefinition](objects)); n != 1 {
		t.Errorf("%d definitions", n)
	}
}
