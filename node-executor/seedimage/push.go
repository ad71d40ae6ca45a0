package seedimage

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
)

// push streams the layer to the registry, then its configuration and manifest.
func (c *creator) push(ctx context.Context) (Info, error) {
	ref, err := registry.Reference(c.Image)
	if err != nil {
		return Info{}, err
	}
	sys, err := c.Access.System()
	if err != nil {
		return Info{}, err
	}
	dest, err := ref.NewImageDestination(ctx, sys)
	if err != nil {
		return Info{}, registry.Classify(err)
	}
	defer dest.Close()
	c.Progress(Progress{Step: "push"})
	layer, diffID, err := c.pushLayer(ctx, dest)
	if err != nil {
		return Info{}, registry.Classify(fmt.Errorf("cannot push layer: %w", err))
	}
	manifest, err := c.pushConfig(ctx, dest, layer, diffID)
	if err != nil {
		return Info{}, registry.Classify(fmt.Errorf("cannot push configuration: %w", err))
	}
	if err := dest.PutManifest(ctx, manifest, nil); err != nil {
		return Info{}, registry.Classify(fmt.Errorf("cannot push manifest: %w", err))
	}
	if err := dest.Commit(ctx, nil); err != nil {
		return Info{}, registry.Classify(fmt.Errorf("cannot push: %w", err))
	}
	return Info{
		Info:   seed.Info{FormatVersion: seed.FormatVersion, Cluster: c.Cluster},
		Image:  ref.DockerReference().Name() + "@" + digest.FromBytes(manifest).String(),
		Digest: digest.FromBytes(manifest), Bytes: layer.Size,
	}, nil
}

// pushLayer makes the layer while it is sent; it is never on the disk.
func (c *creator) pushLayer(ctx context.Context, dest types.ImageDestination) (types.BlobInfo, digest.Digest, error) {
	out, in := io.Pipe()
	plain := digest.Canonical.Digester()
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.CloseWithError(c.writeLayer(in, plain.Hash()))
	}()
	blob, err := dest.PutBlob(ctx, out, types.BlobInfo{Size: -1}, none.NoCache, false)
	out.CloseWithError(err) // ends the writer when the registry did not read everything
	<-done
	return blob, plain.Digest(), err
}

// writeLayer writes the layer's gzip stream and hashes what is in it. Its large files are compressed already, so they are
// only stored.
func (c *creator) writeLayer(w io.Writer, plain io.Writer) error {
	zip, err := gzip.NewWriterLevel(w, gzip.NoCompression)
	if err != nil {
		return err
	}
	out := tar.NewWriter(io.MultiWriter(zip, plain))
	names := append(slices.Collect(maps.Keys(c.small)), seed.FileEtc, seed.FileOstree, seed.FileVar)
	slices.Sort(names) // as a container build orders them: small files that decide come before large ones
	for _, name := range names {
		if err := c.writeFile(out, name); err != nil {
			return fmt.Errorf("cannot add %s: %w", name, err)
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return zip.Close()
}

func (c *creator) writeFile(out *tar.Writer, name string) error {
	f, size, err := c.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := out.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600, Size: size}); err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}

// pushConfig sends the image configuration with the labels and returns the manifest.
func (c *creator) pushConfig(ctx context.Context, dest types.ImageDestination, layer types.BlobInfo, diffID digest.Digest) ([]byte, error) {
	labels, err := seed.Labels(c.Cluster)
	if err != nil {
		return nil, err
	}
	created := time.Now().UTC()
	config, err := json.Marshal(v1.Image{
		Created:  &created,
		Platform: v1.Platform{Architecture: runtime.GOARCH, OS: runtime.GOOS},
		Config:   v1.ImageConfig{Labels: labels},
		RootFS:   v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{diffID}},
		History:  []v1.History{{Created: &created, CreatedBy: "reroot"}},
	})
	if err != nil {
		return nil, err
	}
	info := types.BlobInfo{Digest: digest.FromBytes(config), Size: int64(len(config)), MediaType: v1.MediaTypeImageConfig}
	if _, err := dest.PutBlob(ctx, bytes.NewReader(config), info, none.NoCache, true); err != nil {
		return nil, err
	}
	return json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    v1.Descriptor{MediaType: info.MediaType, Digest: info.Digest, Size: info.Size},
		Layers:    []v1.Descriptor{{MediaType: v1.MediaTypeImageLayerGzip, Digest: layer.Digest, Size: layer.Size}},
	})
}
