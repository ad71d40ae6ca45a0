package precache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/signature"
	imagestorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	storagetypes "github.com/containers/storage/types"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/events/seed/registry"
)

// Store is a containers/storage store, as in storage.conf(5).
type Store struct {
	Root    string   // graphroot, such as /var/lib/containers/storage
	RunRoot string   // runroot: state that ends with the boot
	Driver  string   // overlay or vfs
	Options []string // of the driver
}

var errPullSpec = errors.New("not a pull spec")

// store is an open container storage and the registries that fill it.
type store struct {
	storage.Store
	checker
	root   string
	source *types.SystemContext
	policy *signature.PolicyContext
}

func openStore(o Options) (*store, error) {
	source, err := o.Access.System()
	if err != nil {
		return nil, err
	}
	// The cache of blob locations speeds up pushes between registries; by default it is outside of the store.
	source.BlobInfoCacheDir = filepath.Join(o.Store.RunRoot, "blob-info-cache")
	policy := &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}
	if o.SignaturePolicy != "" {
		if policy, err = signature.NewPolicyFromFile(o.SignaturePolicy); err != nil {
			return nil, err
		}
	}
	policyContext, err := signature.NewPolicyContext(policy)
	if err != nil {
		return nil, err
	}
	opened, err := storage.GetStore(storagetypes.StoreOptions{
		GraphRoot: o.Store.Root, RunRoot: o.Store.RunRoot, GraphDriverName: o.Store.Driver, GraphDriverOptions: o.Store.Options,
	})
	if err != nil {
		return nil, errors.Join(err, policyContext.Destroy())
	}
	return &store{Store: opened, root: o.Store.Root, source: source, policy: policyContext}, nil
}

// close leaves the store usable for other programs.
func (s *store) close() error {
	_, err := s.Store.Shutdown(false)
	s.Store.Free()
	return errors.Join(err, s.policy.Destroy())
}

// sync writes what was pulled to the disk.
func (s *store) sync() error {
	f, err := os.Open(s.root)
	if err != nil {
		return fmt.Errorf("cannot sync the container storage: %w", err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("cannot sync the container storage: %w", err)
	}
	return nil
}

// bring makes sure that the store holds the image under this pull spec, and reports whether it did before.
func (s *store) bring(ctx context.Context, pullSpec string) (present bool, err error) {
	ref, err := registry.Reference(pullSpec)
	if err != nil {
		return false, fmt.Errorf("%w: %w", errPullSpec, err)
	}
	want, err := s.digest(ctx, ref)
	if err != nil {
		return false, registry.Classify(fmt.Errorf("cannot resolve: %w", err))
	}
	name := ref.DockerReference()
	if held, err := s.held(name, want); held || err != nil {
		return held, err
	}
	if err := s.pull(ctx, ref, want); err != nil {
		return false, registry.Classify(fmt.Errorf("cannot pull: %w", err))
	}
	image, err := s.find(want)
	if err != nil {
		return false, err
	}
	if image == nil {
		return false, fmt.Errorf("cannot find %s in the store after it was pulled", want)
	}
	if err := s.check(s.Store, image, want); err != nil {
		return false, err
	}
	return false, s.name(image, name)
}

// digest is the digest that the registry has for the image; a pull spec with a digest needs no registry.
func (s *store) digest(ctx context.Context, ref types.ImageReference) (digest.Digest, error) {
	if c, ok := ref.DockerReference().(reference.Canonical); ok {
		return c.Digest(), nil
	}
	return docker.GetDigest(ctx, s.source, ref)
}

// find returns the image with that digest of its manifest or manifest list; nil when there is none.
func (s *store) find(d digest.Digest) (*storage.Image, error) {
	images, err := s.ImagesByDigest(d)
	if errors.Is(err, storage.ErrImageUnknown) || err == nil && len(images) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look for %s: %w", d, err)
	}
	return images[0], nil
}

// held reports whether the image is in the store and whole, and gives it the name. A damaged one is removed.
func (s *store) held(name reference.Named, want digest.Digest) (bool, error) {
	image, err := s.find(want)
	if image == nil || err != nil {
		return false, err
	}
	if err := s.check(s.Store, image, want); err != nil {
		if _, derr := s.DeleteImage(image.ID, true); derr != nil {
			return false, fmt.Errorf("cannot remove damaged image: %w", errors.Join(err, derr))
		}
		return false, nil
	}
	return true, s.name(image, name)
}

// name adds a name to an image; CRI-O looks images up by it.
func (s *store) name(image *storage.Image, name reference.Named) error {
	if slices.Contains(image.Names, name.String()) {
		return nil
	}
	if err := s.AddNames(image.ID, []string{name.String()}); err != nil {
		return fmt.Errorf("cannot name image %s: %w", name, err)
	}
	return nil
}

// pull copies the image with exactly that digest, also when its tag moves meanwhile.
func (s *store) pull(ctx context.Context, ref types.ImageReference, want digest.Digest) error {
	pinned, err := reference.WithDigest(reference.TrimNamed(ref.DockerReference()), want)
	if err != nil {
		return err
	}
	from, err := docker.NewReference(pinned)
	if err != nil {
		return err
	}
	to, err := imagestorage.Transport.NewStoreReference(s.Store, pinned, "")
	if err != nil {
		return err
	}
	_, err = copy.Image(ctx, s.policy, to, from, &copy.Options{SourceCtx: s.source, DestinationCtx: s.source})
	return err
}
