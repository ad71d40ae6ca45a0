package step

import (
	"context"
	"errors"

	"github.com/reroot-dev/reroot/events"
)

// precache pulls the container images that the seed lists, so that the new root starts without a registry. Images that
// were pulled stay when it fails: they do no harm, and the next attempt finds them.
func precache(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonPrecacheFailed,
		Steps: []Step{
			{Name: "pull-images", Do: n.pullImages},
		},
		Report: func(t *Task, o events.Outcome) (any, error) {
			b, err := Recall[Brought](t, "brought")
			return events.PrecacheCompleted{Outcome: o, Total: b.Total, Pulled: b.Pulled, Present: b.Present}, err
		},
	}
}

func (n Node) pullImages(ctx context.Context, t *Task) error {
	c, err := Command[events.PrecacheRequested](t)
	if err != nil {
		return err
	}
	auth, done, err := n.authFile(ctx, t, c.PullSecretRef)
	if err != nil {
		return err
	}
	b, err := n.Images.Bring(ctx, c.Stateroot, auth, t.tell)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	return t.Keep("brought", b)
}
