package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/goleak"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/runtime"
	"github.com/reroot-dev/reroot/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	cluster = "edge-1"
	upID    = "to-4-19-3"
)

// example is the valid payload that the schemas' examples have for a type.
func example(t events.Type) json.RawMessage {
	b, err := schemas.FS.ReadFile("examples/" + schemas.Name(string(t), events.Prefix) + "/valid.json")
	if err != nil {
		panic(err)
	}
	var e struct {
		Data json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(b, &e); err != nil {
		panic(err)
	}
	return e.Data
}

// good are the types that lead to success, of those that a reaction may emit.
func good(emits []events.Type) []events.Type {
	return slices.DeleteFunc(slices.Clone(emits), func(t events.Type) bool {
		s := t.Short()
		return strings.HasSuffix(s, ".failed") || strings.Contains(s, "rollback") || t == events.TypeStageRejected || t == events.TypeAbortStarted
	})
}

// goodHandlers answer at once and always with success.
func goodHandlers() map[string]functions.Handler {
	handlers := map[string]functions.Handler{}
	for _, r := range upgrade.Reactions {
		if name := r.Function; name != "node" {
			handlers[name] = functions.HandlerFunc(func(_ context.Context, _ upgrade.State, e event.Event) ([]event.Event, error) {
				return answer(name, e), nil
			})
		}
	}
	return handlers
}

// answer is the good answer of a function to an event.
func answer(function string, e event.Event) (answers []event.Event) {
	for _, r := range upgrade.Reactions {
		if r.Function != function || r.On != events.TypeOf(e) || r.On == events.TypeDeadlinePassed {
			continue
		}
		writer := "functions/" + function
		if function == "node" {
			writer = "node"
		}
		for i, t := range good(r.Emits) {
			answers = append(answers, events.Caused(e, writer, t, i, example(t)))
		}
	}
	return answers
}

// node is a node that succeeds at everything. Its outbox outlives its subscription.
type node struct {
	store journal.Store
	mu    sync.Mutex
	facts map[string]event.Event // by the command's id
	prev  string
}

func newNode(store journal.Store) *node { return &node{store: store, facts: map[string]event.Event{}} }

func (n *node) run(ctx context.Context) error {
	return n.store.Subscribe(ctx, "node", upgrade.Subscriptions("node"), func(ctx context.Context, d journal.Delivery) error {
		fact, err := n.fact(d.Event)
		if err != nil {
			return err
		}
		return n.store.Submit(ctx, "node", fact)
	})
}

// fact is what the node has to say about a command: always the same.
func (n *node) fact(command event.Event) (event.Event, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f, done := n.facts[command.ID()]; done {
		return f, nil
	}
	f := answer("node", command)[0]
	f.SetTime(command.Time())
	f.SetExtension(events.ExtNodeSequence, fmt.Sprintf("%020d", len(n.facts)+1))
	if n.prev != "" {
		f.SetExtension(events.ExtNodePrevHash, n.prev)
	}
	hash, err := events.Hash(f)
	if err != nil {
		return f, err
	}
	n.prev, n.facts[command.ID()] = hash, f
	return f, nil
}

func requested(id string, through events.Stage) event.Event {
	var p events.UpgradeRequested
	if err := json.Unmarshal(example(events.TypeUpgradeRequested), &p); err != nil {
		panic(err)
	}
	p.Through = through
	return events.New(events.TypeUpgradeRequested, "req-"+id, cluster, "users/alice", id, p)
}

// start runs parts until the returned function is called, which waits for their end.
func start(t testing.TB, parts ...func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, part := range parts {
		wg.Go(func() {
			if err := part(ctx); err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("a part ended: %v", err)
			}
		})
	}
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// until reads a history on until an event of the type, and returns all of it.
func until(t testing.TB, log journal.Log, want events.Type) []event.Event {
	t.Helper()
	var all []event.Event
	for r, err := range log.Watch(t.Context(), cluster, 1) {
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		if all = append(all, r.Event); events.TypeOf(r.Event) == want {
			break
		}
	}
	return all
}

// story is a history without what differs from run to run: times, and the hashes that depend on them.
func story(evs []event.Event) []string {
	var lines []string
	for _, e := range evs {
		lines = append(lines, fmt.Sprint(events.Sequence(e), " ", events.TypeOf(e).Short(), " ", e.ID(), " after ", events.Causation(e)))
	}
	return lines
}

func submit(t testing.TB, store journal.Store, origin string, e event.Event) {
	t.Helper()
	if err := store.Submit(t.Context(), origin, e); err != nil {
		t.Fatal(err)
	}
}

func newRuntime(store journal.Store, handlers map[string]functions.Handler) *runtime.Runtime {
	return runtime.New(store, runtime.Options{Functions: handlers})
}
