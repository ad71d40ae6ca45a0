package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/fault"
	"github.com/reroot-dev/reroot/node-executor/step"
)

const (
	// rebootPatience is how long a reboot that was asked for may take to end the executor.
	rebootPatience = 10 * time.Minute
	// undoTries is how often an Undo is tried, with undoPause between.
	undoTries = 3
	undoPause = time.Second
)

var errSuperseded = errors.New("another command took its place")

// carryOutAll carries out one job after the other.
func (x *Executor) carryOutAll(ctx context.Context) error {
	for {
		job, recheck := next(x.Ledger.State())
		if job != nil {
			if err := x.carryOut(ctx, job.ID); err != nil {
				return err
			}
			continue
		}
		if err := x.await(ctx, recheck); err != nil {
			return err
		}
		if err := x.expire(); err != nil {
			return err
		}
	}
}

// await returns when there may be something to do: after a change of the ledger, or past that time unless it is zero.
func (x *Executor) await(ctx context.Context, until time.Time) error {
	var past <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(until.Sub(x.Now()) + time.Second)
		defer t.Stop()
		past = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-x.work:
	case <-past:
	}
	return nil
}

// next picks the job to work on, or nil. Where a pivot is held back, recheck is when it expires.
func next(s ledger.State) (job *ledger.Job, recheck time.Time) {
	ended := func(t events.Type, attempt int) bool {
		j, ok := s.Newest(t)
		return ok && j.Attempt == attempt && j.Result == ledger.Completed
	}
	for i, j := range s.Jobs {
		ready := j.Open()
		switch {
		case !ready || j.Reverting() || j.Begun():
		case j.Type == events.TypePivotRequested && !followed(s, j):
			ready, recheck = false, notAfter(j)
		case j.Type == events.TypeCryptoregenRequested:
			ready = ended(events.TypePivotRequested, j.Attempt)
		case j.Type == events.TypeReconfigureRequested:
			ready = ended(events.TypeCryptoregenRequested, j.Attempt)
		}
		if ready {
			return &s.Jobs[i], time.Time{}
		}
	}
	return nil, recheck
}

// notAfter is the time after which a job may not be begun.
func notAfter(j ledger.Job) time.Time {
	var c events.Command
	if err := json.Unmarshal(j.Data, &c); err != nil {
		return time.Time{}
	}
	return c.NotAfter
}

// followed says that everything that has to happen in the new root is in the ledger, so that the pivot may begin.
func followed(s ledger.State, pivot ledger.Job) bool {
	for _, t := range []events.Type{events.TypeCryptoregenRequested, events.TypeReconfigureRequested} {
		if j, ok := s.Newest(t); !ok || j.Attempt != pivot.Attempt {
			return false
		}
	}
	return true
}

// carryOut works on a job until it has ended. Each turn makes one durable move.
func (x *Executor) carryOut(ctx context.Context, id string) error {
	for {
		job, ok := x.Ledger.State().Job(id)
		if !ok || !job.Open() {
			return nil
		}
		plan := x.Plans[job.Type]
		var err error
		if job.Reverting() {
			err = x.revert(ctx, job, plan)
		} else {
			err = x.advance(ctx, job, plan)
		}
		if err != nil {
			return err
		}
	}
}

