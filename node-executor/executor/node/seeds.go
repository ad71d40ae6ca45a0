package node

import (
	"context"
	"fmt"

	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/precache"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
	"github.com/reroot-dev/reroot/node-executor/step"
)

// seedDir is where imports work and keep what outlives them: on the sysroot's file system, so that objects become hard
// links.
const seedDir = "/sysroot/reroot/seeds"

func (r Registry) access(authFile string) registry.Access {
	return registry.Access{AuthFile: authFile, CertDir: r.CertDir, Insecure: r.Insecure, Config: r.Config}
}

// seeds implements step.Seeds with package seedimage.
type seeds struct {
	host     *host.Host
	registry Registry
}

func (s seeds) Import(ctx context.Context, i step.SeedImage, tell func(float64, string)) (step.Imported, error) {
	r, err := seedimage.Import(ctx, seedimage.ImportOptions{
		Image: i.Image, Access: s.registry.access(i.AuthFile), Version: i.Version, Stateroot: i.Stateroot, Host: s.host, Dir: seedDir,
		Progress: func(p seedimage.Progress) {
			fraction := 0.0
			if p.Total > 0 {
				fraction = float64(p.Done) / float64(p.Total)
			}
			tell(fraction, p.Step)
		},
	})
	return step.Imported{Target: deployment(r.Deployment), Digest: r.Digest, Bytes: r.Bytes}, err
}

func (s seeds) Remove(ctx context.Context, stateroot string) error {
	return seedimage.Remove(ctx, s.host, seedDir, stateroot)
}

// images implements step.Images with package precache.
type images struct {
	registry Registry
	store    Containers
}

func (i images) Bring(ctx context.Context, stateroot, authFile string, tell func(float64, string)) (step.Brought, error) {
	list, err := precache.ReadList(seedimage.ContainersList(seedDir, stateroot))
	if err != nil {
		return step.Brought{}, err
	}
	r, err := precache.Run(ctx, precache.Options{
		Images: list, Access: i.registry.access(authFile), Parallel: i.store.Parallel,
		Store: precache.Store{Root: i.store.Root, RunRoot: i.store.RunRoot, Driver: i.store.Driver, Options: i.store.Options},
		Progress: func(p precache.Progress) {
			done := p.Pulled + p.Present + p.Failed
			tell(float64(done)/float64(max(p.Total, 1)), fmt.Sprintf("%d of %d images", done, p.Total))
		},
	})
	return step.Brought{Total: r.Total, Pulled: r.Pulled, Present: r.Present}, err
}
