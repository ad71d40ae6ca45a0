package link_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/node-executor/executor"
	"github.com/reroot-dev/reroot/node-executor/executor/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type both interface {
	executor.Commands
	executor.Facts
	executor.Progress
}

// links are a remote and a local one to stores of their own.
func links(t *testing.T) map[string]struct {
	store journal.Store
	link  both
} {
	t.Helper()
	served, err := journal.OpenEmbedded(t.Context(), t.TempDir(), journal.EmbeddedOptions{Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect(served.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		if err := served.Close(); err != nil {
			t.Error(err)
		}
	})
	memory := journal.NewMemory(time.Now)
	return map[string]struct {
		store journal.Store
		link  both
	}{
		"remote": {served, link.Remote{Cluster: "edge-1", Conn: conn, Log: slog.New(slog.DiscardHandler)}},
		"local":  {memory, link.Local{Cluster: "edge-1", Store: memory}},
	}
}

func cleanup(cluster, id string) event.Event {
	return events.New(events.TypeCleanupRequested, id, cluster, "functions/finalize", "u1", events.CleanupRequested{
		Command: events.Command{Attempt: 1, NotAfter: time.Now().UTC()}, Remove: []string{},
	})
}

func TestCommandsComeInOrderUntilAcknowledged(t *testing.T) {
	for name, l := range links(t) {
		t.Run(name, func(t *testing.T) {
			var head journal.Head
			appendTo := func(cluster string, from journal.Head, evs ...event.Event) journal.Head {
				t.Helper()
				for _, e := range evs {
					rec, err := l.store.Append(t.Context(), cluster, from, e)
					if err != nil {
						t.Fatal(err)
					}
					from = journal.Head{Sequence: events.Sequence(rec[0].Event), Hash: rec[0].Hash}
				}
				return from
			}
			other := events.New(events.TypeFinalizeStarted, "no-command", "edge-1", "functions/stage", "u1", events.FinalizeStarted{})
			head = appendTo("edge-1", head, cleanup("edge-1", "c1"), other, cleanup("edge-1", "c2"), cleanup("edge-1", "c3"))
			appendTo("edge-2", journal.Head{}, cleanup("edge-2", "foreign"))

			var got []string
			refused := errors.New("the disk is full")
			first := receive(t, l.link, func(e event.Event, hash string) (bool, error) {
				if want, err := events.Hash(e); err != nil || hash != want {
					t.Errorf("%s came with hash %s, want %s (%v)", e.ID(), hash, want, err)
				}
				if got = append(got, e.ID()); e.ID() == "c2" {
					return true, refused
				}
				return false, nil
			})
			if name == "remote" && !errors.Is(first, refused) {
				t.Errorf("receive: %v, want %v", first, refused)
			}
			// The process starts again: what it did not take comes again, and what came meanwhile after that.
			appendTo("edge-1", head, cleanup("edge-1", "c4"))
			_ = receive(t, l.link, func(e event.Event, _ string) (bool, error) {
				got = append(got, e.ID())
				return e.ID() == "c4", nil
			})
			if diff := cmp.Diff([]string{"c1", "c2", "c2", "c3", "c4"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// receive runs the link until handle says that it is enough.
func receive(t *testing.T, l both, handle func(e event.Event, hash string) (enough bool, err error)) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return l.Receive(ctx, func(_ context.Context, e event.Event, hash string) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		enough, err := handle(e, hash)
		if enough {
			cancel()
		}
		return err
	})
}

func TestFactsArriveUnchanged(t *testing.T) {
	for name, l := range links(t) {
		t.Run(name, func(t *testing.T) {
			fact := events.New(events.TypeConfirmCompleted, "f1", "edge-1", "node", "u1", events.ConfirmCompleted{Outcome: events.Outcome{Attempt: 1}})
			fact.SetExtension(events.ExtNodeSequence, "00000000000000000001")
			fact.SetTime(time.Now().UTC())
			if err := l.link.Submit(t.Context(), fact); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var got journal.Delivery
			_ = l.store.Receive(ctx, "admit", func(_ context.Context, d journal.Delivery) error {
				got = d
				cancel()
				return nil
			})
			want, err := events.Hash(fact)
			if err != nil {
				t.Fatal(err)
			}
			if hash, err := events.Hash(got.Event); err != nil || hash != want || got.Origin != "node" || got.Cluster != "edge-1" {
				t.Errorf("%s by %s of %s, %v:\n%s\nwant:\n%s", hash, got.Origin, got.Cluster, err, got.Event, fact)
			}
		})
	}
}

func TestProgressArrives(t *testing.T) {
	for name, l := range links(t) {
		t.Run(name, func(t *testing.T) {
			report := events.New(events.TypeStepProgressed, "p1", "edge-1", "node", "u1", events.StepProgressed{
				Of: "node.pivot.requested", Step: "write-units", State: events.StepRunning, Fraction: 0.5,
			})
			if err := l.link.Report(t.Context(), report); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			for e, err := range l.store.Reports(ctx, "edge-1") {
				if err != nil || e.ID() != "p1" {
					t.Errorf("%s, %v", e, err)
				}
				break
			}
		})
	}
}
