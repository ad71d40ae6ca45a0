package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	api "github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/test/lab/world"
)

var record = flag.String("record", "", "write the histories into this `directory`")

// limit bounds each wait for something to happen: many times what it takes on an idle machine.
const limit = 8 * time.Minute

// prepared are the programs of the lab, made once for all tests.
var prepared = sync.OnceValues(func() (map[string]string, error) { return world.Prepare(context.Background(), os.Stderr) })

// lab is a world with its history as far as the test has read it.
type lab struct {
	*testing.T
	w     *world.World
	store journal.Store
	state upgrade.State

	incarnation string // of the API, when the test last asked
	pace        pace   // of this machine, nil when nobody wants to know
}

// newLab makes a world; opts say what is special about it. Its pipeline does not run yet: see run and host.
func newLab(t *testing.T, opts world.Options) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces and ostree")
	}
	var err error
	if opts.Programs, err = prepared(); err != nil {
		t.Fatal(err)
	}
	if opts.Dir, err = os.MkdirTemp("", "reroot-e2e-"); err != nil { // not t.TempDir: the path of a socket is short
		t.Fatal(err)
	}
	opts.Log, opts.Pipeline = t.Output(), slog.New(slog.NewTextHandler(t.Output(), nil))
	w, err := world.New(t.Context(), opts)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("console of the node:\n%s", tail(filepath.Join(opts.Dir, "target", "console.log")))
		}
		if err := w.Close(false); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.CreateResource(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &lab{T: t, w: w, store: w.Store, state: upgrade.New(w.Record.Cluster)}
}

// tail is the end of a file, for a person.
func tail(file string) []byte {
	const most = 12 << 10
	b, err := os.ReadFile(file)
	if err != nil {
		return []byte(err.Error())
	}
	return b[max(0, len(b)-most):]
}

// run hosts the pipeline in this process until the test has ended.
func (l *lab) run() {
	ctx, end := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.w.Run(ctx) }()
	l.Cleanup(func() {
		end()
		if err := <-ended; err != nil {
			l.Errorf("the pipeline ended: %v", err)
		}
	})
}

// connect replaces the store by a connection to the same journal, wherever it is hosted.
func (l *lab) connect() {
	l.Helper()
	nc, err := nats.Connect(l.w.JournalURL, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(nc.Close)
	l.eventually("the journal answers", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		l.store, err = journal.Open(ctx, nc, journal.Options{Synced: true})
		return err
	})
}

// request asks for an upgrade up to a stage.
func (l *lab) request(id string, spec events.UpgradeSpec, through events.Stage) {
	l.Helper()
	l.submit(events.TypeUpgradeRequested, id, events.UpgradeRequested{Spec: spec, Through: through})
}

// ask asks for a stage of the upgrade.
func (l *lab) ask(stage events.Stage) {
	l.Helper()
	l.submit(events.TypeStageRequested, l.state.Upgrade, events.StageRequested{Stage: stage})
}

func (l *lab) submit(t events.Type, upgrade string, data any) {
	l.Helper()
	id := fmt.Sprintf("%s-%s-%d", upgrade, t.Short(), l.state.Sequence)
	e := events.New(t, id, l.w.Record.Cluster, "users/e2e", upgrade, data)
	l.eventually("the request is stored", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return l.store.Submit(ctx, "users", e)
	})
}

// follow reads the history on until seen says that it is enough, and returns the record that was. A journal that is
// away is tried again.
func (l *lab) follow(what string, seen func(upgrade.State, journal.Record) bool) journal.Record {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), limit)
	defer cancel()
	for ctx.Err() == nil {
		for r, err := range l.store.Watch(ctx, l.w.Record.Cluster, l.state.Sequence+1) {
			if err != nil {
				break
			}
			next, err := l.state.Apply(r.Event, r.Hash)
			if err != nil {
				l.Fatalf("cannot fold event %d: %v", l.state.Sequence+1, err)
			}
			l.state = next
			l.Logf("%3d %-14s %-28s %s", next.Sequence, next.Phase, events.TypeOf(r.Event).Short(), r.Event.Data())
			if seen(next, r) {
				return r
			}
		}
		rest(ctx)
	}
	status, err := sandbox.State(l.Context(), l.w.Sandbox)
	l.Fatalf("%s: it does not happen; phase %s, node %+v %v", what, l.state.Phase, status, err)
	return journal.Record{}
}

// await reads the history on to the next event of a type.
func (l *lab) await(t events.Type) journal.Record {
	l.Helper()
	return l.follow(t.Short(), func(_ upgrade.State, r journal.Record) bool { return events.TypeOf(r.Event) == t })
}

