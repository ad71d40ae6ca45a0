package journal_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// The hop is the unit of the pipeline: append an event; a durable subscriber gets it and appends what follows from it
// (one event, or a batch of three). The bare loops move messages of the same size over the same server by nats.go
// alone: what they take is what durability costs, the rest is ours. All servers sync every write.

func BenchmarkHop(b *testing.B)      { benchmarkHop(b, 1) }
func BenchmarkHopBatch(b *testing.B) { benchmarkHop(b, 3) }

func benchmarkHop(b *testing.B, answers int) {
	e, err := journal.OpenEmbedded(b.Context(), b.TempDir(), journal.EmbeddedOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	heads := make(chan journal.Head, 1)
	stop := subscribe(func(ctx context.Context) error {
		return e.Subscribe(ctx, "f", []events.Type{events.TypeStageRequested}, func(ctx context.Context, d journal.Delivery) error {
			var evs []event.Event
			for i := range answers {
				evs = append(evs, events.Caused(d.Event, "functions/stage", events.TypeStageRejected, i, rejection))
			}
			rs, err := e.Append(ctx, "edge-1", journal.Head{Sequence: events.Sequence(d.Event), Hash: d.Hash}, evs...)
			if err != nil {
				return err
			}
			heads <- rs[len(rs)-1].Head()
			return nil
		})
	})
	defer stop()
	var head journal.Head
	lap := laps(b)
	for b.Loop() {
		if _, err := e.Append(b.Context(), "edge-1", head, benchEvent(int(head.Sequence))); err != nil {
			b.Fatal(err)
		}
		head = <-heads
		lap()
	}
}

func BenchmarkBareHop(b *testing.B)      { benchmarkBare(b, 1) }
func BenchmarkBareHopBatch(b *testing.B) { benchmarkBare(b, 3) }

func benchmarkBare(b *testing.B, answers int) {
	nc := bareServer(b)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	stream, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowAtomicPublish: true})
	if err != nil {
		b.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(b.Context(), jetstream.ConsumerConfig{Durable: "f", FilterSubject: "s.requested", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		b.Fatal(err)
	}
	header, body, err := journal.Encode(stamped())
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	sub, err := consumer.Consume(func(m jetstream.Msg) {
		err := barePublish(nc, "s.rejected", m.Headers(), m.Data(), answers)
		_ = m.Ack()
		done <- err
	})
	if err != nil {
		b.Fatal(err)
	}
	defer sub.Stop()
	lap := laps(b)
	for b.Loop() {
		if err := barePublish(nc, "s.requested", header, body, 1); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		lap()
	}
}

func barePublish(nc *nats.Conn, subject string, header nats.Header, body []byte, n int) error {
	batch := rand.Text()
	for i := 1; i <= n; i++ {
		msg := &nats.Msg{Subject: subject, Header: header, Data: body}
		if n > 1 {
			msg.Header = nats.Header{"Nats-Batch-Id": {batch}, "Nats-Batch-Sequence": {strconv.Itoa(i)}}
			for k, v := range header {
				msg.Header[k] = v
			}
		}
		if i < n {
			if err := nc.PublishMsg(msg); err != nil {
				return err
			}
			continue
		}
		if n > 1 {
			msg.Header["Nats-Batch-Commit"] = []string{"1"}
		}
		reply, err := nc.RequestMsg(msg, 5*time.Second)
		if err != nil {
			return err
		}
		if bytes.Contains(reply.Data, []byte("error")) {
			return fmt.Errorf("refused: %s", reply.Data)
		}
	}
	return nil
}

func BenchmarkRead10000(b *testing.B) {
	e, err := journal.OpenEmbedded(b.Context(), b.TempDir(), journal.EmbeddedOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	var head journal.Head
	for head.Sequence < 10_000 {
		var evs []event.Event
		for i := range 100 {
			evs = append(evs, benchEvent(int(head.Sequence)+i))
		}
		rs, err := e.Append(b.Context(), "edge-1", head, evs...)
		if err != nil {
			b.Fatal(err)
		}
		head = rs[len(rs)-1].Head()
	}
	for b.Loop() {
		n := 0
		for _, err := range e.Read(b.Context(), "edge-1", 1) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n != 10_000 {
			b.Fatalf("%d records", n)
		}
	}
}

func BenchmarkHash(b *testing.B) {
	e := stamped()
	for b.Loop() {
		if _, err := events.Hash(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	e := stamped()
	for b.Loop() {
		header, body, err := journal.Encode(e)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := journal.Decode(header, body); err != nil {
			b.Fatal(err)
		}
	}
}

var rejection = events.StageRejected{Stage: events.StageIdle, Reason: events.ReasonIllegalTransition,
	Message: "the stage cannot be reached from here", ValidNextStages: []events.Stage{events.StageIdle}}

func benchEvent(n int) event.Event {
	return events.New(events.TypeStageRequested, fmt.Sprintf("%026d", n), "edge-1", "users/alice", "u1", events.StageRequested{Stage: events.StageIdle})
}

// stamped is an event as it stands in a history.
func stamped() event.Event {
	rs, err := journal.NewMemory(nil).Append(context.Background(), "edge-1", journal.Head{}, benchEvent(1),
		events.Caused(benchEvent(1), "functions/stage", events.TypeStageRejected, 0, rejection))
	if err != nil {
		panic(err)
	}
	return rs[1].Event
}

// laps reports median and 99th percentile beside the mean.
func laps(b *testing.B) (lap func()) {
	var all []time.Duration
	last := time.Now()
	b.Cleanup(func() {
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	})
	return func() {
		now := time.Now()
		all = append(all, now.Sub(last))
		last = now
	}
}

func subscribe(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = f(ctx) })
	return func() { cancel(); wg.Wait() }
}

func bareServer(b *testing.B) *nats.Conn {
	b.Helper()
	s, err := newServer(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	return nc
}
