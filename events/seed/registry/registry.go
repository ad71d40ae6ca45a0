// Package registry is how seed images and other images are reached in a registry: credentials, certificates, what an
// image says about itself before it is downloaded, and what a failed request means. The transport is containers/image, so
// registries.conf with its mirrors applies.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"
	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"

	"github.com/reroot-dev/reroot/events"
)

// What went wrong, as far as a user can do something about it. [Classify] adds one of these to an error.
var (
	ErrUnauthorized = errors.New("the registry refused the credentials")
	ErrNotFound     = errors.New("the registry does not have the image")
	ErrUnreachable  = errors.New("the registry does not answer")
	// ErrReference: the pull spec does not name an image.
	ErrReference = errors.New("it is no pull spec")
	// ErrNoPullSecret: the file with the credentials is absent or holds none.
	ErrNoPullSecret = errors.New("there is no pull secret")
)

const maxAuthFile = 1 << 20

// Access says how to reach registries. The zero value is anonymous, with verified TLS.
type Access struct {
	AuthFile string // pull secret, in the form of .dockerconfigjson; empty: anonymous
	CertDir  string // certificate authorities to trust besides the system's, as /etc/containers/certs.d/HOST
	Insecure bool   // accept plain HTTP and certificates that do not verify
	Config   string // registries.conf; empty: the system's
}

// System is the context for containers/image. It fails with [ErrNoPullSecret] when the auth file has no credentials:
// containers/image would go on without any, and the registry's answer would then blame them.
func (a Access) System() (*types.SystemContext, error) {
	sys := &types.SystemContext{
		SystemRegistriesConfPath: a.Config,
		DockerCertPath:           a.CertDir,
		DockerRegistryUserAgent:  "reroot",
	}
	if a.Insecure {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	if a.AuthFile == "" {
		sys.DockerAuthConfig = &types.DockerAuthConfig{} // not the credentials of whoever runs the process
		return sys, nil
	}
	if err := checkAuthFile(a.AuthFile); err != nil {
		return nil, err
	}
	sys.AuthFilePath = a.AuthFile
	return sys, nil
}

func checkAuthFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read pull secret: %w: %w", ErrNoPullSecret, err)
	}
	defer f.Close()
	var secret struct {
		Auths map[string]json.RawMessage `json:"auths"`
	}
	if err := json.NewDecoder(io.LimitReader(f, maxAuthFile)).Decode(&secret); err != nil {
		return fmt.Errorf("cannot read pull secret %s: %w: %w", path, ErrNoPullSecret, err)
	}
	if len(secret.Auths) == 0 {
		return fmt.Errorf("cannot read pull secret %s: %w: it has no auths", path, ErrNoPullSecret)
	}
	return nil
}

// Reference is the image of a pull spec such as quay.io/okd/seed:4.17 or …@sha256:…; a scheme in front is dropped, for
// the ImageBasedUpgrade API allows one. Short names without a registry are refused.
func Reference(pullSpec string) (types.ImageReference, error) {
	if _, rest, ok := strings.Cut(pullSpec, "://"); ok {
		pullSpec = rest
	}
	named, err := reference.ParseNamed(pullSpec)
	if err != nil {
		return nil, fmt.Errorf("cannot parse image %q: %w: %w", pullSpec, ErrReference, err)
	}
	// A tag beside a digest is a comment; containers/image refuses to choose.
	if canonical, ok := named.(reference.Canonical); ok {
		if named, err = reference.WithDigest(reference.TrimNamed(named), canonical.Digest()); err != nil {
			return nil, fmt.Errorf("cannot parse image %q: %w: %w", pullSpec, ErrReference, err)
		}
	}
	ref, err := docker.NewReference(reference.TagNameOnly(named))
	if err != nil {
		return nil, fmt.Errorf("cannot parse image %q: %w: %w", pullSpec, ErrReference, err)
	}
	return ref, nil
}

// Classify wraps an error of a registry request with what it means. Errors that it does not know come back as they are.
func Classify(err error) error {
	if kind := kindOf(err); kind != nil && !errors.Is(err, kind) {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// reasons are what events say of these errors.
var reasons = []struct {
	err    error
	reason events.Reason
}{
	{ErrReference, events.ReasonSeedNotFound},
	{ErrNoPullSecret, events.ReasonPullSecretMissing},
	{ErrUnauthorized, events.ReasonSeedUnauthorized},
	{ErrNotFound, events.ReasonSeedNotFound},
	{ErrUnreachable, events.ReasonSeedUnreachable},
}

// Reason is the reason that a failed request for a seed image has in events: empty when the error is none of this
// package's and has none of its own.
func Reason(err error) events.Reason {
	var reasoned interface{ Reason() events.Reason } // such as a [seed.FormatError]
	if errors.As(err, &reasoned) {
		return reasoned.Reason()
	}
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	return ""
}

var statusText = regexp.MustCompile(`StatusCode: ([0-9]{3})\b`)

func kindOf(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	var unauthorized docker.ErrUnauthorizedForCredentials
	if errors.As(err, &unauthorized) {
		return ErrUnauthorized
	}
	if errors.Is(err, docker.ErrTooManyRequests) {
		return ErrUnreachable
	}
	var status docker.UnexpectedHTTPStatusError
	if errors.As(err, &status) {
		return kindOfStatus(status.StatusCode)
	}
	// The answer to a HEAD request has no body, and its status is only in the text.
	if m := statusText.FindStringSubmatch(err.Error()); m != nil {
		code, _ := strconv.Atoi(m[1]) // three digits
		return kindOfStatus(code)
	}
	var coded errcode.ErrorCoder
	if errors.As(err, &coded) {
		switch code := coded.ErrorCode(); code {
		case errcode.ErrorCodeUnauthorized, errcode.ErrorCodeDenied:
			return ErrUnauthorized
		case v2.ErrorCodeManifestUnknown, v2.ErrorCodeNameUnknown, v2.ErrorCodeBlobUnknown:
			return ErrNotFound
		default:
			return kindOfStatus(code.Descriptor().HTTPStatusCode)
		}
	}
	var network net.Error
	var request *url.Error
	if errors.As(err, &network) || errors.As(err, &request) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) {
		return ErrUnreachable
	}
	return nil
}

func kindOfStatus(code int) error {
	switch {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return ErrUnauthorized
	case code == http.StatusNotFound:
		return ErrNotFound
	case code >= http.StatusInternalServerError || code == http.StatusTooManyRequests:
		return ErrUnreachable
	}
	return nil
}
