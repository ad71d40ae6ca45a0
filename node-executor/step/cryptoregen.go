package step

import (
	"context"

	"github.com/reroot-dev/reroot/events"
)

// cryptoregen gives the cluster in the new root its own cryptography, before anything of it runs.
func cryptoregen(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonCryptoFailed, OneWay: true, GoesBack: true,
		Steps: []Step{
			{Name: "stop-gated", Do: n.stopGated},
			{Name: "regenerate", Do: n.regenerate},
		},
		Report: func(t *Task, o events.Outcome) (any, error) {
			r, err := Recall[Regenerated](t, "regenerated")
			return events.CryptoregenCompleted{Outcome: o, Regenerated: r.Regenerated, Kept: r.Kept, Foreign: r.Foreign}, err
		},
	}
}

// stopGated makes sure of what the gate is for: nothing uses the keys or etcd while they are changed. A unit that waits
// at the gate is not stopped, for that would take it off systemd's queue.
func (n Node) stopGated(ctx context.Context, _ *Task) error {
	for _, unit := range n.Gated {
		active, err := n.Units.IsActive(ctx, unit)
		if err == nil && active {
			err = n.Units.Stop(ctx, unit)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n Node) regenerate(ctx context.Context, t *Task) error {
	r, err := n.Crypto.Regenerate(ctx, t.Booted.Stateroot, t.Upgrade, t.Attempt)
	if err != nil {
		return err
	}
	return t.Keep("regenerated", r)
}
