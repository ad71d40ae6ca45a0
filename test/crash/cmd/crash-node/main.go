// Command crash-node is the executor of package crash's node, which is in the directory that it is given. It runs until
// the machine goes down or the hub has the last fact. It is built with the tag faultinject.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/reroot-dev/reroot/node-executor/executor"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/test/crash"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crash-node DIRECTORY")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := run(ctx, crash.Dir(os.Args[1]))
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir crash.Dir) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	if err := dir.Safe(); err != nil {
		return err
	}
	c, err := dir.Config()
	if err != nil {
		return err
	}
	l, err := ledger.Open(dir.Ledger())
	if err != nil {
		return err
	}
	machine := crash.Machine{Host: dir.Host(c), Dir: dir, Down: end}
	hub := dir.Hub(c).Open(end)
	return executor.New(executor.Options{
		Cluster: "edge-1", Ledger: l, Plans: step.All(machine.Node(c)), Machine: machine, Watchdog: dir.Watchdog().Read,
		Commands: hub, Facts: hub, Progress: hub, Now: time.Now, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}).Run(ctx)
}
