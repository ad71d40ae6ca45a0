package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/node-executor/executor/link"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
)

// run runs the executor until ctx ends.
func run(ctx context.Context, log *slog.Logger) error {
	if err := node.MakeWritable(); err != nil {
		return err
	}
	config, err := node.Load(filepath.Join(node.StateDir, node.ConfigFile))
	if err != nil {
		return err
	}
	log = log.With("cluster", config.Cluster)
	if config.Journal.Embedded {
		return solo(ctx, config, log)
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
