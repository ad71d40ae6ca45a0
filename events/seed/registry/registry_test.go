package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/image/v5/docker"
	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"

	"github.com/reroot-dev/reroot/events/seed/registry"
)

func TestReference(t *testing.T) {
	const sum = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for spec, want := range map[string]string{
		"quay.io/okd/seed:4.17":               "quay.io/okd/seed:4.17",
		"quay.io/okd/seed":                    "quay.io/okd/seed:latest",
		"quay.io/okd/seed" + sum:              "quay.io/okd/seed" + sum,
		"quay.io/okd/seed:4.17" + sum:         "quay.io/okd/seed" + sum,
		"docker://127.0.0.1:5000/okd/seed:x":  "127.0.0.1:5000/okd/seed:x",
		"registry.test/a/b/c/d:v1":            "registry.test/a/b/c/d:v1",
		"":                                    "",
		"seed":                                "",
		"okd/seed:4.17":                       "",
		"quay.io/OKD/seed":                    "",
		"quay.io/okd/seed@sha256:0123":        "",
		"quay.io/okd/seed:4.17 --authfile=/x": "",
		"oci:/etc":                            "",
		"dir:///etc":                          "",
	} {
		t.Run(spec, func(t *testing.T) {
			ref, err := registry.Reference(spec)
			if want == "" {
				if err == nil {
					t.Errorf("accepted as %s", ref.DockerReference())
				}
				return
			}
			if err != nil || ref.DockerReference().String() != want {
				t.Errorf("got %v, %v; want %s", ref, err, want)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	other := errors.New("something else")
	for name, tc := range map[string]struct{ err, want error }{
		"nothing":            {nil, nil},
		"unknown":            {other, other},
		"cancelled":          {fmt.Errorf("x: %w", context.Canceled), context.Canceled},
		"bad password":       {docker.ErrUnauthorizedForCredentials{Err: other}, registry.ErrUnauthorized},
		"denied":             {fmt.Errorf("x: %w", errcode.ErrorCodeDenied.WithMessage("no")), registry.ErrUnauthorized},
		"unknown manifest":   {fmt.Errorf("x: %w", v2.ErrorCodeManifestUnknown.WithMessage("no")), registry.ErrNotFound},
		"unknown repository": {v2.ErrorCodeNameUnknown.WithMessage("no"), registry.ErrNotFound},
		"status 403":         {docker.UnexpectedHTTPStatusError{StatusCode: 403}, registry.ErrUnauthorized},
		"status 503":         {docker.UnexpectedHTTPStatusError{StatusCode: 503}, registry.ErrUnreachable},
		"status 418":         {docker.UnexpectedHTTPStatusError{StatusCode: 418}, nil},
		"status in the text": {errors.New(`StatusCode: 404, ""`), registry.ErrNotFound},
		"too many requests":  {docker.ErrTooManyRequests, registry.ErrUnreachable},
		"connection refused": {&url.Error{Op: "Get", Err: &net.OpError{Op: "dial", Err: other}}, registry.ErrUnreachable},
		"cut off":            {fmt.Errorf("x: %w", io.ErrUnexpectedEOF), registry.ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			got := registry.Classify(tc.err)
			if tc.want != nil && !errors.Is(got, tc.want) || !errors.Is(got, tc.err) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if tc.want == nil {
				for _, kind := range []error{registry.ErrUnauthorized, registry.ErrNotFound, registry.ErrUnreachable} {
					if errors.Is(got, kind) {
						t.Errorf("got %v", got)
					}
				}
			}
		})
	}
}

func TestAuthFile(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "config.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, tc := range map[string]struct {
		file string
		ok   bool
	}{
		"none":           {"", true},
		"good":           {write(`{"auths":{"quay.io":{"auth":"eDp5"}}}`), true},
		"absent":         {filepath.Join(t.TempDir(), "absent"), false},
		"no auths":       {write(`{"auths":{}}`), false},
		"something else": {write(`{"kind":"Secret"}`), false},
		"not JSON":       {write("quay.io: x"), false},
		"without end":    {write(`{"auths":{"quay.io":{"auth":"` + strings.Repeat("x", 2<<20) + `"}}}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			sys, err := registry.Access{AuthFile: tc.file}.System()
			if tc.ok && (err != nil || sys.AuthFilePath != tc.file) {
				t.Errorf("got %+v, %v", sys, err)
			}
			if !tc.ok && !errors.Is(err, registry.ErrNoPullSecret) {
				t.Errorf("error %v, want %v", err, registry.ErrNoPullSecret)
			}
		})
	}
}

// Without a pull secret, requests are anonymous: not made with what the user of the process has in its home.
func TestAnonymous(t *testing.T) {
	sys, err := registry.Access{}.System()
	if err != nil || sys.DockerAuthConfig == nil || sys.DockerAuthConfig.Username != "" {
		t.Errorf("got %+v, %v", sys, err)
	}
}
