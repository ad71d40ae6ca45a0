// Command reroot-node is the node's part of Reroot: the executor, the watchdog of a new root, the gate that holds its
// cluster back until it has the site's identity, their installation, and the regeneration of a stopped cluster's
// cryptography by itself.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 6 understood and refused, 130 interrupted.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/containers/storage/pkg/reexec"
	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
)

func main() {
	// Unpacking a container image runs this program again, in the image's root.
	if reexec.Init() {
		return
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(crypto.MemoryLimit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := command(log).ExecuteContext(ctx); err != nil {
		os.Exit(report(ctx, os.Stderr, err))
	}
}

// usageError says that the command line is wrong.
type usageError struct{ error }

func command(log *slog.Logger) *cobra.Command {
	root := &cobra.Command{
		Use: "reroot-node", Short: "Image-based upgrades: the node's part", SilenceUsage: true, SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(
		leaf("run", "Carry out the commands of this node's cluster", func(ctx context.Context, _ io.Writer) error { return run(ctx, log) }),
		leaf("watchdog", "Go back to the old root unless this one is confirmed in time", func(ctx context.Context, _ io.Writer) error {
			return node.Watch(ctx, log)
		}),
		leaf("await-identity", "Wait until this root has the site's identity", func(ctx context.Context, _ io.Writer) error {
			return node.AwaitIdentity(ctx)
		}),
		leaf("status", "Print the ledger and the watchdog's record as JSON", status),
		installCommand(),
		cryptoCommand(log),
	)
	return root
}

// leaf is a command without arguments.
func leaf(name, short string, do func(ctx context.Context, stdout io.Writer) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short,
		Args: func(c *cobra.Command, args []string) error {
			if err := cobra.NoArgs(c, args); err != nil {
				return &usageError{err}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return do(c.Context(), c.OutOrStdout()) },
	}
}

func status(_ context.Context, stdout io.Writer) error {
	s, err := node.ReadStatus()
	if err != nil {
		return err
	}
	enc := json.NewEncoder(stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(s)
}

func installCommand() *cobra.Command {
	var o node.InstallOptions
	c := leaf("install", "Install units, configuration and this program for a root, enabled", func(context.Context, io.Writer) error {
		return node.Install(o)
	})
	c.Flags().StringVar(&o.Etc, "etc", "/etc", "/etc of the root")
	c.Flags().StringVar(&o.State, "state", "/sysroot/reroot", "state directory, as seen from here")
	c.Flags().StringVar(&o.Config, "config", "", "node.yaml to install; none: keep the one that is there")
	return c
}
