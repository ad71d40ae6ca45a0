package validate

import (
	"context"
	"fmt"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
)

// registryTimeout bounds all requests to the registry: a manifest and a configuration, a few kilobytes.
const registryTimeout = 30 * time.Second

// seedImage is what a registry says about a seed image.
type seedImage struct {
	events.Seed
	info seed.ClusterInfo
}

// seedImage: the registry answers, takes the credentials, has the image, and its labels say that it is a seed image.
// What is found is pinned by digest: a tag that moves later changes nothing.
func (s *subject) seedImage(ctx context.Context) (finding, error) {
	expected := fmt.Sprintf("a seed image of format %d", seed.FormatVersion)
	if s.access == nil {
		return blocked("pull-secret", expected)
	}
	found, err := inspect(ctx, s.spec.SeedImageRef.Image, s.registry, s.access)
	if err != nil {
		reason := registry.Reason(err)
		if reason == "" {
			reason = events.ReasonSeedCorrupt
		}
		f, _ := fails(reason, err.Error(), expected, fmt.Sprintf("cannot use seed image %s: %v", s.spec.SeedImageRef.Image, err), remedies[reason]+", set stage Idle, then ask again")
		if reason == events.ReasonSeedUnreachable {
			f.patience = s.patience
		}
		return f, nil
	}
	s.seed = found
	return holds(fmt.Sprintf("format %d, %s", found.FormatVersion, found.Digest), expected)
}

// inspect reads what a seed image says about itself.
func inspect(ctx context.Context, pullSpec string, access registry.Access, login credentials) (*seedImage, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	ref, err := registry.Reference(pullSpec)
	if err != nil {
		return nil, err
	}
	sys, err := access.System()
	if err != nil {
		return nil, err
	}
	sys.DockerAuthConfig = login.of(ref.DockerReference().Name())
	found, err := registry.Open(ctx, ref, sys)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	return &seedImage{info: found.Cluster, Seed: events.Seed{Image: found.Pinned, Digest: found.Digest.String(),
		FormatVersion: found.FormatVersion, Version: found.Cluster.Version, Bytes: found.Bytes}}, nil
}

// remedies say what to do about a seed image that cannot be used.
var remedies = map[events.Reason]string{
	events.ReasonSeedFormat:       "make a seed image with reroot or the lifecycle-agent",
	events.ReasonSeedUnauthorized: "put credentials for the registry into the pull secret",
	events.ReasonSeedNotFound:     "write spec.seedImageRef.image as registry/repository:tag or @digest, and push the seed image there",
	events.ReasonSeedUnreachable:  "check the registry, the node's DNS, proxy and additional trusted authorities",
	events.ReasonSeedCorrupt:      "push the seed image again",
}
