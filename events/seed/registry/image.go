package registry

import (
	"context"
	"fmt"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"

	"github.com/reroot-dev/reroot/events/seed"
)

// Image is a seed image in a registry. Its manifest and configuration are read and verified, its layers are not.
type Image struct {
	seed.Info
	Source types.ImageSource
	Layers []types.BlobInfo // at least one
	Pinned string           // pull spec by digest: a tag that moves later changes nothing
	Digest digest.Digest    // of the manifest that the reference leads to
	Bytes  int64            // size of all layers as they are transferred
}

// Close ends the connection.
func (i *Image) Close() error { return i.Source.Close() }

// Open reads manifest and configuration of a seed image. containers/image verifies the manifest against the digest in
// the reference, and the configuration against the manifest. Errors are classified; one that [Reason] does not know
// means that the content is not what its digests promise, or no image at all.
func Open(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) (*Image, error) {
	source, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		if err = Classify(err); Reason(err) == "" {
			err = fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		return nil, fmt.Errorf("cannot open seed image: %w", err)
	}
	i := &Image{Source: source}
	if err := i.read(ctx, ref, sys); err != nil {
		source.Close()
		return nil, fmt.Errorf("cannot inspect seed image: %w", Classify(err))
	}
	return i, nil
}

func (i *Image) read(ctx context.Context, ref types.ImageReference, sys *types.SystemContext) error {
	top := image.UnparsedInstance(i.Source, nil)
	raw, _, err := top.Manifest(ctx)
	if err != nil {
		return err
	}
	if i.Digest, err = manifest.Digest(raw); err != nil {
		return err
	}
	pinned, err := reference.WithDigest(reference.TrimNamed(ref.DockerReference()), i.Digest)
	if err != nil {
		return err
	}
	i.Pinned = pinned.String()
	img, err := image.FromUnparsedImage(ctx, sys, top) // for a list: the instance of this machine's architecture
	if err != nil {
		return err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return err
	}
	if i.Info, err = seed.ParseLabels(config.Config.Labels); err != nil {
		return err
	}
	i.Layers = img.LayerInfos()
	for _, l := range i.Layers {
		i.Bytes += max(l.Size, 0)
	}
	if len(i.Layers) == 0 {
		return &seed.FormatError{Label: seed.LabelFormat, Problem: "is there, but the image has no layers"}
	}
	return nil
}
