package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/site"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/step/etc"
)

// siteDir is where the snapshot of the site is kept.
const siteDir = StateDir + "/site"

// snapshot implements step.Site with package site.
type snapshot struct{ config Config }

func (s snapshot) Collect(ctx context.Context, carry []events.ConfigMapRef) error {
	found, err := site.Collect(ctx, site.Options{
		Root: "/", Kubeconfig: s.config.Kubeconfig, Carry: carry, Files: s.config.Carry,
	})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(siteDir, 0o700); err != nil {
		return fmt.Errorf("cannot keep the site's identity: %w", err)
	}
	return found.Save(siteDir)
}

func (s snapshot) EtcFiles() ([]etc.File, error) {
	kept, err := site.Load(siteDir)
	if err != nil {
		return nil, err
	}
	var files []etc.File
	for _, f := range kept.Files {
		if name, ok := strings.CutPrefix(f.Path, "/etc/"); ok {
			files = append(files, etc.File{Path: filepath.Clean(name), Data: f.Data, Mode: f.Mode, UID: f.UID, GID: f.GID})
		}
	}
	return files, nil
}

func (s snapshot) Offline() error {
	kept, err := site.Load(siteDir)
	if err != nil {
		return err
	}
	return kept.Offline("/")
}

// Online puts the site's objects on the API and makes sure that it is the site's cluster that they are put on.
func (s snapshot) Online(ctx context.Context) (string, error) {
	kept, err := site.Load(siteDir)
	if err != nil {
		return "", err
	}
	id, err := putOnline(ctx, s.config.Kubeconfig, kept)
	if isAway(err) {
		err = fmt.Errorf("%w: %w", step.ErrAway, err)
	}
	return id, err
}

func putOnline(ctx context.Context, kubeconfig string, kept *site.Site) (string, error) {
	config, err := connect(kubeconfig)
	if err != nil {
		return "", err
	}
	api, err := dynamic.NewForConfig(config)
	if err != nil {
		return "", err
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return "", err
	}
	id, err := clusterID(ctx, api)
	if err != nil {
		return "", err
	}
	if id != kept.Names.ClusterID {
		return "", fmt.Errorf("cannot apply the site's identity: this is cluster %s, not %s", id, kept.Names.ClusterID)
	}
	return id, kept.Online(ctx, api, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds)))
}

// clusterID is what the API server calls its cluster.
func clusterID(ctx context.Context, api dynamic.Interface) (string, error) {
	versions := schema.GroupVersionResource{Group: "config.openshift.io", Version: "v1", Resource: "clusterversions"}
	v, err := api.Resource(versions).Get(ctx, "version", metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot read the cluster's id: %w", err)
	}
	id, _, err := unstructured.NestedString(v.Object, "spec", "clusterID")
	if err != nil {
		return "", fmt.Errorf("cannot read the cluster's id: %w", err)
	}
	return id, nil
}

func (s snapshot) Forget() error {
	if err := os.RemoveAll(siteDir); err != nil {
		return fmt.Errorf("cannot forget the site's identity: %w", err)
	}
	return nil
}
