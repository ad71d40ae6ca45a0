// Package link is the executor's connection to the journal: commands come in, facts and progress go out.
//
// [Remote] speaks to a NATS server with no more rights than a node has: it reads the commands of its own cluster
// through one durable consumer and publishes to its own inbox and progress subjects. It may be disconnected for as long
// as it likes; everything that matters is in the ledger on one side and in the journal on the other. [Local] is for the
// process that holds the journal itself.
package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// stream is the journal's stream, see package journal.
const stream = "UPGRADES"

const (
	firstPause = 200 * time.Millisecond
	maxPause   = 10 * time.Second
	ackWait    = 10 * time.Second
)

// Consumer is the name of a cluster's durable consumer of commands.
func Consumer(cluster string) string { return "node-" + cluster }

// Remote is the link of one cluster over a NATS connection, which stays the caller's.
type Remote struct {
	Cluster string
	Conn    *nats.Conn
	Log     *slog.Logger
}

// Receive delivers commands one at a time, in the journal's order, until ctx ends. A command is acknowledged when
// handle returns nil. Whatever goes wrong with the server is tried again; an error of handle ends it.
func (r Remote) Receive(ctx context.Context, handle func(ctx context.Context, e event.Event, hash string) error) error {
	pause := firstPause
	for {
		began, err := r.receive(ctx, handle)
		var own *handleError
		switch {
		case errors.As(err, &own):
			return own.err
		case ctx.Err() != nil:
			return ctx.Err()
		case began:
			pause = firstPause
		}
		r.Log.Warn("cannot receive commands", "error", err, "again_in", pause.String())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

// handleError tells the handler's own error from the server's.
type handleError struct{ err error }

func (e *handleError) Error() string { return e.err.Error() }

// receive runs the consumer until it fails; began says that it worked at first.
func (r Remote) receive(ctx context.Context, handle func(context.Context, event.Event, string) error) (began bool, err error) {
	js, err := jetstream.New(r.Conn)
	if err != nil {
		return false, err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable:       Consumer(r.Cluster),
		FilterSubject: "reroot." + r.Cluster + ".*.node.*.requested",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxAckPending: 1, // keeps the order, also when a command has to be delivered again
	})
	if err != nil {
		return false, fmt.Errorf("cannot subscribe to commands: %w", err)
	}
	msgs, err := consumer.Messages(jetstream.PullMaxMessages(1))
	if err != nil {
		return false, fmt.Errorf("cannot subscribe to commands: %w", err)
	}
	defer msgs.Stop()
	for {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		switch {
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			continue // the server is away; the subscription goes on when it is back
		case err != nil:
			return true, err
		}
		if err := r.deliver(ctx, msg, handle); err != nil {
			_ = msg.Nak() // so that the next process gets it at once; if this is lost, after ackWait
			return true, &handleError{err}
		}
	}
}

func (r Remote) deliver(ctx context.Context, msg jetstream.Msg, handle func(context.Context, event.Event, string) error) error {
	e, err := journal.Decode(msg.Headers(), msg.Data())
	if err != nil {
		r.Log.Error("ignoring a message that is no event", "subject", msg.Subject(), "error", err)
		r.ack(msg)
		return nil
	}
	hash, err := events.Hash(e)
	if err != nil {
		return err
	}
	if err := handle(ctx, e, hash); err != nil {
		return err
	}
	r.ack(msg)
	return nil
}

// ack acknowledges. That it may get lost is no error: the executor knows the command when it comes again.
func (r Remote) ack(msg jetstream.Msg) {
	if err := msg.Ack(); err != nil {
		r.Log.Debug("cannot acknowledge a command", "subject", msg.Subject(), "error", err)
	}
}

// Submit stores a fact in the inbox of the journal; nil means that the server has synced it.
func (r Remote) Submit(ctx context.Context, fact event.Event) error {
	js, err := jetstream.New(r.Conn)
	if err != nil {
		return err
	}
	msg, err := message("reroot-in."+r.Cluster+".node."+fact.Subject(), fact)
	if err != nil {
		return err
	}
	if _, err := js.PublishMsg(ctx, msg); err != nil {
		return fmt.Errorf("cannot submit fact %s: %w", fact.ID(), err)
	}
	return nil
}

// Report sends a progress report and does not wait for its being stored.
func (r Remote) Report(_ context.Context, e event.Event) error {
	p, err := events.Decode[events.StepProgressed](e)
	if err != nil {
		return err
	}
	msg, err := message("reroot-progress."+r.Cluster+"."+token(p.Of)+"."+token(p.Step), e)
	if err != nil {
		return err
	}
	return r.Conn.PublishMsg(msg)
}

func message(subject string, e event.Event) (*nats.Msg, error) {
	header, body, err := journal.Encode(e)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: subject, Header: header, Data: body}, nil
}

// token makes a name one token of a subject, as package journal does.
func token(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			b[i] = '_'
		}
	}
	return string(b)
}

// Local is the link of one cluster to a store in this process.
type Local struct {
	Cluster string
	Store   journal.Store
}

// Receive delivers commands until ctx ends.
func (l Local) Receive(ctx context.Context, handle func(ctx context.Context, e event.Event, hash string) error) error {
	return l.Store.Subscribe(ctx, Consumer(l.Cluster), upgrade.Subscriptions("node"), func(ctx context.Context, d journal.Delivery) error {
		if d.Err != nil || d.Cluster != l.Cluster {
			return nil // the journal's readers complain about what cannot be decoded
		}
		return handle(ctx, d.Event, d.Hash)
	})
}

// Submit stores a fact in the inbox.
func (l Local) Submit(ctx context.Context, fact event.Event) error {
	return l.Store.Submit(ctx, "node", fact)
}

// Report stores a progress report.
func (l Local) Report(ctx context.Context, e event.Event) error { return l.Store.Report(ctx, e) }
