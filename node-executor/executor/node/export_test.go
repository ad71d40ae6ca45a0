package node

import (
	"context"
	"log/slog"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/executor"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/step"
)

// Parts are the real parts of a node, for a test that puts its own in the place of those that need a cluster.
func Parts(c Config, log *slog.Logger) step.Node { return parts(c, log) }

// NewMachine is the real machine.
func NewMachine() executor.Machine { return machine{host.New(host.Options{})} }

// NewRunner is the real runner of etcd.
func NewRunner() etcd.Runner { return units{host.New(host.Options{})} }

// IsAway says whether an error is of an API server that is away.
var IsAway = isAway

// Present are the places that are searched on a node whose root directory is seen at that path.
func Present(c Crypto, node string) []files.Root { return c.present(node) }

// Rules are the policies of a configuration.
func Rules(c Crypto, now time.Time) plan.Rules { return c.rules(now) }

// UpdateTrust is the real update of the node's bundles, by a program of that name.
func UpdateTrust(ctx context.Context, program string, log *slog.Logger) error {
	return trust{program: program, host: host.New(host.Options{}), log: log}.update(ctx)
}
