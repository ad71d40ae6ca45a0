package journaltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// into hands deliveries to a channel and acknowledges them.
func into(ch chan<- journal.Delivery) journal.Handle {
	return func(_ context.Context, d journal.Delivery) error { ch <- d; return nil }
}

func subscribeInOrder(t *testing.T, s *Store) {
	head := grow(t, s, "edge-1", journal.Head{}, 5)
	rs, err := s.Append(within(t), "edge-1", head, rejected("edge-1", "r"))
	if err != nil {
		t.Fatal(err)
	}
	some, all := make(chan journal.Delivery, 100), make(chan journal.Delivery, 100)
	running(t, func(ctx context.Context) error {
		return s.Subscribe(ctx, "some", []events.Type{events.TypeStageRequested}, into(some))
	})
	running(t, func(ctx context.Context) error { return s.Subscribe(ctx, "all", nil, into(all)) })
	grow(t, s, "edge-1", rs[0].Head(), 20)
	for _, r := range read(t, s, "edge-1", 1) {
		d := next(t, all)
		if d.Event.ID() != r.Event.ID() || d.Hash != r.Hash || d.Cluster != "edge-1" || d.Attempt != 1 {
			t.Errorf("all: got %s, want %s", d.Event.ID(), r.Event.ID())
		}
		if events.TypeOf(r.Event) != events.TypeStageRequested {
			continue
		}
		if d := next(t, some); d.Event.ID() != r.Event.ID() {
			t.Errorf("some: got %s, want %s", d.Event.ID(), r.Event.ID())
		}
	}
}