// settle reads the history on to one of the phases.
func (l *lab) settle(phases ...upgrade.Phase) upgrade.Phase {
	l.Helper()
	at := func(s upgrade.State) bool { return slices.Contains(phases, s.Phase) }
	if !at(l.state) {
		l.follow(fmt.Sprint("to reach ", phases), func(s upgrade.State, _ journal.Record) bool { return at(s) })
	}
	return l.state.Phase
}

// eventually tries until it succeeds: what the history says may take a moment to be seen.
func (l *lab) eventually(what string, try func(context.Context) error) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.Context(), limit)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			l.Fatalf("%s: %v", what, err)
		}
		rest(ctx)
	}
}

// rest is the pause between two tries.
func rest(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(200 * time.Millisecond):
	}
}

// verify checks the world from outside against the history, see [world.World.Verify], and the history itself.
func (l *lab) verify() {
	l.Helper()
	l.eventually("the world is as the history says", func(ctx context.Context) error { return l.w.Verify(ctx, l.state) })
	l.sound()
}

// sound checks that the history is whole: the chain holds, nothing was parked. A journal that is away is tried again.
func (l *lab) sound() {
	l.Helper()
	var s upgrade.State
	var parked []journal.Parked
	l.eventually("the history is read", func(ctx context.Context) error {
		var err error
		if s, err = journal.Fold(ctx, l.store, l.w.Record.Cluster, 0); err == nil {
			parked, err = l.store.Parked(ctx, l.w.Record.Cluster)
		}
		if broken := (*events.ChainError)(nil); errors.As(err, &broken) {
			l.Fatal(err)
		}
		return err
	})
	if s.Sequence < l.state.Sequence {
		l.Errorf("the history ends at %d, but %d was read", s.Sequence, l.state.Sequence)
	}
	for _, p := range parked {
		l.Errorf("parked: %s by %s: %s: %s", p.Event, p.Origin, p.Reason, p.Detail)
	}
}

// keep writes the history into the directory of -record.
func (l *lab) keep(name string) {
	l.Helper()
	if *record == "" {
		return
	}
	var b bytes.Buffer
	if err := journal.Export(l.Context(), l.store, l.w.Record.Cluster, &b); err != nil {
		l.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*record, name+".ndjson"), b.Bytes(), 0o644); err != nil {
		l.Fatal(err)
	}
}

// inside runs a program on the node, once it is up.
func (l *lab) inside(argv ...string) string {
	l.Helper()
	var out string
	l.eventually(strings.Join(argv, " "), func(ctx context.Context) error {
		stdout, stderr, code, err := sandbox.Exec(ctx, l.w.Sandbox, argv, nil)
		if err == nil && code != 0 {
			err = fmt.Errorf("code %d: %s", code, stderr)
		}
		out = string(stdout)
		return err
	})
	return out
}

// booted is the deployment that the node's own ostree calls booted.
func (l *lab) booted() events.Deployment {
	l.Helper()
	for line := range strings.Lines(l.inside("ostree", "admin", "status")) {
		if f, is := strings.CutPrefix(line, "* "); is {
			stateroot, rest, _ := strings.Cut(strings.TrimSpace(f), " ")
			commit, _, _ := strings.Cut(rest, ".")
			return events.Deployment{Stateroot: stateroot, Commit: commit}
		}
	}
	l.Fatal("no deployment is booted")
	return events.Deployment{}
}

// stateroots are those on the node's disk.
func (l *lab) stateroots() []string {
	l.Helper()
	found, err := os.ReadDir(filepath.Join(l.w.Target.Sysroot, "ostree", "deploy"))
	if err != nil {
		l.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names
}

// digest is that of a stateroot on the node's disk.
func (l *lab) digest(stateroot string) string {
	l.Helper()
	d, err := world.Digest(filepath.Join(l.w.Target.Sysroot, "ostree", "deploy", stateroot))
	if err != nil {
		l.Fatal(err)
	}
	return d
}

// resource is the ImageBasedUpgrade.
func (l *lab) resource(ctx context.Context) (*v1.ImageBasedUpgrade, error) {
	u, err := l.w.API.Resource(v1.Resource).Get(ctx, v1.Name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return api.Object[v1.ImageBasedUpgrade](u)
}

// condition waits until the resource has a condition with a reason.
func (l *lab) condition(kind, reason string) *v1.ImageBasedUpgrade {
	l.Helper()
	var found *v1.ImageBasedUpgrade
	l.eventually("condition "+kind+" with reason "+reason, func(ctx context.Context) error {
		u, err := l.resource(ctx)
		if err != nil {
			return err
		}
		for _, c := range u.Status.Conditions {
			if c.Type == kind && c.Reason == reason {
				found = u
				return nil
			}
		}
		b, err := json.Marshal(u.Status.Conditions)
		return fmt.Errorf("its conditions are %s %v", b, err)
	})
	return found
}
