package pipeline_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/pipeline"
	"github.com/reroot-dev/reroot/functions/project"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api answers as the API server of one cluster, to one token.
func api(t *testing.T, clusterID, token string) *httptest.Server {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+token {
			http.Error(w, "who is "+got, http.StatusUnauthorized)
			return
		}
		if r.URL.Path != "/behind/a/proxy/apis/config.openshift.io/v1/clusterversions/version" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": "config.openshift.io/v1", "kind": "ClusterVersion", "metadata": map[string]any{"name": "version"},
			"spec": map[string]any{"clusterID": clusterID},
		})
	}))
	t.Cleanup(s.Close)
	return s
}

func kubeconfig(server *httptest.Server, token string) string {
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: one
clusters: [{name: one, cluster: {server: %q, certificate-authority-data: %s}}]
contexts: [{name: one, context: {cluster: one, user: one}}]
users: [{name: one, user: {token: %q}}]
`, server.URL+"/behind/a/proxy", base64.StdEncoding.EncodeToString(authority), token)
}

// TestConnectFollowsItsFile is a node that goes to a new root: no file at first, then the seed's, then its own.
func TestConnectFollowsItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	client, err := pipeline.Connect(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.ClusterID(t.Context()); !cluster.Unavailable(err) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
	for _, c := range []struct{ id, token string }{{"seed", "s1"}, {"ours", "s2"}} {
		server := api(t, c.id, c.token)
		if err := os.WriteFile(file, []byte(kubeconfig(server, c.token)), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if id, err := client.ClusterID(t.Context()); err != nil || id != c.id {
				t.Errorf("cluster %q answers, want %q: %v", id, c.id, err)
			}
		}
	}
	for name, text := range map[string]string{"half a file": "apiVersion: v1\nkind: Conf", "too long": strings.Repeat("#", 1<<20+1)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Resource(cluster.ClusterVersions).Get(t.Context(), "version", metav1.GetOptions{}); !cluster.Unavailable(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFunctionsAreThoseOfTheTable(t *testing.T) {
	names := []string{project.Name}
	for _, r := range upgrade.Reactions {
		names = append(names, r.Function)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if _, err := (pipeline.Pipeline{Cluster: "edge-1"}).Function(name); (err == nil) == (name == "node") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnotherClustersEvent(t *testing.T) {
	h, err := pipeline.Pipeline{Cluster: "edge-2"}.Function("stage")
	if err != nil {
		t.Fatal(err)
	}
	state := upgrade.New(upgradetest.Cluster)
	request := (&upgradetest.Story{Upgrade: "up-1"}).Tell(state, events.TypeUpgradeRequested, nil)
	if _, err := h.Handle(t.Context(), state, request); err == nil || !strings.Contains(err.Error(), "this process serves edge-2") {
		t.Errorf("an event of %s: %v", upgradetest.Cluster, err)
	}
}

// TestRun: what a user asks for is admitted and acted upon although no API server answers, and Run ends with its context.
func TestRun(t *testing.T) {
	client, err := pipeline.Connect(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	store := journal.NewMemory(nil)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		p := pipeline.Pipeline{Cluster: upgradetest.Cluster, API: client, Log: slog.New(slog.DiscardHandler)}
		if err := p.Run(running, store); err != nil {
			t.Errorf("it ended: %v", err)
		}
	})
	request := (&upgradetest.Story{Upgrade: "up-1"}).Tell(upgrade.New(upgradetest.Cluster), events.TypeUpgradeRequested, nil)
	if err := store.Submit(ctx, "users", request); err != nil {
		t.Fatal(err)
	}
	started := false
	for r, err := range store.Watch(ctx, upgradetest.Cluster, 1) {
		if err != nil {
			t.Error(err)
			break
		}
		if started = events.TypeOf(r.Event) == events.TypePrepStarted; started {
			break
		}
	}
	if !started {
		t.Error("no prep.started")
	}
	stop()
	done.Wait()
}
