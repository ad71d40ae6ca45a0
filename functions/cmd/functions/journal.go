package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/reroot-dev/reroot/events/journal"
)

// connectLimit bounds the first contact with the journal. Whoever started this program tries again.
const connectLimit = 30 * time.Second

// open connects to the journal and makes it where there is none. Call end when done.
func open(ctx context.Context, o options, log *slog.Logger) (store *journal.JetStream, end func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	dial := []nats.Option{
		nats.Name("reroot-functions"), nats.MaxReconnects(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("disconnected from the journal", "error", err) }),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("connected to the journal", "url", c.ConnectedUrlRedacted()) }),
	}
	if o.creds != "" {
		dial = append(dial, nats.UserCredentials(o.creds))
	}
	if o.ca != "" {
		dial = append(dial, nats.RootCAs(o.ca))
	}
	conn, err := nats.Connect(o.server, dial...)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot connect to the journal: %w", err)
	}
	replicas, err := replicas(ctx, conn)
	if err == nil {
		store, err = journal.Open(ctx, conn, journal.Options{Synced: o.synced, Replicas: replicas})
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return store, conn.Close, nil
}

// replicas is how often the server keeps the journal; a function that starts must not change that. 0 means that there
// is no journal yet.
func replicas(ctx context.Context, conn *nats.Conn) (int, error) {
	js, err := jetstream.New(conn)
	if err != nil {
		return 0, fmt.Errorf("cannot use jetstream: %w", err)
	}
	stream, err := js.Stream(ctx, "UPGRADES")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot find the journal: %w", err)
	}
	return stream.CachedInfo().Config.Replicas, nil
}
