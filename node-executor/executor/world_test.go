package executor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

var (
	oldRoot = events.Deployment{Stateroot: "rhcos", Commit: strings.Repeat("a", 64)}
	newRoot = events.Deployment{Stateroot: "rhcos_4.17.0", Commit: strings.Repeat("b", 64)}
)

// world is a node and its hub: a disk, a boot order, what the steps did, the commands and the inbox. The executor is
// the real one; it is started again whenever it ends.
type world struct {
	t  *testing.T
	mu sync.Mutex // of everything below; held while a hook or the hub is called

	data     []byte // the ledger's file
	appends  int
	crashAt  int // the append that does not return, 0 for none
	crashHow crash

	boots        int
	booted, next events.Deployment
	record       watchdog.Record
	effects      map[string]bool // what the steps did that is not undone
	trace        []string        // steps in the order in which they ran

	fail  map[string]error                 // steps that fail
	block map[string]bool                  // steps that run until they are stopped
	hub   func(w *world, fact event.Event) // reacts to facts
	when  map[string]func(w *world)        // called in a step
	queue []event.Event                    // commands, in the journal's order
	acked int                              // of them
	inbox []event.Event                    // facts, each once
	seen  map[string]string                // their bodies by ordinal
	lost  int                              // facts that are stored although the executor is told otherwise
	end   func(w *world) bool              // the story is over
	kill  context.CancelFunc               // of the running executor
	poke  chan struct{}                    // wakes whoever waits for a command
	tells map[string]events.StepProgressed // last report by step
}

// crash is what is left of an append that a crash hits.
type crash int

const (
	lost crash = iota // nothing; half of it is the same, as the ledger's own test shows
	kept              // all of it, but nobody was told
)

var errDown = errors.New("power cut")

func newWorld(t *testing.T) *world {
	return &world{
		t: t, booted: oldRoot, next: oldRoot, effects: map[string]bool{}, fail: map[string]error{}, block: map[string]bool{},
		when: map[string]func(*world){}, seen: map[string]string{}, poke: make(chan struct{}, 1), tells: map[string]events.StepProgressed{},
	}
}

func (w *world) lock() (unlock func()) {
	w.mu.Lock()
	return w.mu.Unlock
}

// Disk.

func (w *world) Read() ([]byte, error) {
	defer w.lock()()
	return slices.Clone(w.data), nil
}

func (w *world) Truncate(n int64) error {
	defer w.lock()()
	w.data = w.data[:n]
	return nil
}

func (w *world) Replace(b []byte) error {
	return w.write(func(how crash) {
		if how == kept {
			w.data = slices.Clone(b)
		}
	})
}

func (w *world) Append(b []byte) error {
	return w.write(func(how crash) {
		if how == kept {
			w.data = append(w.data, b...)
		}
	})
}

func (w *world) write(do func(crash)) error {
	defer w.lock()()
	w.appends++
	if w.appends == w.crashAt {
		do(w.crashHow)
		return errDown
	}
	do(kept)
	return nil
}

// Machine.

func (w *world) BootTime() (time.Duration, error) { return time.Minute, nil }

func (w *world) Booted(context.Context) (events.Deployment, error) {
	defer w.lock()()
	return w.booted, nil
}

func (w *world) BootID() (string, error) {
	defer w.lock()()
	return fmt.Sprintf("boot-%d", w.boots), nil
}

// Hub.

