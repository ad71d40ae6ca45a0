package step

import (
	"context"
	"errors"

	"github.com/reroot-dev/reroot/events"
)

// seedpull imports the seed image as a new stateroot with one deployment that is not the default.
func seedpull(n Node) Plan {
	return Plan{
		Otherwise: events.ReasonImportFailed,
		Steps: []Step{
			{Name: "check-host", Do: n.checkHost},
			{Name: "import", Do: n.importSeed, Undo: n.removeSeed},
		},
		Report: func(t *Task, o events.Outcome) (any, error) {
			i, err := Recall[Imported](t, "imported")
			return events.SeedpullCompleted{Outcome: o, Target: i.Target, Digest: i.Digest, Bytes: i.Bytes}, err
		},
	}
}

// checkHost refuses a node that could be upgraded but not brought back.
func (n Node) checkHost(ctx context.Context, _ *Task) error {
	has, err := n.Host.HasSetDefault(ctx)
	if err == nil && !has {
		err = &Error{
			Because: events.ReasonImportFailed, Next: "use a release whose ostree is 2023.7 or newer",
			Err: errors.New("this node's ostree has no `admin set-default`, without which there is no way back"),
		}
	}
	return err
}

func (n Node) importSeed(ctx context.Context, t *Task) error {
	c, err := Command[events.SeedpullRequested](t)
	if err != nil {
		return err
	}
	if err := n.Host.MakeSysrootWritable(); err != nil {
		return err
	}
	auth, done, err := n.authFile(ctx, t, c.PullSecretRef)
	if err != nil {
		return err
	}
	i, err := n.Seeds.Import(ctx, SeedImage{Image: c.Seed.Image, Version: c.Seed.Version, Stateroot: c.Stateroot, AuthFile: auth}, t.tell)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	return t.Keep("imported", i)
}

func (n Node) removeSeed(ctx context.Context, t *Task) error {
	c, err := Command[events.SeedpullRequested](t)
	if err != nil {
		return err
	}
	return n.Seeds.Remove(ctx, c.Stateroot)
}
