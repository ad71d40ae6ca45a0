package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// pullSecretFile is where the kubelet reads the registries' credentials.
const pullSecretFile = "var/lib/kubelet/config.json"

// Offline writes the site's files into the root dir, before the cluster starts. It is idempotent.
func (s *Site) Offline(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("cannot apply the site: %w", err)
	}
	defer root.Close()
	files := append([]File{}, s.Files...)
	files = append(files, File{Path: "/" + pullSecretFile, Mode: 0o600, Data: s.PullSecret})
	var problems []error
	for _, f := range files {
		if err := write(root, f); err != nil {
			problems = append(problems, fmt.Errorf("cannot write %s: %w", f.Path, err))
		}
	}
	return errors.Join(problems...)
}

// write puts a file into its place, complete or not at all.
func write(root *os.Root, f File) error {
	name := strings.TrimPrefix(f.Path, "/")
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	tmp := path.Join(path.Dir(name), ".reroot-"+path.Base(name))
	if err := root.WriteFile(tmp, f.Data, 0o600); err != nil {
		return err
	}
	opened, err := root.OpenFile(tmp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = errors.Join(opened.Chown(f.UID, f.GID), opened.Chmod(f.Mode), opened.Sync(), opened.Close())
	if err != nil {
		return errors.Join(err, root.Remove(tmp))
	}
	if err := root.Rename(tmp, name); err != nil {
		return err
	}
	return syncDir(filepath.Join(root.Name(), path.Dir(name)))
}

// Online puts the site's objects on the API of the cluster that has started, and the user's labels on its node. It is
// idempotent: what is there is replaced.
func (s *Site) Online(ctx context.Context, api dynamic.Interface, mapper meta.RESTMapper) error {
	for i := range s.Objects {
		o := &s.Objects[i]
		if err := put(ctx, api, mapper, o); err != nil {
			return fmt.Errorf("cannot put %s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	}
	if len(s.NodeLabels) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": s.NodeLabels}})
	if err != nil {
		return err
	}
	_, err = api.Resource(core("nodes")).Patch(ctx, s.Names.Hostname, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("cannot label node %s: %w", s.Names.Hostname, err)
	}
	return nil
}

func put(ctx context.Context, api dynamic.Interface, mapper meta.RESTMapper, o *unstructured.Unstructured) error {
	gvk := o.GroupVersionKind()
	mapping, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	var client dynamic.ResourceInterface = api.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if err := ensureNamespace(ctx, api, o.GetNamespace()); err != nil {
			return err
		}
		client = api.Resource(mapping.Resource).Namespace(o.GetNamespace())
	}
	_, err = client.Create(ctx, o.DeepCopy(), metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	live, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	want := o.DeepCopy()
	want.SetResourceVersion(live.GetResourceVersion())
	_, err = client.Update(ctx, want, metav1.UpdateOptions{})
	return err
}

func ensureNamespace(ctx context.Context, api dynamic.Interface, name string) error {
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}}
	_, err := api.Resource(core("namespaces")).Create(ctx, ns, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