func (w *world) Receive(ctx context.Context, handle func(context.Context, event.Event, string) error) error {
	for {
		for e, n := w.due(0); e != nil; e, n = w.due(n) {
			if err := handle(ctx, *e, fmt.Sprint("hash-", n)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.poke:
		}
	}
}

// due acknowledges n commands and returns the next one and its ordinal.
func (w *world) due(n int) (*event.Event, int) {
	defer w.lock()()
	if w.acked = max(w.acked, n); w.acked == len(w.queue) {
		return nil, 0
	}
	return &w.queue[w.acked], w.acked + 1
}

// command adds to the queue; the caller holds the lock, or no executor runs.
func (w *world) command(t events.Type, upgrade string, data any) event.Event {
	e := events.New(t, fmt.Sprintf("cmd-%d", len(w.queue)+1), "edge-1", "functions/test", upgrade, data)
	e.SetExtension(events.ExtSequence, fmt.Sprintf("%020d", len(w.queue)+1))
	w.queue = append(w.queue, e)
	select {
	case w.poke <- struct{}{}:
	default:
	}
	return e
}

func (w *world) Submit(_ context.Context, fact event.Event) error {
	defer w.lock()()
	if w.crashAt == 0 { // in the crash matrix it would only take time
		if p := events.Validate(fact); p != nil {
			w.t.Errorf("%s is invalid: %v", fact.Type(), p)
		}
	}
	n := fmt.Sprint(fact.Extensions()[events.ExtNodeSequence])
	if body, again := w.seen[n]; again {
		if body != fact.String() {
			w.t.Errorf("fact %s has changed:\n%s\n%s", n, body, fact)
		}
		return nil
	}
	if want := fmt.Sprintf("%020d", len(w.inbox)+1); n != want {
		w.t.Errorf("fact %s came when %s was due", n, want)
	}
	if len(w.inbox) > 0 {
		prev, err := events.Hash(w.inbox[len(w.inbox)-1])
		if got := fact.Extensions()[events.ExtNodePrevHash]; err != nil || got != prev {
			w.t.Errorf("fact %s follows %v, want %s (%v)", n, got, prev, err)
		}
	}
	w.seen[n] = fact.String()
	w.inbox = append(w.inbox, fact)
	if w.hub != nil {
		w.hub(w, fact)
	}
	if w.lost > 0 {
		w.lost--
		return errors.New("the connection broke")
	}
	return nil
}

func (w *world) Report(_ context.Context, e event.Event) error {
	defer w.lock()()
	if w.crashAt > 0 {
		return nil
	}
	if p := events.Validate(e); p != nil {
		w.t.Errorf("report is invalid: %v", p)
	}
	p, err := events.Decode[events.StepProgressed](e)
	w.tells[p.Step] = p
	return err
}

// Node.

// run starts the executor, and the machine, again and again until the story is over.
func (w *world) run() {
	w.t.Helper()
	for range 100 {
		if w.live() {
			return
		}
	}
	w.t.Fatalf("the story does not end; steps: %v", w.trace)
}

// live is one life of the executor; it says whether the story is over.
func (w *world) live() bool {
	ctx, kill := context.WithCancel(w.t.Context())
	defer kill()
	w.kill = kill
	l, err := ledger.Open(w)
	if err != nil {
		w.t.Fatal(err)
	}
	x := executor.New(executor.Options{
		Cluster: "edge-1", Ledger: l, Plans: w.plans(), Machine: w, Commands: w, Facts: w, Progress: w, Now: time.Now,
		Watchdog: func() (watchdog.Record, error) { return w.record, nil },
		Log:      slog.New(slog.DiscardHandler),
	})
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	synctest.Wait()
	for waited := 0; ; waited++ {
		select {
		case err := <-done:
			if !errors.Is(err, errDown) && !errors.Is(err, context.Canceled) {
				w.t.Fatalf("run: %v", err)
			}
			if w.effects["rebooting"] {
				w.boot()
			}
			return false
		default:
		}
		if s := l.State(); w.ended() && len(s.Outbox) == 0 && slices.IndexFunc(s.Jobs, ledger.Job.Open) < 0 {
			kill()
			<-done
			return true
		}
		if waited > 5000 {
			w.t.Fatalf("nothing happens any more; steps: %v; facts: %v", w.trace, w.facts())
		}
		time.Sleep(time.Second) // in the bubble's own time: everybody else waits as well
		synctest.Wait()
	}
}

func (w *world) ended() bool {
	defer w.lock()()
	return w.end(w)
}

// boot is the machine going down and coming up in the root that is the default.
func (w *world) boot() {
	delete(w.effects, "rebooting")
	w.boots++
	w.booted = w.next
}

func (w *world) facts() []string {
	var all []string
	for _, e := range w.inbox {
		all = append(all, events.TypeOf(e).Short())
	}
	return all
}

func (w *world) done() []string { return slices.Sorted(maps.Keys(w.effects)) }

// begin has the effect of a step and says whether the step then blocks.
func (w *world) begin(name string) bool {
	defer w.lock()()
	w.trace = append(w.trace, name)
	w.effects[name] = true
	if f := w.when[name]; f != nil {
		f(w)
	}
	return w.block[name]
}

// step is a fake step: it leaves an effect that its undo takes away.
func (w *world) step(name string, undoable bool) step.Step {
	s := step.Step{Name: name, Do: func(ctx context.Context, t *step.Task) error {
		if w.begin(name) {
			<-ctx.Done()
			return ctx.Err()
		}
		if err := t.Keep(name, name); err != nil {
			return err
		}
		return w.fail[name]
	}}
	if undoable {
		s.Undo = func(context.Context, *step.Task) error {
			defer w.lock()()
			w.trace = append(w.trace, "undo "+name)
			delete(w.effects, name)
			return w.fail["undo "+name]
		}
	}
	return s
}

func (w *world) reboot() step.Step {
	return step.Step{Name: step.Reboot, Do: func(_ context.Context, t *step.Task) error {
		to, err := step.Command[events.NodeRollbackRequested](t)
		if err != nil || to.Target == t.Booted {
			return err
		}
		defer w.lock()()
		w.trace = append(w.trace, step.Reboot)
		if err := w.fail[step.Reboot]; err != nil && to.Target == newRoot {
			return err
		}
		w.effects["rebooting"] = true
		if f := w.when[step.Reboot]; f != nil {
			f(w)
		}
		w.kill()
		return step.ErrRebooting
	}}
}

func (w *world) setDefault(name string) step.Step {
	return step.Step{
		Name: name,
		Do: func(_ context.Context, t *step.Task) error {
			p, err := step.Command[events.NodeRollbackRequested](t)
			defer w.lock()()
			w.trace = append(w.trace, name)
			w.next = p.Target
			return errors.Join(err, w.fail[name])
		},
		Undo: func(context.Context, *step.Task) error {
			defer w.lock()()
			w.next = w.booted
			return nil
		},
	}
}

func (w *world) plans() step.Plans {
	return step.Plans{
		events.TypeSeedpullRequested: {
			Steps: []step.Step{w.step("check-space", false), w.step("import", true)}, Otherwise: events.ReasonImportFailed,
			Report: func(t *step.Task, o events.Outcome) (any, error) {
				_, err := step.Recall[string](t, "import")
				return events.SeedpullCompleted{Outcome: o, Target: newRoot, Digest: digest}, err
			},
		},
		events.TypePivotRequested: {
			Steps:     []step.Step{w.step("write-units", true), w.step("arm-watchdog", true), w.setDefault("set-default"), w.reboot()},
			Otherwise: events.ReasonPivotFailed,
		},
		events.TypeCryptoregenRequested: {
			Steps: []step.Step{w.step("regenerate", false)}, Otherwise: events.ReasonCryptoFailed, OneWay: true, GoesBack: true,
			Report: func(_ *step.Task, o events.Outcome) (any, error) { return events.CryptoregenCompleted{Outcome: o}, nil },
		},
		events.TypeReconfigureRequested: {
			Steps: []step.Step{w.step("apply", false), w.step("await-api", false)}, Otherwise: events.ReasonReconfigureFailed, OneWay: true, GoesBack: true,
			Report: func(_ *step.Task, o events.Outcome) (any, error) {
				return events.ReconfigureCompleted{Outcome: o, ClusterID: "id"}, nil
			},
		},
		events.TypeConfirmRequested: {
			Steps: []step.Step{w.step("confirm", false)}, Otherwise: events.ReasonConfirmFailed,
			Report: func(_ *step.Task, o events.Outcome) (any, error) { return events.ConfirmCompleted{Outcome: o}, nil },
		},
		events.TypeNodeRollbackRequested: {
			Steps: []step.Step{w.setDefault("set-default-old"), w.reboot()}, Otherwise: events.ReasonRollbackFailed, OneWay: true,
			Report: func(_ *step.Task, o events.Outcome) (any, error) {
				return events.NodeRollbackCompleted{Outcome: o, Trigger: events.TriggerUser}, nil
			},
		},
		events.TypeCleanupRequested: {
			Steps: []step.Step{w.step("remove", false)}, Otherwise: events.ReasonCleanupFailed, OneWay: true,
			Report: func(_ *step.Task, o events.Outcome) (any, error) {
				return events.CleanupCompleted{Outcome: o, Removed: []string{newRoot.Stateroot}}, nil
			},
		},
	}
}

const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func (w *world) base(target *events.Deployment) events.Command {
	return events.Command{Attempt: 1, For: target, NotAfter: time.Now().Add(time.Hour)}
}

func (w *world) seedpull(upgrade string) event.Event {
	return w.command(events.TypeSeedpullRequested, upgrade, events.SeedpullRequested{
		Command: w.base(nil), Stateroot: newRoot.Stateroot,
		Seed: events.Seed{Image: "registry/seed@" + digest, Digest: digest, FormatVersion: 4, Version: "4.17.0"},
	})
}

func (w *world) pivot() {
	w.command(events.TypePivotRequested, "u1", events.PivotRequested{Command: w.base(&oldRoot), Target: newRoot, BudgetSeconds: 60})
	w.command(events.TypeCryptoregenRequested, "u1", events.CryptoregenRequested{Command: w.base(&newRoot)})
	w.command(events.TypeReconfigureRequested, "u1", events.ReconfigureRequested{Command: w.base(&newRoot)})
}

func (w *world) cleanup(booted events.Deployment) {
	w.command(events.TypeCleanupRequested, "u1", events.CleanupRequested{Command: w.base(&booted), Remove: []string{"rhcos_gone"}})
}

func (w *world) rollback() {
	w.command(events.TypeNodeRollbackRequested, "u1", events.NodeRollbackRequested{
		Command: w.base(&newRoot), Target: oldRoot, Trigger: events.TriggerUser,
	})
}
