package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/goleak"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/cmd/reroot/cli"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/finalize"
	"github.com/reroot-dev/reroot/functions/pivot"
	"github.com/reroot-dev/reroot/functions/pullseed"
	"github.com/reroot-dev/reroot/functions/rollback"
	"github.com/reroot-dev/reroot/functions/runtime"
	"github.com/reroot-dev/reroot/functions/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	edge = upgradetest.Cluster
	upID = "to-4-19-3"
)

// world is an event store that listens, and what may be run on it.
type world struct {
	t       testing.TB
	store   *journal.Embedded
	heads   map[string]upgrade.State
	through events.Stage // of the upgrades that are told; "" is Upgrade
	connect func(context.Context) (journal.Store, error)
}

// minutes is a clock that stands at the story's beginning and goes on a minute with each event: what is printed is the
// same every time. Functions cannot run by it, because their deadlines would all be over.
func minutes() func() time.Time {
	var mu sync.Mutex
	now := upgradetest.Epoch
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Minute)
		return now
	}
}

// newWorld opens an empty store that records time by clock; nil is the real one.
func newWorld(t testing.TB, clock func() time.Time) *world {
	t.Helper()
	store, err := journal.OpenEmbedded(t.Context(), t.TempDir(), journal.EmbeddedOptions{Port: -1, Options: journal.Options{Clock: clock}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &world{t: t, store: store, heads: map[string]upgrade.State{}}
}

// tell appends plausible events to a cluster's history, as if functions had written them.
func (w *world) tell(cluster, id string, types ...events.Type) *world {
	w.t.Helper()
	s, known := w.heads[cluster]
	if !known {
		s = upgrade.New(cluster)
	}
	y := &upgradetest.Story{Upgrade: id}
	for _, typ := range types {
		var over map[string]any
		if typ == events.TypeUpgradeRequested && w.through != "" {
			over = map[string]any{"through": w.through}
		}
		e := y.Tell(s, typ, over)
		e.SetID(fmt.Sprintf("%s-%d", id, s.Sequence+1))
		e.SetExtension(events.ExtPartitionKey, cluster)
		e.SetSource(strings.Replace(e.Source(), "/"+edge+"/", "/"+cluster+"/", 1))
		records, err := w.store.Append(w.t.Context(), cluster, journal.Head{Sequence: s.Sequence, Hash: s.Hash}, e)
		if err != nil {
			w.t.Fatal(err)
		}
		if s, err = s.Apply(records[0].Event, records[0].Hash); err != nil {
			w.t.Fatal(err)
		}
	}
	w.heads[cluster] = s
	return w
}

// finalization is what follows a good path when the user asks for Idle.
var finalization = []events.Type{events.TypeStageRequested, events.TypeFinalizeStarted, events.TypeCleanupRequested, events.TypeCleanupCompleted, events.TypeIdleReached}

// failedRestore is a history that ends on the old root.
var failedRestore = slices.Concat(upgradetest.Until(events.TypeManifestsApplied), []events.Type{
	events.TypeRestoreFailed, events.TypeUpgradeFailed, events.TypeRollbackStarted, events.TypeNodeRollbackRequested,
	events.TypeNodeRollbackCompleted, events.TypeRollbackCompleted,
})

// run runs the functions and a node on the store until the test ends. Everything succeeds, but what breaks names: these
// events are answered with those, or with nothing.
func (w *world) run(breaks map[events.Type]events.Type) *world {
	w.t.Helper()
	handlers := map[string]functions.Handler{
		"stage": stage.Function{}, "pullseed": pullseed.Function{}, "pivot": pivot.Function{}, "rollback": rollback.Function{}, "finalize": finalize.Function{},
	}
	for _, name := range []string{"validate", "backup", "restore"} {
		handlers[name] = functions.HandlerFunc(func(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
			return reply("functions/"+name, name, s, e, breaks), nil
		})
	}
	w.share()
	told := maps.Clone(w.heads)
	ctx, stop := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	start := func(part func(context.Context) error) {
		parts.Go(func() {
			if err := part(ctx); err != nil && !errors.Is(err, context.Canceled) {
				w.t.Errorf("a part ended: %v", err)
			}
		})
	}
	start(runtime.New(w.store, runtime.Options{Functions: handlers}).Run)
	start(func(ctx context.Context) error {
		return w.store.Subscribe(ctx, "node", upgrade.Subscriptions("node"), func(ctx context.Context, d journal.Delivery) error {
			if events.Sequence(d.Event) <= told[d.Cluster].Sequence {
				return nil // it has been answered in what was told
			}
			s, err := journal.Fold(ctx, w.store, d.Cluster, events.Sequence(d.Event))
			if err != nil {
				return err
			}
			for _, fact := range reply("node", "node", s, d.Event, breaks) {
				err = errors.Join(err, w.store.Submit(ctx, "node", fact))
			}
			return err
		})
	})
	w.t.Cleanup(func() { stop(); parts.Wait() })
	return w
}

// share lets commands use the open store from now on. Opening a store updates its streams; nats-server 2.15.2 does not
// guard that against consumers that are created at the same moment, as a runtime does all the time, and the race
// detector sees it.
func (w *world) share() {
	w.connect = func(context.Context) (journal.Store, error) { return w.store, nil }
}

// reply is what a function or the node has to say about an event: the first thing that its reaction allows, which is
// success, unless it breaks.
func reply(writer, name string, s upgrade.State, e event.Event, breaks map[events.Type]events.Type) []event.Event {
	for _, r := range upgrade.Reactions {
		if r.Function != name || r.On != events.TypeOf(e) || r.On == events.TypeDeadlinePassed {
			continue
		}
		t := r.Emits[0]
		if other, ok := breaks[r.On]; ok {
			t = other
		}
		if t == "" {
			continue
		}
		told := (&upgradetest.Story{Upgrade: e.Subject()}).Tell(s, t, nil)
		return []event.Event{events.Caused(e, writer, t, 0, jsonOf(told))}
	}
	return nil
}

// raw is JSON as it is.
type raw []byte

func (r raw) MarshalJSON() ([]byte, error) { return r, nil }

func jsonOf(e event.Event) raw { return raw(e.Data()) }

// result is what a command did.
type result struct {
	out, err string
	code     int
}

// String is the result as a golden file holds it.
func (r result) String() string {
	return fmt.Sprintf("exit %d\n--- stdout\n%s--- stderr\n%s", r.code, r.out, r.err)
}

// call is one run of the command line.
type call struct {
	name string // that it is called by; "" is reroot
	in   string
	asks bool
	env  map[string]string
	out  *watched  // nil makes one
	now  time.Time // zero is an hour after the story's beginning
	args []string
}

// do runs the command line on the world's store.
func (w *world) do(ctx context.Context, c call) result {
	w.t.Helper()
	env := map[string]string{"USER": "alice"}
	if w.store != nil {
		env["REROOT_SERVER"] = w.store.URL()
	}
	for k, v := range c.env {
		env[k] = v
	}
	if c.name == "" {
		c.name = "reroot"
	}
	if c.out == nil {
		c.out = &watched{}
	}
	if c.now.IsZero() {
		c.now = upgradetest.Epoch.Add(time.Hour)
	}
	var stderr bytes.Buffer
	code := cli.Run(ctx, cli.Process{
		Args: append([]string{c.name}, c.args...), In: strings.NewReader(c.in), Asks: c.asks, Out: c.out, Err: &stderr,
		Env:     func(name string) string { return env[name] },
		Now:     func() time.Time { return c.now },
		Connect: w.connect,
	})
	r := result{out: c.out.String(), err: stderr.String(), code: code}
	if w.store != nil {
		r.out, r.err = strings.ReplaceAll(r.out, w.store.URL(), "SERVER"), strings.ReplaceAll(r.err, w.store.URL(), "SERVER")
	}
	return r
}

// reroot runs a command that is given as one line.
func (w *world) reroot(line string) result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	return w.do(ctx, call{args: strings.Fields(line)})
}

// watched is an output that tells when something that a test waits for stands in it.
type watched struct {
	mu   sync.Mutex
	b    bytes.Buffer
	want string
	seen func() // called once want stands there
}

func (o *watched) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.b.Write(p)
	if o.seen != nil && strings.Contains(o.b.String(), o.want) {
		o.seen()
	}
	return n, err
}

// expect waits for something else from now on.
func (o *watched) expect(want string, seen func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.want, o.seen = want, seen
}

// once closes a channel the first time that it is called.
func once(c chan struct{}) func() { return sync.OnceFunc(func() { close(c) }) }

func (o *watched) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