// advance does the next step of a job, or ends it.
func (x *Executor) advance(ctx context.Context, job ledger.Job, plan step.Plan) error {
	i := slices.IndexFunc(plan.Steps, func(s step.Step) bool { return !slices.Contains(job.Done, s.Name) })
	switch {
	case i < 0:
		return x.complete(job, plan)
	case late(job, x.Now()):
		return x.refuseLate(job, "it had to wait until it was too late to begin")
	}
	ctx, release := x.claim(ctx, job.ID)
	defer release()
	at, err := x.Machine.BootTime()
	if err != nil {
		return err
	}
	s := plan.Steps[i]
	state, err := x.append(ledger.Entry{Kind: ledger.Began, Job: job.ID, Step: s.Name, BootID: x.here.BootID, At: at.Seconds()})
	if err != nil {
		return err
	}
	if job, _ = state.Job(job.ID); job.Superseded {
		return nil
	}
	x.Log.Info("step begins", "upgrade", job.Upgrade(), "stage", step.Verb(job.Type), "step", s.Name)
	x.tell(job, s.Name, events.StepRunning, 0, "")
	task := x.task(job, s.Name)
	err = x.do(ctx, job, s, task)
	if errors.Is(err, step.ErrRebooting) {
		err = awaitReboot(ctx)
	}
	switch {
	case errors.Is(context.Cause(ctx), errSuperseded):
		return nil // and undone in the next turn
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return x.stepEnded(job, s, task, err)
}

// do runs a step. A panic in it is a failure like any other: the executor must live to undo it.
func (x *Executor) do(ctx context.Context, job ledger.Job, s step.Step, t *step.Task) (err error) {
	defer func() {
		if p := recover(); p != nil {
			x.Log.Error("a step panicked", "stage", step.Verb(job.Type), "step", s.Name, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("it panicked: %v", p)
		}
	}()
	if err := fault.Maybe(step.Point(job.Type, s.Name)); err != nil {
		return err
	}
	err = s.Do(ctx, t)
	if err != nil && !errors.Is(err, step.ErrRebooting) {
		return err
	}
	if err := fault.Maybe(step.Point(job.Type, "after-"+s.Name)); err != nil {
		return err
	}
	return err
}

// awaitReboot lets the machine go down; only a reboot that does not come about is an error.
func awaitReboot(ctx context.Context) error {
	t := time.NewTimer(rebootPatience)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return fmt.Errorf("the machine did not go down within %s", rebootPatience)
	}
}

func (x *Executor) stepEnded(job ledger.Job, s step.Step, t *step.Task, stepErr error) error {
	at, err := x.Machine.BootTime()
	if err != nil {
		return err
	}
	e := ledger.Entry{Kind: ledger.Done, Job: job.ID, Step: s.Name, BootID: x.here.BootID, At: at.Seconds(), Notes: t.Fresh()}
	state := events.StepDone
	if stepErr != nil {
		e.Kind, e.Failure, state = ledger.Failed, failure(stepErr, s.Name, x.Plans[job.Type]), events.StepFailed
		x.Log.Error("step failed", "upgrade", job.Upgrade(), "stage", step.Verb(job.Type), "step", s.Name, "error", stepErr)
	}
	x.tell(job, s.Name, state, 1, "")
	_, err = x.append(e)
	return err
}

// failure is what is reported of a step's error. By the reason of a command that goes back by itself the hub tells that
// it does, so that one is never more special than the command.
func failure(err error, stepName string, plan step.Plan) *events.Failure {
	f := &events.Failure{Reason: plan.Otherwise, Message: events.Line(fmt.Sprintf("step %s: %v", stepName, err), events.MaxText)}
	var typed interface{ Reason() events.Reason }
	if errors.As(err, &typed) && !plan.GoesBack {
		f.Reason = typed.Reason()
	}
	var advised *step.Error
	if errors.As(err, &advised) {
		f.Next = events.Line(advised.Next, events.MaxText)
	}
	return f
}

// complete ends a job whose steps are all done.
func (x *Executor) complete(job ledger.Job, plan step.Plan) error {
	data, err := plan.Report(x.task(job, ""), outcome(job, x.here))
	if err != nil {
		return fmt.Errorf("cannot report %s: %w", step.Verb(job.Type), err)
	}
	_, err = x.append(ledger.Entry{
		Kind: ledger.Ended, Job: job.ID, BootID: x.here.BootID, Result: ledger.Completed, Fact: fact(job, completed(job.Type), data),
	})
	if err != nil {
		return err
	}
	x.Log.Info("completed", "upgrade", job.Upgrade(), "stage", step.Verb(job.Type))
	if job.Type == events.TypeCleanupRequested {
		return x.Ledger.Compact()
	}
	return nil
}

// revert undoes the newest step of a job that is not undone yet, or ends the job.
func (x *Executor) revert(ctx context.Context, job ledger.Job, plan step.Plan) error {
	touched := job.Done
	if job.Current != "" {
		touched = append(slices.Clip(touched), job.Current)
	}
	for _, name := range slices.Backward(touched) {
		i := slices.IndexFunc(plan.Steps, func(s step.Step) bool { return s.Name == name })
		if i < 0 || plan.Steps[i].Undo == nil || slices.Contains(job.Undone, name) || slices.Contains(job.Stuck, name) {
			continue
		}
		e := ledger.Entry{Kind: ledger.Undone, Job: job.ID, Step: name}
		if err := x.undo(ctx, job, plan.Steps[i]); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			x.Log.Error("cannot undo a step", "upgrade", job.Upgrade(), "stage", step.Verb(job.Type), "step", name, "error", err)
			e.Kind = ledger.Stuck
		}
		_, err := x.append(e)
		return err
	}
	return x.giveUp(job, plan)
}

