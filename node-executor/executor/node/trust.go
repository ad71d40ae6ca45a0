package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/reroot-dev/reroot/node-executor/host"
)

// updateTrust is the program of Fedora's family that makes /etc/pki/ca-trust/extracted from the anchors in source.
const updateTrust = "update-ca-trust"

// trust implements step.Node's UpdateTrust.
type trust struct {
	program string
	host    *host.Host
	log     *slog.Logger
}

func (t trust) update(ctx context.Context) error {
	_, err := t.host.Run(ctx, host.Cmd{Name: t.program})
	if errors.Is(err, host.ErrNoProgram) {
		t.log.Info("bundles of trusted authorities are left as they are: the node has no "+t.program, "step", "update-trust")
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot update the trusted authorities: %w", err)
	}
	return nil
}
