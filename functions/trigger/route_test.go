package trigger_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions/pipeline"
	"github.com/reroot-dev/reroot/functions/runtime"
	"github.com/reroot-dev/reroot/functions/trigger"
)

// broker does what one does: every event goes to the services of the triggers whose filters let it pass.
type broker struct {
	filters  map[string]filter
	services map[string]*httptest.Server

	mu      sync.Mutex
	answers []string // "function event status"
}

func newBroker(t *testing.T, store journal.Store) *broker {
	t.Helper()
	api, err := pipeline.Connect(filepath.Join(t.TempDir(), "none"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	p := pipeline.Pipeline{Cluster: upgradetest.Cluster, API: api, Log: log}
	b := &broker{filters: map[string]filter{}, services: map[string]*httptest.Server{}}
	triggers, _ := applied(t)
	for _, name := range trigger.Functions() {
		handler, err := p.Function(name)
		if err != nil {
			t.Fatal(err)
		}
		b.filters[name] = filterOf(t, triggers[name])
		b.services[name] = httptest.NewServer(runtime.HTTP(name, handler, store, log))
		t.Cleanup(b.services[name].Close)
	}
	return b
}

// deliver posts an event to whoever gets it, once: what a later call of Knative's would bring is not waited for.
func (b *broker) deliver(ctx context.Context, d journal.Delivery) error {
	for name, filter := range b.filters {
		if !filter.passes(ctx, d.Event) {
			continue
		}
		status, err := post(ctx, b.services[name].URL, d.Event)
		if err != nil {
			return err
		}
		b.mu.Lock()
		b.answers = append(b.answers, fmt.Sprint(name, " ", events.TypeOf(d.Event).Short(), " ", status))
		b.mu.Unlock()
	}
	return nil
}

func post(ctx context.Context, url string, e event.Event) (status int, err error) {
	req, err := cehttp.NewHTTPRequestFromEvent(ctx, url, e)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// TestThroughKnative begins and aborts an upgrade in which no function ever sees the journal's own delivery: all of
// them are behind the triggers and HTTP. No cluster answers, so those that need one ask to be called again.
func TestThroughKnative(t *testing.T) {
	store := journal.NewMemory(nil)
	b := newBroker(t, store)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := runtime.New(store, runtime.Options{}).Run(running); err != nil { // admits, and hosts nothing
			t.Error(err)
		}
	})
	parts.Go(func() { _ = store.Subscribe(running, "broker", nil, b.deliver) })
	request := (&upgradetest.Story{Upgrade: "up-1"}).Tell(upgrade.New(upgradetest.Cluster), events.TypeUpgradeRequested, nil)
	abort := events.New(events.TypeStageRequested, "abort", upgradetest.Cluster, "users/alice", "up-1", events.StageRequested{Stage: events.StageIdle})
	for _, step := range []struct {
		ask  event.Event
		then events.Type
	}{{request, events.TypePrepStarted}, {abort, events.TypeCleanupRequested}} {
		if err := store.Submit(ctx, "users", step.ask); err != nil {
			t.Fatal(err)
		}
		come := false
		for r, err := range store.Watch(ctx, upgradetest.Cluster, 1) {
			if come = err == nil && events.TypeOf(r.Event) == step.then; come || err != nil {
				break
			}
		}
		if !come {
			t.Errorf("%s does not come", step.then.Short())
		}
	}
	stop()
	parts.Wait()
	// What finalize answered may not have arrived any more; what it decided is in the journal.
	for _, want := range []string{
		"stage upgrade.requested 204", "validate prep.started 503", "project prep.started 503", "stage stage.requested 204",
	} {
		if !slices.Contains(b.answers, want) {
			t.Errorf("no %q among\n%s", want, strings.Join(b.answers, "\n"))
		}
	}
}
