package world

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	api "github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// CreateResource creates the target's ImageBasedUpgrade, as whoever installs Reroot on a cluster does.
func (w *World) CreateResource(ctx context.Context) error {
	u, err := api.Unstructured(&v1.ImageBasedUpgrade{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.GroupVersion.String(), Kind: v1.Kind},
		ObjectMeta: metav1.ObjectMeta{Name: v1.Name},
		Spec:       v1.Spec{Stage: events.StageIdle},
	})
	if err != nil {
		return err
	}
	unstructured.RemoveNestedField(u.Object, "spec", "seedImageRef")
	unstructured.RemoveNestedField(u.Object, "status")
	_, err = w.API.Resource(v1.Resource).Create(ctx, u, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// settleLimit is how long Verify waits: after a rollback the node is back before its control plane answers.
const settleLimit = time.Minute

// Verify checks from outside that the world becomes, within a minute, what the state says: after a good upgrade the
// seed's software under the target's identity, after a rollback everything as it was. It reports everything that is not.
func (w *World) Verify(ctx context.Context, s upgrade.State) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	return poll(ctx, w.machine.ended, func() error { return w.verify(ctx, s) })
}

func (w *World) verify(ctx context.Context, s upgrade.State) error {
	var problems []error
	check := func(what string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", what, err))
		}
	}
	id := w.Target.Cluster.Identity
	version, cache := id.Version, true
	switch s.Phase {
	case upgrade.Upgraded, upgrade.Idle, upgrade.RolledBack, upgrade.PrepFailed, upgrade.UpgradeFailed:
	default:
		return fmt.Errorf("the upgrade has not ended: it is in phase %s", s.Phase)
	}
	if s.Phase == upgrade.Upgraded || s.Phase == upgrade.Idle && s.Result == upgrade.Upgraded {
		version, cache = w.Seed.Cluster.Identity.Version, false
	}
	check("the administrator's kubeconfig from before", w.versionIs(ctx, version))
	check("the cluster's id", w.clusterIs(ctx, id.ClusterID))
	check("the ImageBasedUpgrade", w.resourceShows(ctx, s))
	for _, object := range []struct {
		gvr  schema.GroupVersionResource
		name string
		want bool
	}{
		{api.ConfigMaps, "catalogue", true}, {api.Secrets, "payment", true},
		{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, "storefront", true},
		{api.ConfigMaps, "session-cache", cache},
	} {
		check(object.gvr.Resource+" "+object.name, w.exists(ctx, object.gvr, object.name, object.want))
	}
	if version != id.Version {
		check("the seed's kubeconfig", w.seedIsRefused(ctx))
	}
	return errors.Join(problems...)
}

func (w *World) versionIs(ctx context.Context, want string) error {
	cv, err := w.API.Resource(api.ClusterVersions).Get(ctx, "version", metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got, _, _ := unstructured.NestedString(cv.Object, "status", "desired", "version"); got != want {
		return fmt.Errorf("ClusterVersion says %s, want %s", got, want)
	}
	return nil
}

func (w *World) clusterIs(ctx context.Context, want string) error {
	got, err := w.API.ClusterID(ctx)
	if err == nil && got != want {
		err = fmt.Errorf("it is %s, want %s", got, want)
	}
	return err
}

func (w *World) resourceShows(ctx context.Context, s upgrade.State) error {
	u, err := w.API.Resource(v1.Resource).Get(ctx, v1.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if got := u.GetAnnotations()[v1.AnnotationUpgrade]; got != s.Upgrade {
		return fmt.Errorf("it shows upgrade %q, want %q", got, s.Upgrade)
	}
	return nil
}

func (w *World) exists(ctx context.Context, gvr schema.GroupVersionResource, name string, want bool) error {
	_, err := w.API.Resource(gvr).Namespace(cluster.WorkloadNamespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && want:
		return errors.New("it is gone")
	case apierrors.IsNotFound(err):
		return nil
	case err == nil && !want:
		return errors.New("it is there, though it was not backed up")
	}
	return err
}

// seedIsRefused tries the seed administrator's credentials and a service account's token on the target.
func (w *World) seedIsRefused(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", w.Seed.Cluster.AdminKubeconfig)
	if err != nil {
		return err
	}
	config.Host = w.Target.Cluster.Identity.APIURL()
	config.CAData, config.CAFile = nil, ""
	config.Insecure, config.ServerName = true, ""
	withToken := *config
	withToken.CertData, withToken.KeyData, withToken.CertFile, withToken.KeyFile = nil, nil, "", ""
	withToken.BearerToken = w.Seed.Cluster.LegacyToken
	for what, c := range map[string]*rest.Config{"its certificate": config, "its service account token": &withToken} {
		client, err := api.Connect(c)
		if err != nil {
			return err
		}
		_, err = client.ClusterID(ctx)
		if !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) {
			return fmt.Errorf("%s is not refused: %v", what, err)
		}
	}
	return nil
}

// Digest is the SHA-256 of everything below dir: names, modes, links and contents. Two trees with equal digests are
// equal byte for byte.
func Digest(dir string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q %v %d\n", rel, info.Mode(), size(info))
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			fmt.Fprintf(sum, "%q\n", target)
			return err
		case info.Mode().IsRegular():
			f, err := os.Open(path)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = io.Copy(sum, f)
			return err
		}
		return nil
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

// size is that of a regular file; a directory's depends on the file system.
func size(info fs.FileInfo) int64 {
	if info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}
