package step

import (
	"context"
	"errors"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// rollback boots the old deployment again. Where the node is there already, which the watchdog may have seen to, every
// step has nothing to do.
func rollback(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonRollbackFailed, OneWay: true,
		Steps: []Step{
			{Name: "check-old", Do: unlessThere(n.checkOld)},
			{Name: "give-up", Do: unlessThere(n.giveUp)},
			{Name: "set-default-old", Do: unlessThere(n.defaultOld)},
			{Name: Reboot, Do: unlessThere(n.rebootOld)},
		},
		Report: func(t *Task, o events.Outcome) (any, error) {
			c, err := Command[events.NodeRollbackRequested](t)
			return events.NodeRollbackCompleted{Outcome: o, Trigger: c.Trigger}, err
		},
	}
}

func unlessThere(do func(context.Context, *Task, events.Deployment) error) func(context.Context, *Task) error {
	return func(ctx context.Context, t *Task) error {
		c, err := Command[events.NodeRollbackRequested](t)
		if err != nil || c.Target == t.Booted {
			return err
		}
		return do(ctx, t, c.Target)
	}
}

func (n Node) checkOld(ctx context.Context, _ *Task, old events.Deployment) error {
	_, err := n.Host.Find(ctx, old.Stateroot, old.Commit, old.Serial)
	return err
}

// giveUp has the watchdog see to the same end, should the executor not get there. Where it cannot, the executor goes on
// alone.
func (n Node) giveUp(context.Context, *Task, events.Deployment) error {
	_, err := n.Watchdog.GiveUp("a rollback was decided on")
	if errors.Is(err, watchdog.ErrUnarmed) || errors.Is(err, watchdog.ErrDamaged) {
		return nil
	}
	return err
}

func (n Node) defaultOld(ctx context.Context, _ *Task, old events.Deployment) error {
	return n.setDefault(ctx, old)
}

func (n Node) rebootOld(ctx context.Context, t *Task, _ events.Deployment) error {
	return n.reboot(ctx, "reroot goes back to the old root of upgrade "+t.Upgrade)
}
