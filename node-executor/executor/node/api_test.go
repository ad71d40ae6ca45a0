package node_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/reroot-dev/reroot/node-executor/executor/node"
)

// TestIsAway: what may be over in a moment is told from what a person has to look at.
func TestIsAway(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, refused := http.Get(gone.URL)
	cut := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer cut.Close()
	_, reset := http.Get(cut.URL)
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	defer stranger.Close()
	_, untrusted := http.Get(stranger.URL)
	ended, end := context.WithCancel(t.Context())
	end()
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		"connection refused":      {refused, true},
		"connection cut":          {reset, true},
		"in the middle":           {io.ErrUnexpectedEOF, true},
		"starting":                {apierrors.NewServiceUnavailable("starting"), true},
		"overloaded":              {apierrors.NewTooManyRequests("later", 1), true},
		"internal error":          {apierrors.NewInternalError(io.EOF), true},
		"unknown certificate":     {untrusted, false},
		"credentials are refused": {apierrors.NewUnauthorized("who?"), false},
		"the end":                 {ended.Err(), false},
		"nothing":                 {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := tc.err
			if err != nil {
				err = fmt.Errorf("cannot put it online: %w", err)
			}
			if got := node.IsAway(err); got != tc.want {
				t.Errorf("%v: %t, want %t", err, got, tc.want)
			}
		})
	}
}
