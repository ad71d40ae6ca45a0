package step

import (
	"context"
	"errors"
	"fmt"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// cleanup removes every trace of an upgrade but the booted root. The engine has stopped and undone by then whatever of
// the upgrade was still running.
func cleanup(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonCleanupFailed, OneWay: true,
		Steps: []Step{
			{Name: "check-confirmed", Do: n.checkConfirmed},
			{Name: "remove-stateroots", Do: n.removeStateroots},
			{Name: "remove-gate", Do: func(ctx context.Context, _ *Task) error { return n.removeGate(ctx) }},
			{Name: "forget", Do: n.forget},
		},
		Report: func(t *Task, o events.Outcome) (any, error) {
			c, err := Command[events.CleanupRequested](t)
			removed := append([]string{}, c.Remove...)
			return events.CleanupCompleted{Outcome: o, Removed: removed}, err
		},
	}
}

// checkConfirmed keeps the way back for as long as the watchdog may need it.
func (n Node) checkConfirmed(_ context.Context, t *Task) error {
	return n.Watchdog.Guard(func(r watchdog.Record, err error) error {
		switch {
		case errors.Is(err, watchdog.ErrUnarmed), err == nil && (r.Phase == watchdog.Confirmed || r.Old == t.Booted):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("cannot clean up: stateroot %s is not confirmed, %s is the way back", t.Booted.Stateroot, r.Old.Stateroot)
	})
}

func (n Node) removeStateroots(ctx context.Context, t *Task) error {
	c, err := Command[events.CleanupRequested](t)
	if err != nil {
		return err
	}
	if err := n.Host.MakeSysrootWritable(); err != nil {
		return err
	}
	for i, stateroot := range c.Remove {
		t.tell(float64(i)/float64(len(c.Remove)), stateroot)
		if err := n.Seeds.Remove(ctx, stateroot); err != nil {
			return err
		}
	}
	return nil
}

func (n Node) forget(context.Context, *Task) error {
	if err := n.State.clearIdentity(); err != nil {
		return err
	}
	if err := n.Site.Forget(); err != nil {
		return err
	}
	return n.Watchdog.Disarm()
}
