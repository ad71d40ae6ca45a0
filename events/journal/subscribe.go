package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/reroot-dev/reroot/events"
)

// Subscribe implements [Subscriber].
func (j *JetStream) Subscribe(ctx context.Context, name string, types []events.Type, handle Handle) error {
	filters := []string{rootUpgrades + ".>"}
	if len(types) > 0 {
		filters = filters[:0]
		for _, t := range types {
			filters = append(filters, rootUpgrades+".*.*."+t.Short())
		}
	}
	return j.consume(ctx, streamUpgrades, name, filters, func(ctx context.Context, msg jetstream.Msg) error {
		d := delivery(msg)
		if d.Err == nil {
			if d.Hash, d.Err = events.Hash(d.Event); d.Err != nil {
				return d.Err
			}
		}
		return handle(ctx, d)
	})
}

// Receive implements [Subscriber].
func (j *JetStream) Receive(ctx context.Context, name string, handle Handle) error {
	return j.consume(ctx, streamInbox, name, []string{rootInbox + ".>"}, func(ctx context.Context, msg jetstream.Msg) error {
		d := delivery(msg)
		d.Origin = originOf(msg.Subject())
		return handle(ctx, d)
	})
}

func delivery(msg jetstream.Msg) Delivery {
	d := Delivery{Cluster: clusterOf(msg.Subject()), Attempt: 1}
	if meta, err := msg.Metadata(); err == nil {
		d.Attempt = int(meta.NumDelivered)
	}
	if d.Event, d.Err = Decode(msg.Headers(), msg.Data()); d.Err != nil {
		d.Raw = raw(msg.Headers(), msg.Data())
	}
	return d
}

// consume runs a durable pull consumer until ctx ends and every handler has returned.
func (j *JetStream) consume(ctx context.Context, stream, name string, filters []string, handle func(context.Context, jetstream.Msg) error) error {
	consumer, err := j.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable:        name,
		FilterSubjects: filters,
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        j.opts.AckWait,
		// What waits for a later redelivery counts as unacknowledged, and every cluster of a fleet may wait.
		MaxAckPending: 1 << 16,
	})
	if err != nil {
		return fmt.Errorf("cannot subscribe %s to %s: %w", name, stream, err)
	}
	msgs, err := consumer.Messages(jetstream.PullMaxMessages(32))
	if err != nil {
		return fmt.Errorf("cannot subscribe %s to %s: %w", name, stream, err)
	}
	defer msgs.Stop()

	w := &work{lanes: newLanes(), held: map[jetstream.Msg]struct{}{}}
	var beat sync.WaitGroup
	done := make(chan struct{})
	beat.Go(func() { w.extend(done, j.opts.AckWait/3) })
	defer beat.Wait()
	defer close(done)
	defer w.wg.Wait()
	for {
		msg, err := msgs.Next(jetstream.NextContext(ctx))
		switch {
		case ctx.Err() != nil:
			if err == nil {
				w.settle(ctx, msg, ctx.Err())
			}
			w.handBack(msgs)
			return ctx.Err()
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			continue // the server is away; the subscription resumes when it is back
		case err != nil:
			return fmt.Errorf("cannot read on as %s from %s: %w", name, stream, err)
		}
		w.add(ctx, msg, handle)
	}
}

// work is what one subscription holds: queued or running deliveries.
type work struct {
	*lanes
	mu   sync.Mutex
	held map[jetstream.Msg]struct{}
}

func (w *work) add(ctx context.Context, msg jetstream.Msg, handle func(context.Context, jetstream.Msg) error) {
	w.mu.Lock()
	w.held[msg] = struct{}{}
	w.mu.Unlock()
	w.room <- struct{}{}
	w.lanes.add(clusterOf(msg.Subject()), func() {
		err := ctx.Err()
		if err == nil {
			err = handle(ctx, msg)
		}
		w.mu.Lock()
		delete(w.held, msg)
		w.mu.Unlock()
		w.settle(ctx, msg, err)
	})
}

// settle answers the server. An answer that gets lost only means that the delivery is made again.
func (w *work) settle(ctx context.Context, msg jetstream.Msg, err error) {
	switch {
	case err == nil:
		_ = msg.Ack()
	case ctx.Err() != nil:
		_ = msg.Nak()
	default:
		attempt := 1
		if meta, e := msg.Metadata(); e == nil {
			attempt = int(meta.NumDelivered)
		}
		_ = msg.NakWithDelay(pause(err, attempt))
	}
}

// handBack returns what was received and not begun, so that the next process need not wait for it.
func (w *work) handBack(msgs jetstream.MessagesContext) {
	msgs.Drain()
	for {
		msg, err := msgs.Next()
		if err != nil {
			return
		}
		_ = msg.Nak()
	}
}

// extend keeps the server from delivering again what is still queued or running here.
func (w *work) extend(done <-chan struct{}, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		for msg := range w.held {
			_ = msg.InProgress()
		}
		w.mu.Unlock()
	}
}

// Set implements [Deadlines].
func (j *JetStream) Set(ctx context.Context, cluster string, at time.Time) error {
	subject := rootDeadlines + "." + cluster
	msg := nats.NewMsg(subject + ".set")
	msg.Header.Set("Nats-Schedule", "@at "+at.UTC().Format(time.RFC3339Nano))
	msg.Header.Set("Nats-Schedule-Target", subject+".due")
	_, err := j.request(ctx, msg)
	return err
}

// Due implements [Deadlines].
func (j *JetStream) Due(ctx context.Context, handle func(ctx context.Context, cluster string) error) error {
	filter := rootDeadlines + ".*.due"
	return j.consume(ctx, streamDeadlines, "due", []string{filter}, func(ctx context.Context, msg jetstream.Msg) error {
		return handle(ctx, clusterOf(msg.Subject()))
	})
}
