package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// records keeps what is logged, one line a record.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, strings.TrimSuffix(string(line), "\n")+" ") // each field ends with a space
	return len(line), nil
}

// about are the lines that hold all the words.
func (r *records) about(words ...string) (found []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
			found = append(found, line)
		}
	}
	return found
}

// asked counts the lists of each resource that a client asked for, answered or not.
type asked struct {
	http.RoundTripper
	mu    sync.Mutex
	times map[string]int
}

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.mu.Lock()
	a.times[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]++
	a.mu.Unlock()
	return a.RoundTripper.RoundTrip(r)
}

// atLeast says which of the kinds has not been asked for so often.
func (a *asked) atLeast(n int, kinds []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, kind := range kinds {
		if a.times[kind] < n {
			return fmt.Errorf("%s: %d times", kind, a.times[kind])
		}
	}
	return nil
}

// TestTroubleIsTold runs a source that may nothing: for each kind it says so once, and once that it is over.
func TestTroubleIsTold(t *testing.T) {
	kinds := []string{"imagebasedupgrades", "backups", "restores", "backupstoragelocations"}
	requests := &asked{times: map[string]int{}}
	config := rest.CopyConfig(world.Config)
	config.Impersonate.UserName = "nobody-special"
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { requests.RoundTripper = next; return requests })
	client, err := cluster.Connect(config)
	if err != nil {
		t.Fatal(err)
	}
	logged := &records{}
	source := &cluster.Source{Cluster: name, Client: client, Inbox: make(inbox), Projection: silent{},
		Log:   slog.New(slog.NewTextHandler(logged, nil)),
		State: func(context.Context) (upgrade.State, error) { return upgrade.New(name), nil }}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { source.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })

	eventually(t, "each kind has been tried again and again", func(context.Context) error { return requests.atLeast(3, kinds) })
	for _, kind := range kinds {
		if told := logged.about("level=WARN", "resource="+kind+" ", "forbidden", "nobody-special"); len(told) != 1 {
			t.Errorf("of %s it warns %d times: %v", kind, len(told), told)
		}
	}
	create(t, map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": map[string]any{"name": "nobody-special"},
		"roleRef":  map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
		"subjects": []any{map[string]any{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "nobody-special"}}})
	eventually(t, "it is over", func(context.Context) error {
		for _, kind := range kinds {
			if told := logged.about("level=INFO", "resource="+kind+" ", "again"); len(told) != 1 {
				return fmt.Errorf("of %s it says %v", kind, told)
			}
		}
		return nil
	})
}
