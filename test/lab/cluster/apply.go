package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	configv1 "github.com/openshift/api/config/v1"
	machineconfigv1 "github.com/openshift/api/machineconfiguration/v1"
	olmv1alpha1 "github.com/operator-framework/api/pkg/operators/v1alpha1"
	velerov1 "github.com/vmware-tanzu/velero/pkg/apis/velero/v1"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

const (
	fieldManager = "reroot-lab"
	// parallel bounds the requests under way at a time.
	parallel = 32
	// establishTimeout bounds how long the API server may take to serve a new
	// kind of object.
	establishTimeout = 30 * time.Second
	establishPoll    = 20 * time.Millisecond
)

// scheme knows all types that this package makes objects of.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientscheme.AddToScheme, apiextensionsv1.AddToScheme, configv1.Install, machineconfigv1.Install, olmv1alpha1.AddToScheme, velerov1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}()

// An applier writes objects to one API server, as fast as that takes them.
type applier struct {
	client    dynamic.Interface
	discovery *discovery.DiscoveryClient
}

func newApplier(config *rest.Config) (*applier, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // no limit of the client's own
	// OKD's definitions use formats that upstream does not check, and it says so.
	config.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make client: %w", err)
	}
	discovery, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("cannot make client: %w", err)
	}
	return &applier{client, discovery}, nil
}

// apply writes objects in no particular order, by server-side apply, each first
// without and then with its status, if it has one. Running it again with the same
// objects changes nothing.
func (a *applier) apply(ctx context.Context, objects ...runtime.Object) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, object := range objects {
		group.Go(func() error { return a.applyOne(ctx, object) })
	}
	return group.Wait()
}

func (a *applier) applyOne(ctx context.Context, object runtime.Object) error {
	content, err := toUnstructured(object)
	if err != nil {
		return err
	}
	status, _, _ := unstructured.NestedMap(content.Object, "status")
	unstructured.RemoveNestedField(content.Object, "status")
	options := metav1.ApplyOptions{FieldManager: fieldManager, Force: true}
	resource := a.resource(content)
	if _, err := resource.Apply(ctx, content.GetName(), content, options); err != nil {
		return fmt.Errorf("cannot apply %s %s/%s: %w", content.GetKind(), content.GetNamespace(), content.GetName(), err)
	}
	if len(status) == 0 {
		return nil
	}
	bare := &unstructured.Unstructured{Object: map[string]any{"status": status}}
	bare.SetGroupVersionKind(content.GroupVersionKind())
	bare.SetName(content.GetName())
	bare.SetNamespace(content.GetNamespace())
	if _, err := resource.ApplyStatus(ctx, bare.GetName(), bare, options); err != nil {
		return fmt.Errorf("cannot apply status of %s %s/%s: %w", bare.GetKind(), bare.GetNamespace(), bare.GetName(), err)
	}
	return nil
}

// resource guesses the plural, which is right for every kind in this package and
// saves asking the API server for all that it has.
func (a *applier) resource(object *unstructured.Unstructured) dynamic.ResourceInterface {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	if namespace := object.GetNamespace(); namespace != "" {
		return a.client.Resource(plural).Namespace(namespace)
	}
	return a.client.Resource(plural)
}

func toUnstructured(object runtime.Object) (*unstructured.Unstructured, error) {
	if u, ok := object.(*unstructured.Unstructured); ok {
		return u.DeepCopy(), nil
	}
	kinds, _, err := scheme.ObjectKinds(object)
	if err != nil {
		return nil, fmt.Errorf("cannot apply object: %w", err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("cannot convert %s: %w", kinds[0].Kind, err)
	}
	dropNulls(content)
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(kinds[0])
	return u, nil
}

// dropNulls removes the fields that Go's types spell out without a value: some
// are not in the variant of a definition that OKD uses.
func dropNulls(value any) {
	switch v := value.(type) {
	case map[string]any:
		maps.DeleteFunc(v, func(_ string, field any) bool { return field == nil })
		for _, field := range v {
			dropNulls(field)
		}
	case []any:
		for _, element := range v {
			dropNulls(element)
		}
	}
}

// define creates custom resource definitions and waits until they are served.
func (a *applier) define(ctx context.Context, definitions []*apiextensionsv1.CustomResourceDefinition) error {
	ctx, cancel := context.WithTimeout(ctx, establishTimeout)
	defer cancel()
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	resource := a.client.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"))
	for _, definition := range definitions {
		group.Go(func() error {
			content, err := toUnstructured(definition)
			if err != nil {
				return err
			}
			unstructured.RemoveNestedField(content.Object, "status")
			if _, err := resource.Create(groupCtx, content, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
				return fmt.Errorf("cannot create definition %s: %w", definition.Name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, definition := range definitions {
		err := wait.PollUntilContextCancel(ctx, establishPoll, true, func(ctx context.Context) (bool, error) {
			return a.served(ctx, definition), nil
		})
		if err != nil {
			return fmt.Errorf("cannot wait for definition %s: %w", definition.Name, err)
		}
	}
	return nil
}

// served says whether the API server lists the resource that definition defines.
// The definition's own status says so too, and is many times larger.
func (a *applier) served(ctx context.Context, definition *apiextensionsv1.CustomResourceDefinition) bool {
	version := slices.IndexFunc(definition.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Served })
	if version < 0 {
		return true // nothing to wait for
	}
	resources, err := a.discovery.ServerResourcesForGroupVersionWithContext(ctx, definition.Spec.Group+"/"+definition.Spec.Versions[version].Name)
	if err != nil {
		return false // the group's first definition is not served yet
	}
	return slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool { return r.Name == definition.Spec.Names.Plural })
}

// namespacesOf are the namespaces that objects are in and those also named.
func namespacesOf(objects []runtime.Object, also ...string) []runtime.Object {
	names := slices.Clone(also)
	for _, object := range objects {
		if accessor, err := meta.Accessor(object); err == nil && accessor.GetNamespace() != "" {
			names = append(names, accessor.GetNamespace())
		}
	}
	slices.Sort(names)
	var namespaces []runtime.Object
	for _, name := range slices.Compact(names) {
		namespaces = append(namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return namespaces
}
