// Package cluster is the functions' access to the API of the cluster that is being upgraded. That API goes away and
// comes back with another etcd behind it: every call may find nobody there ([Unavailable]), and what answers may be
// another cluster than it was ([Client.Ours]). Functions turn both into functions.Retry and never write before they
// have asked.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
)

// requestTimeout bounds one request: an API server that is going away may accept a connection and never answer.
const requestTimeout = 15 * time.Second

// LCANamespace is the namespace of the lifecycle-agent, whose Secrets the ImageBasedUpgrade refers to.
const LCANamespace = "openshift-lifecycle-agent"

// Resources of OpenShift's own API that functions look at.
var (
	ClusterVersions           = schema.GroupVersionResource{Group: "config.openshift.io", Version: "v1", Resource: "clusterversions"}
	ClusterOperators          = schema.GroupVersionResource{Group: "config.openshift.io", Version: "v1", Resource: "clusteroperators"}
	Proxies                   = schema.GroupVersionResource{Group: "config.openshift.io", Version: "v1", Resource: "proxies"}
	MachineConfigPools        = schema.GroupVersionResource{Group: "machineconfiguration.openshift.io", Version: "v1", Resource: "machineconfigpools"}
	MachineConfigs            = schema.GroupVersionResource{Group: "machineconfiguration.openshift.io", Version: "v1", Resource: "machineconfigs"}
	ClusterServiceVersions    = schema.GroupVersionResource{Group: "operators.coreos.com", Version: "v1alpha1", Resource: "clusterserviceversions"}
	Namespaces                = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	ConfigMaps                = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	Secrets                   = schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	Nodes                     = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	CustomResourceDefinitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	Deployments               = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
)

// Client reaches one cluster's API. It is safe for concurrent use.
type Client struct {
	dynamic.Interface
	watcher dynamic.Interface // its requests may take long
	mapper  meta.ResettableRESTMapper
}

// Connect makes a client; it does not need the API to answer yet.
func Connect(cfg *rest.Config) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1 // one cluster, a handful of requests: the server's own fairness is enough
	cfg.Timeout = 0
	watcher, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for the cluster: %w", err)
	}
	cfg.Timeout = requestTimeout
	dyn, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for the cluster: %w", err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for the cluster: %w", err)
	}
	return &Client{Interface: dyn, watcher: watcher, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))}, nil
}

// ConnectFile makes a client from a kubeconfig file.
func ConnectFile(kubeconfig string) (*Client, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("cannot read kubeconfig %s: %w", kubeconfig, err)
	}
	return Connect(cfg)
}

// For is the client for one object's kind, in its namespace when the kind has namespaces ("default" when it names
// none). The error is a meta.NoKindMatchError when the cluster does not serve the kind.
func (c *Client) For(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // a definition may have come since
		mapping, err = c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.Resource(mapping.Resource), nil
	}
	ns := o.GetNamespace()
	if ns == "" {
		ns = metav1.NamespaceDefault
	}
	return c.Resource(mapping.Resource).Namespace(ns), nil
}

// Incarnation tells one etcd from another behind the same address, and one cluster from another that was made from the
// same seed: the uid of the namespace kube-system and the cluster's id.
func (c *Client) Incarnation(ctx context.Context) (string, error) {
	ns, err := c.Resource(Namespaces).Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot tell the API's incarnation: %w", err)
	}
	id, err := c.ClusterID(ctx)
	if err != nil {
		return "", err
	}
	return string(ns.GetUID()) + "/" + id, nil
}

// ClusterID is ClusterVersion's spec.clusterID.
func (c *Client) ClusterID(ctx context.Context) (string, error) {
	cv, err := c.Resource(ClusterVersions).Get(ctx, "version", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot read ClusterVersion: %w", err)
	}
	id, _, err := unstructured.NestedString(cv.Object, "spec", "clusterID")
	return id, err
}

// Ours returns nil when the API that answers is the cluster's that the upgrade began on, and a functions.Retry while
// nobody answers or another cluster does: between pivot and reconfiguration it is the seed's.
func (c *Client) Ours(ctx context.Context, s upgrade.State) error {
	id, err := c.ClusterID(ctx)
	if apierrors.IsNotFound(err) { // the API server does not serve it yet
		return &functions.Retry{After: time.Second, Reason: "waiting for the cluster's API: " + Cause(err)}
	}
	if err != nil {
		return Again(err, "waiting for the cluster's API")
	}
	if s.Origin.ID != "" && id != s.Origin.ID {
		return &functions.Retry{After: time.Second, Reason: "waiting for the cluster's own API: cluster " + id + " answers"}
	}
	return nil
}

// Again turns an error of the API into a functions.Retry when a repetition may help, and leaves it as it is otherwise.
func Again(err error, doing string) error {
	if Unavailable(err) {
		return &functions.Retry{After: time.Second, Reason: fmt.Sprintf("%s: %s", doing, Cause(err))}
	}
	return err
}

// Unavailable says that nobody answered, or only that it cannot answer now: the API server is starting, ending,
// overloaded, or behind certificates that are just being replaced.
func Unavailable(err error) bool {
	var netErr net.Error
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return false
	case errors.As(err, &status):
		code := status.Status().Code
		return code == 429 || code >= 500 || code == 401
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.As(err, &netErr):
		return true
	}
	return isTLS(err)
}

// Object reads a typed object out of an unstructured one.
func Object[T any](u *unstructured.Unstructured) (*T, error) {
	o := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, o); err != nil {
		return nil, fmt.Errorf("cannot read %s %s/%s: %w", u.GetKind(), u.GetNamespace(), u.GetName(), err)
	}
	return o, nil
}

// Unstructured is the inverse of [Object].
func Unstructured(o any) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("cannot convert %T: %w", o, err)
	}
	return &unstructured.Unstructured{Object: m}, nil
}