func (x *Executor) undo(ctx context.Context, job ledger.Job, s step.Step) (err error) {
	x.Log.Info("step is undone", "upgrade", job.Upgrade(), "stage", step.Verb(job.Type), "step", s.Name)
	for try := range undoTries {
		if try > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(undoPause):
			}
		}
		if err = s.Undo(ctx, x.task(job, s.Name)); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// giveUp ends a job that did not get done. In the new root it is followed by the way back.
func (x *Executor) giveUp(job ledger.Job, plan step.Plan) error {
	if job.Superseded {
		_, err := x.append(ledger.Entry{Kind: ledger.Ended, Job: job.ID, BootID: x.here.BootID, Result: ledger.Cancelled})
		return err
	}
	entries := []ledger.Entry{{
		Kind: ledger.Ended, Job: job.ID, BootID: x.here.BootID, Result: ledger.NotDone,
		Fact: fact(job, failed(job.Type), events.NodeFailure{
			Outcome: outcome(job, x.here), Failure: *job.Failure, Untouched: len(job.Stuck) == 0 && !plan.OneWay,
		}),
	}}
	if pivot, ok := x.Ledger.State().Newest(events.TypePivotRequested); ok && plan.GoesBack {
		entries = append(entries, goBack(pivot, x.here, *job.Failure))
	}
	_, err := x.append(entries...)
	return err
}

// expire ends pivots that were held back for too long.
func (x *Executor) expire() error {
	for _, j := range x.Ledger.State().Jobs {
		if j.Type == events.TypePivotRequested && j.Open() && !j.Reverting() && late(j, x.Now()) {
			if err := x.refuseLate(j, "the commands that follow it in the new root did not come in time"); err != nil {
				return err
			}
		}
	}
	return nil
}

// late says that a job may not be begun any more. What follows a pivot, and what the executor decided on by itself, is
// never late.
func late(j ledger.Job, now time.Time) bool {
	until := notAfter(j)
	return !j.Begun() && !follows(j.Type) && !until.IsZero() && now.After(until)
}

func (x *Executor) refuseLate(j ledger.Job, why string) error {
	_, err := x.append(ledger.Entry{
		Kind: ledger.Ended, Job: j.ID, BootID: x.here.BootID, Result: ledger.NotDone, Fact: refusal(j, x.here, why),
	})
	return err
}

// task is the job as a step sees it.
func (x *Executor) task(job ledger.Job, stepName string) *step.Task {
	return step.NewTask(step.Task{
		Upgrade: job.Upgrade(), Attempt: job.Attempt, Data: job.Data, From: job.From, Booted: x.here.Booted, BootID: x.here.BootID,
		Tell: func(fraction float64, detail string) { x.tell(job, stepName, events.StepRunning, fraction, detail) },
	}, job.Notes)
}

// claim makes the job the one that stopSuperseded can stop.
func (x *Executor) claim(ctx context.Context, id string) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	x.mu.Lock()
	x.running, x.cancel = id, cancel
	x.mu.Unlock()
	return ctx, func() {
		x.mu.Lock()
		x.running, x.cancel = "", nil
		x.mu.Unlock()
		cancel(nil)
	}
}

// stopSuperseded stops the running step when its job was superseded.
func (x *Executor) stopSuperseded(s ledger.State) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if job, ok := s.Job(x.running); ok && job.Superseded {
		x.cancel(errSuperseded)
	}
}
