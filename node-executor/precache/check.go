package precache

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/containers/image/v5/manifest"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// errDamaged: what the store holds is not what the digest says.
var errDamaged = errors.New("the image in the store is damaged")

// checker verifies images of a store. Layers that images share are read once.
type checker struct {
	mu   sync.Mutex
	good map[string]bool // layer ids
}

// check reads an image and compares every digest: of the manifest list if want is one, of the manifest, of the
// configuration and of each layer's content.
func (c *checker) check(s storage.Store, image *storage.Image, want digest.Digest) error {
	raw, err := instance(s, image.ID, want)
	if err != nil {
		return err
	}
	m, err := manifest.FromBlob(raw, manifest.GuessMIMEType(raw))
	if err != nil {
		return fmt.Errorf("%w: manifest of %s: %w", errDamaged, want, err)
	}
	configDigest := m.ConfigInfo().Digest
	config, err := blob(s, image.ID, configDigest.String(), configDigest)
	if err != nil {
		return err
	}
	var parsed v1.Image
	if err := json.Unmarshal(config, &parsed); err != nil {
		return fmt.Errorf("%w: configuration %s: %w", errDamaged, configDigest, err)
	}
	layers, err := chain(s, image.TopLayer)
	if err != nil {
		return err
	}
	if len(layers) != len(parsed.RootFS.DiffIDs) {
		return fmt.Errorf("%w: it has %d layers instead of %d", errDamaged, len(layers), len(parsed.RootFS.DiffIDs))
	}
	for i, layer := range layers {
		if err := c.layer(s, layer, parsed.RootFS.DiffIDs[i]); err != nil {
			return err
		}
	}
	return nil
}

// instance reads the manifest of an image: the one with that digest, or one that the list with that digest holds.
func instance(s storage.Store, id string, want digest.Digest) ([]byte, error) {
	top, err := blob(s, id, storage.ImageDigestManifestBigDataNamePrefix+"-"+want.String(), want)
	if err != nil {
		return nil, err
	}
	// What other programs read when they start from the image's name.
	raw, err := s.ImageBigData(id, storage.ImageDigestBigDataKey)
	if err != nil {
		return nil, fmt.Errorf("%w: manifest of %s: %w", errDamaged, want, err)
	}
	got := want.Algorithm().FromBytes(raw)
	if got == want {
		return raw, nil
	}
	mediaType := manifest.GuessMIMEType(top)
	if !manifest.MIMETypeIsMultiImage(mediaType) {
		return nil, fmt.Errorf("%w: manifest of %s has digest %s", errDamaged, want, got)
	}
	list, err := manifest.ListFromBlob(top, mediaType)
	if err != nil {
		return nil, fmt.Errorf("%w: list %s: %w", errDamaged, want, err)
	}
	if !slices.Contains(list.Instances(), got) {
		return nil, fmt.Errorf("%w: list %s does not hold manifest %s", errDamaged, want, got)
	}
	return raw, nil
}

// blob reads one of an image's data items, whose digest must be want.
func blob(s storage.Store, id, key string, want digest.Digest) ([]byte, error) {
	data, err := s.ImageBigData(id, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, key, err)
	}
	if got := want.Algorithm().FromBytes(data); got != want {
		return nil, fmt.Errorf("%w: %s has digest %s", errDamaged, key, got)
	}
	return data, nil
}

// chain lists an image's layers, the lowest first.
func chain(s storage.Store, top string) ([]*storage.Layer, error) {
	var layers []*storage.Layer
	for id := top; id != ""; {
		layer, err := s.Layer(id)
		if err != nil {
			return nil, fmt.Errorf("%w: layer %s: %w", errDamaged, id, err)
		}
		layers = append(layers, layer)
		id = layer.Parent
	}
	slices.Reverse(layers)
	return layers, nil
}

// layer puts a layer's tar stream together from its files, and hashes it.
func (c *checker) layer(s storage.Store, layer *storage.Layer, want digest.Digest) error {
	c.mu.Lock()
	done := c.good[layer.ID]
	c.mu.Unlock()
	if done {
		return nil
	}
	uncompressed := archive.Uncompressed
	content, err := s.Diff(layer.Parent, layer.ID, &storage.DiffOptions{Compression: &uncompressed})
	if err != nil {
		return fmt.Errorf("%w: layer %s: %w", errDamaged, want, err)
	}
	verifier := want.Verifier()
	_, err = io.Copy(verifier, content)
	if cerr := content.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("%w: layer %s: %w", errDamaged, want, err)
	}
	if !verifier.Verified() {
		return fmt.Errorf("%w: layer %s", errDamaged, want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.good == nil {
		c.good = map[string]bool{}
	}
	c.good[layer.ID] = true
	return nil
}
