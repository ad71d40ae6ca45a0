package validate

import (
	"context"
	"fmt"

	"github.com/blang/semver/v4"

	"github.com/reroot-dev/reroot/events"
)

// newer: an image-based upgrade goes forward only; pre-releases are ordered as semantic versioning has it.
func (s *subject) newer(context.Context) (finding, error) {
	expected := "higher than the cluster's " + s.identity.Version
	asked := s.spec.SeedImageRef.Version
	refuse := func(why string) (finding, error) {
		return fails(events.ReasonSeedNotNewer, asked, expected, fmt.Sprintf("cannot upgrade to version %s: %s", asked, why),
			"set stage Idle, then ask again with a seed image of a higher version")
	}
	have, err := semver.Parse(s.identity.Version)
	if err != nil {
		return refuse(fmt.Sprintf("the cluster's own version %q is no semantic version: %v", s.identity.Version, err))
	}
	want, err := semver.Parse(asked)
	if err != nil {
		return refuse(fmt.Sprintf("it is no semantic version: %v", err))
	}
	if !want.GT(have) {
		return refuse(fmt.Sprintf("it is not higher than the cluster's version %s", s.identity.Version))
	}
	return holds(asked, expected)
}

// seedVersion: the request and the image's own label must name the same version, or a tag has been moved.
func (s *subject) seedVersion(context.Context) (finding, error) {
	expected := s.spec.SeedImageRef.Version
	if s.seed == nil {
		return blocked("seed-image", expected)
	}
	if s.seed.Version != expected {
		return fails(events.ReasonSeedVersionMismatch, s.seed.Version, expected,
			fmt.Sprintf("cannot use seed image %s: it holds version %s, not %s as spec.seedImageRef.version says", s.seed.Image, s.seed.Version, expected),
			"set stage Idle, then ask again with the version that the image holds")
	}
	return holds(s.seed.Version, expected)
}
