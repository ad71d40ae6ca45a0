package validate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/types"
	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
)

// registryTimeout bounds all requests to the registry: a manifest and a configuration, a few kilobytes.
const registryTimeout = 30 * time.Second

// Registry says how to reach the seed's registry. The zero value verifies TLS with the system's authorities.
type Registry struct {
	CertDir  string // further authorities to trust, as /etc/containers/certs.d/HOST
	Insecure bool   // accept plain HTTP and certificates that do not verify
	Config   string // registries.conf; empty: the system's
}

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
	found, err := s.registry.inspect(ctx, s.spec.SeedImageRef.Image, s.access)
	if err != nil {
		reason, next := classify(err)
		f, _ := fails(reason, err.Error(), expected, fmt.Sprintf("cannot use seed image %s: %v", s.spec.SeedImageRef.Image, err), next)
		if reason == events.ReasonSeedUnreachable {
			f.patience = s.patience
		}
		return f, nil
	}
	s.seed = found
	return holds(fmt.Sprintf("format %d, %s", found.FormatVersion, found.Digest), expected)
}

// inspect reads manifest and configuration of an image; containers/image verifies both against their digests.
func (r Registry) inspect(ctx context.Context, pullSpec string, access credentials) (*seedImage, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	named, err := parse(pullSpec)
	if err != nil {
		return nil, err
	}
	ref, err := docker.NewReference(named)
	if err != nil {
		return nil, &referenceError{err}
	}
	sys := &types.SystemContext{
		SystemRegistriesConfPath: r.Config, DockerCertPath: r.CertDir, DockerRegistryUserAgent: "reroot",
		DockerAuthConfig: access.of(named.Name()),
	}
	if r.Insecure {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	src, err := ref.NewImageSource(ctx, sys)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	top := image.UnparsedInstance(src, nil)
	raw, _, err := top.Manifest(ctx)
	if err != nil {
		return nil, err
	}
	digest, err := manifest.Digest(raw)
	if err != nil {
		return nil, err
	}
	pinned, err := reference.WithDigest(reference.TrimNamed(named), digest)
	if err != nil {
		return nil, err
	}
	img, err := image.FromUnparsedImage(ctx, sys, top)
	if err != nil {
		return nil, err
	}
	config, err := img.OCIConfig(ctx)
	if err != nil {
		return nil, err
	}
	info, err := seed.ParseLabels(config.Config.Labels)
	if err != nil {
		return nil, err
	}
	found := &seedImage{info: info.Cluster, Seed: events.Seed{
		Image: pinned.String(), Digest: digest.String(), FormatVersion: info.FormatVersion, Version: info.Cluster.Version}}
	for _, layer := range img.LayerInfos() {
		found.Bytes += max(layer.Size, 0)
	}
	return found, nil
}

// referenceError says that a pull spec does not name an image.
type referenceError struct{ err error }

func (e *referenceError) Error() string { return "it is no pull spec: " + e.err.Error() }
func (e *referenceError) Unwrap() error { return e.err }

// parse reads a pull spec; a scheme in front is dropped, since the ImageBasedUpgrade allows one. A tag beside a digest
// is a comment.
func parse(pullSpec string) (reference.Named, error) {
	if _, rest, ok := strings.Cut(pullSpec, "://"); ok {
		pullSpec = rest
	}
	named, err := reference.ParseNamed(pullSpec)
	if err != nil {
		return nil, &referenceError{err}
	}
	if canonical, ok := named.(reference.Canonical); ok {
		return reference.WithDigest(reference.TrimNamed(named), canonical.Digest())
	}
	return reference.TagNameOnly(named), nil
}

// classify is the reason of an error of inspect, and what to do about it.
func classify(err error) (events.Reason, string) {
	const again = ", set stage Idle, then ask again"
	var format *seed.FormatError
	var noImage *referenceError
	switch {
	case errors.As(err, &format):
		return events.ReasonSeedFormat, "make a seed image with reroot or the lifecycle-agent" + again
	case errors.As(err, &noImage):
		return events.ReasonSeedNotFound, "write spec.seedImageRef.image as registry/repository:tag or @digest" + again
	}
	switch status(err) {
	case http.StatusUnauthorized, http.StatusForbidden:
		return events.ReasonSeedUnauthorized, "put credentials for the registry into the pull secret" + again
	case http.StatusNotFound:
		return events.ReasonSeedNotFound, "push the seed image, or correct spec.seedImageRef.image" + again
	case 0:
		return events.ReasonSeedCorrupt, "push the seed image again" + again
	}
	return events.ReasonSeedUnreachable, "check the registry, the node's DNS, proxy and additional trusted authorities" + again
}

var statusText = regexp.MustCompile(`StatusCode: ([0-9]{3})\b`)

// status is the registry's answer as an HTTP status, which containers/image hides in several ways: that of a gateway
// that gets no answer where nothing answered at all, and 0 where the answer was not what it should be.
func status(err error) int {
	var (
		unauthorized docker.ErrUnauthorizedForCredentials
		unexpected   docker.UnexpectedHTTPStatusError
		coded        errcode.ErrorCoder
		network      net.Error
		request      *url.Error
	)
	switch {
	case errors.As(err, &unauthorized):
		return http.StatusUnauthorized
	case errors.Is(err, docker.ErrTooManyRequests):
		return http.StatusTooManyRequests
	case errors.As(err, &unexpected):
		return unexpected.StatusCode
	case statusText.MatchString(err.Error()): // the answer to a HEAD request has no body
		code, _ := strconv.Atoi(statusText.FindStringSubmatch(err.Error())[1])
		return code
	case errors.As(err, &coded):
		switch code := coded.ErrorCode(); code {
		case errcode.ErrorCodeDenied:
			return http.StatusForbidden
		case v2.ErrorCodeManifestUnknown, v2.ErrorCodeNameUnknown, v2.ErrorCodeBlobUnknown:
			return http.StatusNotFound
		default:
			return code.Descriptor().HTTPStatusCode
		}
	case errors.As(err, &network), errors.As(err, &request), errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return 0
}
