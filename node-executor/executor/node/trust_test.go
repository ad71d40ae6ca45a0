package node_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/executor/node"
	"github.com/reroot-dev/reroot/node-executor/host"
)

// TestUpdateTrust: a node of another family has no such program, which is said and no failure; a failing one is.
func TestUpdateTrust(t *testing.T) {
	for program, want := range map[string]struct{ fails, says bool }{
		"true": {}, "false": {fails: true}, "reroot-no-such-program": {says: true},
	} {
		t.Run(program, func(t *testing.T) {
			var log bytes.Buffer
			err := node.UpdateTrust(t.Context(), program, slog.New(slog.NewTextHandler(&log, nil)))
			var exit *host.ExitError
			if errors.As(err, &exit) != want.fails || !want.fails && err != nil {
				t.Errorf("error %v", err)
			}
			if strings.Contains(log.String(), "the node has no "+program) != want.says {
				t.Errorf("logged %q", log.String())
			}
		})
	}
}
