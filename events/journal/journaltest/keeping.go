package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

func park(t *testing.T, s journal.Store, e event.Event) {
	t.Helper()
	p := journal.Parked{Cluster: events.Cluster(e), Origin: "users", Reason: events.ReasonNodeDark, Detail: "the node is away", Event: &e}
	if err := s.Park(within(t), p); err != nil {
		t.Fatal(err)
	}
}

func parked(t *testing.T, s *Store) {
	park(t, s, request("edge-1", "a"))
	park(t, s, request("edge-2", "b"))
	park(t, s, request("edge-1", "c"))
	again := s.Reopen(t)
	for cluster, want := range map[string]string{"": "abc", "edge-1": "ac", "edge-2": "b", "edge-3": ""} {
		list, err := again.Parked(within(t), cluster)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, p := range list {
			got += p.Event.ID()
			if p.ID == "" || p.At.IsZero() || p.Reason != events.ReasonNodeDark || p.Detail == "" || p.Origin != "users" {
				t.Errorf("incomplete: %+v", p)
			}
		}
		if got != want {
			t.Errorf("of %q are parked %q, want %q", cluster, got, want)
		}
	}
	list, err := again.Parked(within(t), "edge-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Redrive(within(t), list[1].ID); err != nil {
		t.Fatal(err)
	}
	if err := again.Redrive(within(t), list[1].ID); !errors.Is(err, journal.ErrNotParked) {
		t.Errorf("redriven twice: %v", err)
	}
	if list, err = again.Parked(within(t), "edge-1"); err != nil || len(list) != 1 || list[0].Event.ID() != "a" {
		t.Errorf("left: %v, %v", list, err)
	}
	came := make(chan journal.Delivery, 1)
	running(t, func(ctx context.Context) error { return again.Receive(ctx, "admit", into(came)) })
	if d := next(t, came); d.Event.ID() != "c" || d.Origin != "users" {
		t.Errorf("redriven as %+v", d)
	}
}

func parkedTwice(t *testing.T, s *Store) {
	park(t, s, request("edge-1", "a"))
	park(t, s, request("edge-1", "a"))
	if list, err := s.Parked(within(t), "edge-1"); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// parkedAnyhow: an event that cannot be parked would be delivered for ever.
func parkedAnyhow(t *testing.T, s *Store) {
	broken := request("edge-1", "broken")
	broken.DataEncoded = []byte(`{"stage":`)
	huge := request("edge-1", "huge")
	huge.DataEncoded = fmt.Appendf(nil, "%q", strings.Repeat("x", 2<<20))
	park(t, s, broken)
	park(t, s, huge)
	list, err := s.Parked(within(t), "edge-1")
	if err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	if list[0].Event != nil || !bytes.Contains(list[0].Raw, []byte("ce-id: broken")) {
		t.Errorf("what is not JSON is kept as %+v", list[0])
	}
	if list[1].Event != nil || list[1].Raw != nil || !strings.Contains(list[1].Detail, "too large") {
		t.Errorf("what is too large is kept as %+v", list[1])
	}
	if err := s.Redrive(within(t), list[0].ID); err != nil {
		t.Fatal(err)
	}
	came := make(chan journal.Delivery, 1)
	running(t, func(ctx context.Context) error { return s.Receive(ctx, "admit", into(came)) })
	if d := next(t, came); d.Event.ID() != "broken" || string(d.Event.Data()) != `{"stage":` {
		t.Errorf("redriven as %v", d.Event)
	}
}

func progressed(id, step string, fraction float64) event.Event {
	return events.New(events.TypeStepProgressed, id, "edge-1", "node", "u1", events.StepProgressed{
		Of: "node.seedpull.requested", Step: step, State: "running", Fraction: fraction})
}

func progress(t *testing.T, s *Store) {
	for _, e := range []event.Event{progressed("1", "fetch layer", 0.1), progressed("2", "deploy", 0), progressed("3", "fetch layer", 0.9)} {
		if err := s.Report(within(t), e); err != nil {
			t.Fatal(err)
		}
	}
	came := make(chan string, 10)
	running(t, func(ctx context.Context) error {
		for e, err := range s.Reports(ctx, "edge-1") {
			if err != nil {
				return err
			}
			came <- e.ID()
		}
		return nil
	})
	for _, want := range []string{"2", "3"} {
		if got := next(t, came); got != want {
			t.Errorf("got report %s, want %s", got, want)
		}
	}
	if err := s.Report(within(t), progressed("4", "deploy", 1)); err != nil {
		t.Fatal(err)
	}
	if got := next(t, came); got != "4" {
		t.Errorf("got report %s, want 4", got)
	}
}

// due runs the deadlines of a store and returns where the names of the clusters come.
func due(t *testing.T, s journal.Store) <-chan string {
	came := make(chan string, 10)
	running(t, func(ctx context.Context) error {
		return s.Due(ctx, func(_ context.Context, cluster string) error { came <- cluster; return nil })
	})
	return came
}

func deadline(t *testing.T, s *Store) {
	came, at := due(t, s), time.Now().Add(300*time.Millisecond)
	if err := s.Set(within(t), "edge-1", at); err != nil {
		t.Fatal(err)
	}
	if got := next(t, came); got != "edge-1" {
		t.Errorf("%s is due", got)
	}
	if time.Now().Before(at) {
		t.Error("too early")
	}
}

func deadlineReplaced(t *testing.T, s *Store) {
	came := due(t, s)
	if err := s.Set(within(t), "edge-1", time.Now().Add(300*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(within(t), "edge-1", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(within(t), "edge-2", time.Now().Add(800*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got := next(t, came); got != "edge-2" {
		t.Errorf("%s is due although its timer was replaced", got)
	}
}

func deadlineMissed(t *testing.T, s *Store) {
	at := time.Now().Add(100 * time.Millisecond)
	if err := s.Set(within(t), "edge-1", at); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(within(t), "edge-2", at.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	again := s.Reopen(t)
	came := due(t, again)
	got := map[string]bool{next(t, came): true, next(t, came): true}
	if !got["edge-1"] || !got["edge-2"] {
		t.Errorf("due: %v", got)
	}
}
