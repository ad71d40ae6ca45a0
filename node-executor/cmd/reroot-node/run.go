package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/functions/pipeline"
	"github.com/reroot-dev/reroot/node-executor/cmd/reroot-node/solo"
	"github.com/reroot-dev/reroot/node-executor/executor/link"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
)

// run runs the executor until ctx ends.
func run(ctx context.Context, log *slog.Logger) error {
	if err := errors.Join(harden(), node.MakeWritable()); err != nil {
		return err
	}
	config, err := node.Load(filepath.Join(node.StateDir, node.ConfigFile))
	if err != nil {
		return err
	}
	log = log.With("cluster", config.Cluster)
	if config.Journal.Embedded {
		return runSolo(ctx, config, log)
	}
	conn, err := connect(config.Journal, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	x, err := node.New(config, link.Remote{Cluster: config.Cluster, Conn: conn, Log: log}, log)
	if err != nil {
		return err
	}
	if err := x.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

const (
	// journalDir is the embedded journal's directory in the state directory: the same in both roots of an upgrade.
	journalDir = "journal"
	// soloPause is the pause before a journal or functions that failed are started again.
	soloPause = 5 * time.Second
)

// runSolo runs everything that a cluster needs in this process until ctx ends: the journal, the functions, the cluster
// source and the executor.
func runSolo(ctx context.Context, config node.Config, log *slog.Logger) error {
	api, err := pipeline.Connect(config.Kubeconfig)
	if err != nil {
		return err
	}
	access := registry.Access{CertDir: config.Registry.CertDir, Insecure: config.Registry.Insecure, Config: config.Registry.Config}
	functions := pipeline.Pipeline{Cluster: config.Cluster, API: api, Registry: access, Log: log}
	h := &solo.Host{
		Cluster: config.Cluster, Dir: filepath.Join(node.StateDir, journalDir), Port: config.Journal.Port,
		Functions: functions.Run, Pause: soloPause, Log: log,
	}
	x, err := node.New(config, h, log)
	if err != nil {
		return err
	}
	h.Seen = func() journal.Head {
		s := x.Ledger.State()
		return journal.Head{Sequence: s.Sequence, Hash: s.Hash}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return x.Run(gctx) })
	g.Go(func() error { return h.Run(gctx) })
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// connect reaches for the journal, now or whenever it is there: a new root may come up without any network.
func connect(j node.Journal, log *slog.Logger) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("reroot-node"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		// What cannot be sent fails at once: the outbox keeps it.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("disconnected from the journal", "error", err) }),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("connected to the journal", "url", c.ConnectedUrlRedacted()) }),
	}
	if j.Credentials != "" {
		options = append(options, nats.UserCredentials(j.Credentials))
	}
	if j.CA != "" {
		options = append(options, nats.RootCAs(j.CA))
	}
	conn, err := nats.Connect(j.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the journal: %w", err)
	}
	return conn, nil
}
