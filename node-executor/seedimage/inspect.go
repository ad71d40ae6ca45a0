package seedimage

import (
	"context"
	"fmt"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/node-executor/seedimage/registry"
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
	return r.info, nil
}

// remote is a seed image in a registry whose manifest and configuration are read and verified.
type remote struct {
	src    types.ImageSource
	layers []types.BlobInfo
	info   Info
}

func (r *remote) Close() error { return r.src.Close() }

func open(ctx context.Context, pullSpec string, access registry.Access) (*remote, error) {
	ref, err := registry.Reference(pullSpec)
	if err != nil {
		return nil, withReason(err, events.ReasonSeedNotFound)
	}
	sys, err := access.System()
	if err != nil {
		return nil, withReason(err, events.ReasonPullSecretMissing)
	}
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return nil, withReason(registry.Classify(fmt.Errorf("cannot open seed image: %w", err)), events.ReasonSeedUnreachable)
	}
	r := &remote{src: src}
	if err := r.read(ctx, ref, sys); err != nil {
		src.Close()
		return nil, withReason(registry.Classify(fmt.Errorf("cannot inspect seed image: %w", err)), events.ReasonSeedCorrupt)
	}
	return r, nil
}

// read fetches manifest and configuration. containers/image verifies the manifest against the digest in the pull spec,
// and the configuration against the manifest.
func (r *remote) read(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) error {
	top := image.UnparsedInstance(r.src, nil)
	raw, _, err := top.Manifest(ctx)
	if err != nil {
		return err
	}
	if r.info.Digest, err = manifest.Digest(raw); err != nil {
		return err
	}
	pinned, err := reference.WithDigest(reference.TrimNamed(ref.DockerReference()), r.info.Digest)
	if err != nil {
		return err
	}
	r.info.Image = pinned.String()
	img, err := image.FromUnparsedImage(ctx, sys, top) // for a list: the instance of this machine's architecture
	if err != nil {
		return err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return err
	}
	if r.info.Info, err = seed.ParseLabels(config.Config.Labels); err != nil {
		return err
	}
	r.layers = img.LayerInfos()
	for _, l := range r.layers {
		r.info.Bytes += max(l.Size, 0)
	}
	if len(r.layers) == 0 {
		return &seed.FormatError{Label: seed.LabelFormat, Problem: "is there, but the image has no layers"}
	}
	return nil
}