func clustersApart(t *testing.T, s *Store) {
	grow(t, s, "slow", journal.Head{}, 2)
	grow(t, s, "fast", journal.Head{}, 2)
	release, came := make(chan struct{}), make(chan string, 10)
	running(t, func(ctx context.Context) error {
		return s.Subscribe(ctx, "f", nil, func(ctx context.Context, d journal.Delivery) error {
			if d.Cluster == "slow" {
				select {
				case <-release:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			came <- d.Event.ID()
			return nil
		})
	})
	for _, want := range []string{"fast-1", "fast-2"} {
		if got := next(t, came); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	close(release)
	for _, want := range []string{"slow-1", "slow-2"} {
		if got := next(t, came); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func redelivered(t *testing.T, s *Store) {
	grow(t, s, "edge-1", journal.Head{}, 3)
	begun := make(chan journal.Delivery, 10)
	stop := running(t, func(ctx context.Context) error {
		return s.Subscribe(ctx, "f", nil, func(ctx context.Context, d journal.Delivery) error {
			begun <- d
			<-ctx.Done() // the process dies while it works
			return ctx.Err()
		})
	})
	next(t, begun)
	stop()
	again, came := s.Reopen(t), make(chan journal.Delivery, 10)
	running(t, func(ctx context.Context) error { return again.Subscribe(ctx, "f", nil, into(came)) })
	got := map[string]int{}
	for range 3 {
		d := next(t, came)
		got[d.Event.ID()] = d.Attempt
	}
	if len(got) != 3 || got["edge-1-1"] < 2 {
		t.Errorf("attempts: %v", got)
	}
}

func acknowledged(t *testing.T, s *Store) {
	head := grow(t, s, "edge-1", journal.Head{}, 2)
	came := make(chan journal.Delivery, 10)
	stop := running(t, func(ctx context.Context) error { return s.Subscribe(ctx, "f", nil, into(came)) })
	next(t, came)
	next(t, came)
	stop()
	stop = running(t, func(ctx context.Context) error { return s.Subscribe(ctx, "f", nil, into(came)) })
	grow(t, s, "edge-1", head, 1)
	if d := next(t, came); d.Event.ID() != "edge-1-3" {
		t.Errorf("got %s again", d.Event.ID())
	}
	stop()
}

func later(t *testing.T, s *Store) {
	grow(t, s, "edge-1", journal.Head{}, 2)
	came := make(chan string, 10)
	running(t, func(ctx context.Context) error {
		return s.Subscribe(ctx, "f", nil, func(_ context.Context, d journal.Delivery) error {
			came <- fmt.Sprint(d.Event.ID(), " ", d.Attempt)
			if d.Event.ID() == "edge-1-1" && d.Attempt == 1 {
				return fmt.Errorf("waiting: %w", &journal.Later{After: 200 * time.Millisecond})
			}
			return nil
		})
	})
	for _, want := range []string{"edge-1-1 1", "edge-1-2 1", "edge-1-1 2"} {
		if got := next(t, came); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func failed(t *testing.T, s *Store) {
	grow(t, s, "edge-1", journal.Head{}, 1)
	attempts := make(chan int, 10)
	running(t, func(ctx context.Context) error {
		return s.Subscribe(ctx, "f", nil, func(_ context.Context, d journal.Delivery) error {
			attempts <- d.Attempt
			if d.Attempt < 3 {
				return errors.New("not now")
			}
			return nil
		})
	})
	for want := 1; want <= 3; want++ {
		if got := next(t, attempts); got != want {
			t.Errorf("attempt %d, want %d", got, want)
		}
	}
}

func slow(t *testing.T, s *Store) {
	head := grow(t, s, "edge-1", journal.Head{}, 1)
	came := make(chan string, 10)
	for range 2 { // the second one would get what the first is taken to have lost
		running(t, func(ctx context.Context) error {
			return s.Subscribe(ctx, "f", nil, func(ctx context.Context, d journal.Delivery) error {
				came <- d.Event.ID()
				if d.Event.ID() == "edge-1-1" {
					select {
					case <-time.After(slowly):
					case <-ctx.Done():
					}
					came <- "done"
				}
				return ctx.Err()
			})
		})
	}
	for _, want := range []string{"edge-1-1", "done"} {
		if got := next(t, came); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	grow(t, s, "edge-1", head, 1)
	if got := next(t, came); got != "edge-1-2" {
		t.Errorf("got %s again", got)
	}
}

func shared(t *testing.T, s *Store) {
	const n = 40
	came := make(chan journal.Delivery, 2*n)
	for range 2 {
		running(t, func(ctx context.Context) error { return s.Subscribe(ctx, "f", nil, into(came)) })
	}
	grow(t, s, "edge-1", journal.Head{}, n)
	seen := map[string]bool{}
	for range n {
		d := next(t, came)
		if seen[d.Event.ID()] {
			t.Errorf("%s came twice", d.Event.ID())
		}
		seen[d.Event.ID()] = true
	}
}

func inbox(t *testing.T, s *Store) {
	for i := range 5 {
		if err := s.Submit(within(t), "users", request("edge-1", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Submit(within(t), "not.a.token", request("edge-1", "x")); err == nil {
		t.Error("an origin that is no token was accepted")
	}
	came := make(chan journal.Delivery, 10)
	running(t, func(ctx context.Context) error { return s.Receive(ctx, "admit", into(came)) })
	for i := range 5 {
		d := next(t, came)
		if d.Event.ID() != fmt.Sprint(i) || d.Origin != "users" || d.Cluster != "edge-1" || d.Err != nil || d.Hash != "" {
			t.Errorf("delivery %d is %+v", i, d)
		}
	}
}

func structured(t *testing.T, s *Store) {
	e := request("edge-1", "s")
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	s.Post(t, "edge-1", "users", map[string]string{"content-type": "application/CloudEvents+json; charset=utf-8"}, body)
	came := make(chan journal.Delivery, 1)
	running(t, func(ctx context.Context) error { return s.Receive(ctx, "admit", into(came)) })
	if d := next(t, came); d.Err != nil || d.Event.ID() != "s" || string(d.Event.Data()) != string(e.Data()) {
		t.Errorf("%v, %v", d.Event, d.Err)
	}
}

func poison(t *testing.T, s *Store) {
	s.Post(t, "edge-1", "users", map[string]string{"ce-id": "1"}, []byte("not an event"))
	came := make(chan journal.Delivery, 2)
	running(t, func(ctx context.Context) error { return s.Receive(ctx, "admit", into(came)) })
	d := next(t, came)
	if d.Err == nil || d.Cluster != "edge-1" || d.Origin != "users" {
		t.Fatalf("%+v", d)
	}
	p := journal.Parked{Cluster: d.Cluster, Origin: d.Origin, Reason: events.ReasonInvalidEvent, Detail: d.Err.Error(), Raw: d.Raw}
	if err := s.Park(within(t), p); err != nil {
		t.Fatal(err)
	}
	list, err := s.Parked(within(t), "")
	if err != nil || len(list) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if err := s.Redrive(within(t), list[0].ID); err != nil {
		t.Fatal(err)
	}
	if again := next(t, came); string(again.Raw) != string(d.Raw) {
		t.Errorf("redriven as %q, was %q", again.Raw, d.Raw)
	}
}
