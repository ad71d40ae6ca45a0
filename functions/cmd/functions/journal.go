package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events/journal"
)

// connectLimit bounds the first contact with the journal. Whoever started this program tries again.
const connectLimit = 30 * time.Second

// open connects to the journal. Who hosts all functions runs the journal, too: makes it where there is none, and has to
// know that it is durable. A single function only uses it. Call end when done.
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
	if o.all {
		store, err = journal.Open(ctx, conn, journal.Options{Synced: o.synced, Replicas: o.replicas})
	} else {
		store, err = journal.Attach(ctx, conn)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return store, conn.Close, nil
}
