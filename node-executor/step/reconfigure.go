package step

import (
	"context"

	"github.com/reroot-dev/reroot/deploy/node"
	"github.com/reroot-dev/reroot/events"
)

// reconfigure lets the cluster start under the site's identity and applies what can only be said through its API.
func reconfigure(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonReconfigureFailed, OneWay: true, GoesBack: true,
		Steps: []Step{
			{Name: "apply-files", Do: n.applyFiles},
			{Name: "open-gate", Do: n.openGate},
			{Name: "await-api", Do: n.awaitAPI},
			{Name: "apply-identity", Do: n.applyIdentity},
		},
		Report: func(t *Task, o events.Outcome) (any, error) {
			id, err := Recall[string](t, "cluster-id")
			return events.ReconfigureCompleted{Outcome: o, ClusterID: id}, err
		},
	}
}

func (n Node) applyFiles(context.Context, *Task) error { return n.Site.Offline() }

// openGate records that this root has the site's identity, which lets reroot-identity.service end now and at every later
// boot, and starts what waited for that.
func (n Node) openGate(ctx context.Context, t *Task) error {
	if err := n.State.SetIdentity(t.Booted); err != nil {
		return err
	}
	if err := Ready(n.Run); err != nil {
		return err
	}
	for _, unit := range append([]string{node.Identity}, n.Gated...) {
		if err := n.Units.Start(ctx, unit); err != nil {
			return err
		}
	}
	return nil
}

func (n Node) awaitAPI(ctx context.Context, t *Task) error { return n.API.Await(ctx, t.tell) }

// applyIdentity waits for the server again: the step may be run anew right after a power cut.
func (n Node) applyIdentity(ctx context.Context, t *Task) error {
	if err := n.API.Await(ctx, t.tell); err != nil {
		return err
	}
	id, err := n.Site.Online(ctx)
	if err != nil {
		return err
	}
	return t.Keep("cluster-id", id)
}
