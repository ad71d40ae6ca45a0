package step

import (
	"context"
	"errors"
	"time"

	"github.com/reroot-dev/reroot/deploy/node"
	"github.com/reroot-dev/reroot/events"
)

// reconfigure lets the cluster start under the site's identity and applies what can only be said through its API.
func reconfigure(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonReconfigureFailed, OneWay: true, GoesBack: true,
		Steps: []Step{
			{Name: "apply-files", Do: n.applyFiles},
			{Name: "update-trust", Do: n.updateTrust},
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

// Bounds of updateTrust.
const (
	trustTries = 5
	trustPause = 2 * time.Second
)

// updateTrust tries several times: a unit of the operating system may be doing the same at boot, and an upgrade of the
// lifecycle-agent was lost to that (OCPBUGS-98688).
func (n Node) updateTrust(ctx context.Context, t *Task) error {
	for try := 1; ; try++ {
		err := n.UpdateTrust(ctx)
		if err == nil || try == trustTries {
			return err
		}
		t.tell(0, err.Error())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(trustPause):
		}
	}
}

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

// awayPause is how long to wait before the identity is applied again.
const awayPause = time.Second

// applyIdentity waits for the server again and again: the step may be run anew right after a power cut, and a control
// plane that has just come up under new keys restarts its servers. The watchdog bounds it.
func (n Node) applyIdentity(ctx context.Context, t *Task) error {
	for {
		if err := n.API.Await(ctx, t.tell); err != nil {
			return err
		}
		id, err := n.Site.Online(ctx)
		switch {
		case err == nil:
			return t.Keep("cluster-id", id)
		case !errors.Is(err, ErrAway):
			return err
		}
		t.tell(0, err.Error())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(awayPause):
		}
	}
}
