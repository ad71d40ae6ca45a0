package seedimage

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
)

// Info is what a registry says about a seed image without its content being read.
type Info struct {
	seed.Info
	Image  string        // pull spec pinned by digest
	Digest digest.Digest // of the manifest that the pull spec leads to
	Bytes  int64         // size of all layers as they are transferred
}

// Inspect reads the labels of a seed image. Errors are [*Error].
func Inspect(ctx context.Context, pullSpec string, access registry.Access) (Info, error) {
	r, err := open(ctx, pullSpec, access)
	if err != nil {
		return Info{}, err
	}
	defer r.Close()
	return Info{Info: r.Info, Image: r.Pinned, Digest: r.Digest, Bytes: r.Bytes}, nil
}

// open reads manifest and configuration of a seed image.
func open(ctx context.Context, pullSpec string, access registry.Access) (*registry.Image, error) {
	ref, err := registry.Reference(pullSpec)
	if err != nil {
		return nil, withReason(err, events.ReasonSeedNotFound)
	}
	sys, err := access.System()
	if err != nil {
		return nil, withReason(err, events.ReasonPullSecretMissing)
	}
	image, err := registry.Open(ctx, ref, sys)
	return image, withReason(err, events.ReasonSeedCorrupt)
}
