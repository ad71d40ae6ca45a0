package validate_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/functions/cluster/clustertest"
)

var world *clustertest.World

func TestMain(m *testing.M) { clustertest.Main(m, &world, clustertest.Start) }

// The registry's only user.
const user, password = "puller", "correct-horse"

// serve runs a registry that wants credentials and returns its host.
func serve(t *testing.T) string {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// push puts an image with labels into the registry and returns its pull spec and digest.
func push(t *testing.T, host, tag string, labels map[string]string) (pullSpec, digest string) {
	t.Helper()
	image, err := random.Image(1024, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Config.Labels = labels
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host+"/okd/seed:"+tag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: user, Password: password}), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	sum, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.String(), sum.String()
}

// labels are those of a seed image.
func labels(t *testing.T, c seed.ClusterInfo) map[string]string {
	t.Helper()
	l, err := seed.Labels(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// create makes objects for the time of a test.
func create(t *testing.T, objects ...map[string]any) {
	t.Helper()
	for _, o := range objects {
		u := &unstructured.Unstructured{Object: o}
		api, err := world.Client.For(u)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := api.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := api.Delete(context.Background(), u.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		})
	}
}

// change merges a patch into an object and puts back what was there when the test ends.
func change(t *testing.T, apiVersion, kind, namespace, name, subresource, patch string) {
	t.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind}}
	u.SetNamespace(namespace)
	api, err := world.Client.For(u)
	if err != nil {
		t.Fatal(err)
	}
	var sub []string
	if subresource != "" {
		sub = []string{subresource}
	}
	before, err := api.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, sub...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		before.SetResourceVersion("")
		now, err := api.Get(context.Background(), name, metav1.GetOptions{})
		if err == nil {
			before.SetResourceVersion(now.GetResourceVersion())
			_, err = api.Update(context.Background(), before, metav1.UpdateOptions{}, sub...)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

func configMap(namespace, name string, data map[string]string) map[string]any {
	content := map[string]any{}
	for k, v := range data {
		content[k] = v
	}
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": namespace, "name": name}, "data": content}
}

func secret(namespace, name, content string) map[string]any {
	return map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"namespace": namespace, "name": name}, "stringData": map[string]any{".dockerconfigjson": content}}
}

// login is a pull secret for the registry at host.
func login(host, password string) string {
	return fmt.Sprintf(`{"auths":{%q:{"username":%q,"password":%q}}}`, host, user, password)
}
