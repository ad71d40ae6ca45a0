package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/cluster/clustertest"
)

func TestUnavailable(t *testing.T) {
	answering := func(status int) *rest.Config {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(server.Close)
		return &rest.Config{Host: server.URL}
	}
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	dropping := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(dropping.Close)
	tests := []struct {
		name   string
		config *rest.Config
		want   bool
	}{
		{"nobody listens", &rest.Config{Host: "https://127.0.0.1:1"}, true},
		{"connections are dropped", &rest.Config{Host: dropping.URL}, true},
		{"certificate of an unknown authority", &rest.Config{Host: stranger.URL}, true},
		{"starting", answering(http.StatusServiceUnavailable), true},
		{"overloaded", answering(http.StatusTooManyRequests), true},
		{"does not know us yet", answering(http.StatusUnauthorized), true},
		{"forbids", answering(http.StatusForbidden), false},
		{"does not have it", answering(http.StatusNotFound), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := cluster.Connect(tt.config)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.ClusterID(t.Context())
			if err == nil || cluster.Unavailable(err) != tt.want {
				t.Errorf("unavailable: %t; %v", !tt.want, err)
			}
			again := (*functions.Retry)(nil)
			if got := errors.As(cluster.Again(err, "waiting"), &again); got != tt.want {
				t.Errorf("again: %t", got)
			}
			if again != nil && strings.Contains(again.Reason, "clusterversions") {
				t.Errorf("the reason tells the request: %s", again.Reason)
			}
		})
	}
}

func TestOurs(t *testing.T) {
	for id, want := range map[string]bool{"": true, clustertest.ID: true, "99999999-2222-3333-4444-555555555555": false} {
		s := upgrade.New(name)
		s.Origin.ID = id
		err := world.Client.Ours(t.Context(), s)
		if again := (*functions.Retry)(nil); (err == nil) != want || !want && !errors.As(err, &again) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestConnectFile(t *testing.T) {
	c, err := cluster.ConnectFile(world.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	incarnation, err := c.Incarnation(t.Context())
	if err != nil || !strings.HasSuffix(incarnation, "/"+clustertest.ID) {
		t.Errorf("incarnation %q, %v", incarnation, err)
	}
	if _, err := cluster.ConnectFile(t.TempDir() + "/nothing"); err == nil || !strings.HasPrefix(err.Error(), "cannot read kubeconfig") {
		t.Errorf("no kubeconfig: %v", err)
	}
}

// TestFor: a kind is found as soon as its definition is there.
func TestFor(t *testing.T) {
	later := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "lab.example/v1", "kind": "Later", "metadata": map[string]any{"name": "one"}}}
	if _, err := world.Client.For(later); !meta.IsNoMatchError(err) {
		t.Fatalf("before: %v", err)
	}
	create(t, map[string]any{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "laters.lab.example"},
		"spec": map[string]any{"group": "lab.example", "scope": "Cluster", "names": map[string]any{"kind": "Later", "plural": "laters"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}}}}})
	eventually(t, "the kind is served", func(ctx context.Context) error {
		api, err := world.Client.For(later)
		if err != nil {
			return err
		}
		_, err = api.List(ctx, metav1.ListOptions{})
		return err
	})
}

func TestDocuments(t *testing.T) {
	create(t, configMap("docs", map[string]string{
		"b.yaml": "{kind: ConfigMap, apiVersion: v1, metadata: {name: second}}\n---\n# nothing\n---\n{kind: ConfigMap, apiVersion: v1, metadata: {name: first, annotations: {lca.openshift.io/apply-wave: \"-1\"}}}",
		"a.json": `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"alone","annotations":{"lca.openshift.io/apply-wave":"7"}}}`,
	}))
	ref := events.ConfigMapRef{Namespace: "default", Name: "docs"}
	docs, err := world.Client.Documents(t.Context(), []events.ConfigMapRef{ref, ref})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, wave := range cluster.Waves(docs) {
		line := ""
		for _, d := range wave {
			line += d.GetName() + " from " + d.From
		}
		got = append(got, line)
	}
	want := []string{"first from default/docs[b.yaml]", "alone from default/docs[a.json]", "second from default/docs[b.yaml]"}
	if !slices.Equal(got, want) {
		t.Errorf("waves %q", got)
	}
}

func TestDocumentsSayEveryProblem(t *testing.T) {
	create(t, configMap("problems", map[string]string{
		"a": "{kind: ConfigMap, metadata: {name: a}}", "b": "{kind: ConfigMap, apiVersion: v1}", "c": "[",
		"d": "{kind: ConfigMap, apiVersion: v1, metadata: {name: d, annotations: {lca.openshift.io/apply-wave: soon}}}",
		"e": "just text", "f": "[1, 2]",
	}))
	_, err := world.Client.Documents(t.Context(), []events.ConfigMapRef{{Namespace: "default", Name: "problems"}, {Namespace: "default", Name: "nothing"}})
	content, ok := cluster.AsContent(err)
	if !ok || len(content.Problems) != 7 {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{"[a], document 1: apiVersion or kind is missing", "ConfigMap resource name is empty", "[c], document 1", `"soon", not a number`, "[e], document 1", "[f], document 1", "ConfigMap default/nothing does not exist"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v\ndoes not say %q", err, part)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than one line", err)
	}
}

func TestUnsettled(t *testing.T) {
	found, err := world.Client.Unsettled(t.Context())
	if err != nil || len(found) > 0 {
		t.Fatalf("a healthy cluster: %v, %v", found, err)
	}
	pools := world.Client.Resource(cluster.MachineConfigPools)
	for _, step := range []struct {
		ready int
		want  string
	}{{0, "MachineConfigPool master has 0 of 1 machines ready"}, {1, ""}} {
		patch := fmt.Appendf(nil, `{"status":{"readyMachineCount":%d}}`, step.ready)
		if _, err := pools.Patch(t.Context(), "master", types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
		found, err := world.Client.Unsettled(t.Context())
		if err != nil || strings.Join(found, "; ") != step.want {
			t.Errorf("%v, %v; want %q", found, err, step.want)
		}
	}
}

func configMap(name string, data map[string]string) map[string]any {
	content := map[string]any{}
	for k, v := range data {
		content[k] = v
	}
	return map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"namespace": "default", "name": name}, "data": content}
}
