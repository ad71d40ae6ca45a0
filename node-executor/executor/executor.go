package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// writer is the executor's name in the source of what it states.
const writer = "node"

// compactAt is the size, in bytes, from which a ledger is compacted when the executor starts.
const compactAt = 1 << 20

// Commands delivers the commands of this cluster, in order and at least once: one that handle refused with an error, or
// that was not acknowledged before a crash, is delivered again. hash is the command's hash in the journal. Receive
// blocks until ctx ends, and gets over lost connections by itself.
type Commands interface {
	Receive(ctx context.Context, handle func(ctx context.Context, e event.Event, hash string) error) error
}

// Facts takes facts; nil means that the fact is durably stored.
type Facts interface {
	Submit(ctx context.Context, fact event.Event) error
}

// Progress takes reports of how far a step is; they may be lost.
type Progress interface {
	Report(ctx context.Context, e event.Event) error
}

// Machine says where the executor runs.
type Machine interface {
	Booted(ctx context.Context) (events.Deployment, error)
	BootID() (string, error)
	BootTime() (time.Duration, error) // CLOCK_BOOTTIME
}

// Options are the parts of an [Executor]; all are needed.
type Options struct {
	Cluster  string
	Ledger   *ledger.Ledger
	Plans    step.Plans
	Machine  Machine
	Watchdog func() (watchdog.Record, error) // the watchdog's record, as [watchdog.Read]
	Commands Commands
	Facts    Facts
	Progress Progress
	Now      func() time.Time // for notafter and the time of facts, not for durations
	Log      *slog.Logger
}

// Executor carries out the commands of one cluster on one node.
type Executor struct {
	Options
	here     Place
	progress reporter

	work, outbox signal

	mu      sync.Mutex
	running string // id of the job whose step runs, "" when none does
	cancel  context.CancelCauseFunc
}

// Place is where the executor runs.
type Place struct {
	Booted events.Deployment
	BootID string
}

// New returns an executor that does nothing yet.
func New(o Options) *Executor {
	return &Executor{Options: o, work: newSignal(), outbox: newSignal(), progress: newReporter()}
}

// Run carries out commands until ctx ends or the ledger cannot be written. What it began is continued by the next Run.
func (x *Executor) Run(ctx context.Context) error {
	if err := x.start(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return x.Commands.Receive(ctx, x.take) })
	g.Go(func() error { return x.carryOutAll(ctx) })
	g.Go(func() error { return x.sendAll(ctx) })
	g.Go(func() error { return x.progress.run(ctx, x.Progress) })
	return g.Wait()
}

// start finds out where the node is and what that means for what was under way.
func (x *Executor) start(ctx context.Context) error {
	var err error
	if x.here.Booted, err = x.Machine.Booted(ctx); err != nil {
		return fmt.Errorf("cannot find out which root runs: %w", err)
	}
	if x.here.BootID, err = x.Machine.BootID(); err != nil {
		return fmt.Errorf("cannot find out which boot this is: %w", err)
	}
	record, err := x.Watchdog()
	if err != nil && !errors.Is(err, watchdog.ErrUnarmed) {
		x.Log.Error("cannot read the watchdog's record", "error", err) // the executor goes by its ledger alone
	}
	s := x.Ledger.State()
	entries, err := settle(s, x.here, record)
	if err != nil {
		return fmt.Errorf("cannot judge where the node is: %w", err)
	}
	if _, err := x.append(entries...); err != nil {
		return err
	}
	x.Log.Info("started", "stateroot", x.here.Booted.Stateroot, "boot_id", x.here.BootID, "upgrade", s.Upgrade)
	if x.Ledger.Size() > compactAt {
		return x.Ledger.Compact()
	}
	return nil
}

// append puts entries into the ledger, completes the facts among them with what every report says, and wakes whoever
// has something to do because of it.
func (x *Executor) append(entries ...ledger.Entry) (ledger.State, error) {
	for i := range entries {
		if f := entries[i].Fact; f != nil {
			fact := f.Clone()
			fact.SetTime(x.Now().UTC())
			entries[i].Fact = &fact
		}
	}
	s, err := x.Ledger.Append(entries...)
	if err != nil {
		return s, err
	}
	x.outbox.raise()
	x.work.raise()
	return s, nil
}

// take judges a command and puts it, or its refusal, into the ledger. It returns nil when the command need not be
// delivered again.
func (x *Executor) take(_ context.Context, e event.Event, hash string) error {
	c, err := read(e, x.here)
	if err != nil {
		x.Log.Error("ignoring what is no command", "event_id", e.ID(), "type", e.Type(), "error", err)
		return nil
	}
	log := x.Log.With("upgrade", e.Subject(), "event_id", e.ID(), "command", step.Verb(c.job.Type))
	v, why := judge(x.Ledger.State(), c, x.here, x.Now())
	if v == accept {
		if _, known := x.Plans[c.job.Type]; !known {
			v, why = refuse, "this reroot-node does not know it"
		}
	}
	switch v {
	case ignore:
		log.Debug("ignored: " + why)
		return nil
	case refuse:
		log.Warn("refused: " + why)
		_, err := x.append(ledger.Entry{
			Kind: ledger.Refused, Job: c.job.ID, Sequence: events.Sequence(e), Hash: hash, Fact: refusal(c.job, x.here, why),
		})
		return err
	}
	s, err := x.append(ledger.Entry{Kind: ledger.Accepted, Job: c.job.ID, Accept: &c.job, Sequence: events.Sequence(e), Hash: hash})
	if err != nil {
		return err
	}
	log.Info("accepted")
	x.stopSuperseded(s)
	return nil
}

// outcome is what every report says about where and when.
func outcome(j ledger.Job, here Place) events.Outcome {
	return events.Outcome{Attempt: j.Attempt, Booted: here.Booted, BootID: here.BootID, Seconds: j.Seconds}
}

// fact states what became of a job. Its id is derived from the command's, so that a repetition is recognised.
func fact(j ledger.Job, t events.Type, data any) *event.Event {
	e := events.Caused(j.Cause, writer, t, 0, data)
	return &e
}

func refusal(j ledger.Job, here Place, why string) *event.Event {
	return fact(j, failed(j.Type), events.NodeFailure{
		Outcome:   outcome(j, here),
		Failure:   events.Failure{Reason: events.ReasonCommandRefused, Message: "the node refused the command: " + why},
		Untouched: true,
	})
}

// failed and completed are the types of a command's two outcomes.
func failed(command events.Type) events.Type {
	return events.Expand("node." + step.Verb(command) + ".failed")
}

func completed(command events.Type) events.Type {
	return events.Expand("node." + step.Verb(command) + ".completed")
}

// signal wakes one waiting goroutine; raising it twice before anybody waits wakes it once.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) raise() {
	select {
	case s <- struct{}{}:
	default:
	}
}
