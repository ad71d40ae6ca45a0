package journaltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

func appendAndRead(t *testing.T, s *Store) {
	e := request("edge-1", "a")
	e.SetExtension("custom", 7) // not text: the hash must survive the way through headers
	e.SetExtension("comment", `Euro € 😀 "100%"`)
	rs, err := s.Append(within(t), "edge-1", journal.Head{}, e)
	if err != nil {
		t.Fatal(err)
	}
	if _, stamped := e.Extensions()[events.ExtSequence]; stamped {
		t.Error("the caller's event was changed")
	}
	head := grow(t, s, "edge-1", rs[0].Head(), 2)
	if head.Sequence != 3 {
		t.Errorf("head is %d", head.Sequence)
	}
	all := read(t, s, "edge-1", 1)
	if len(all) != 3 || all[0].Hash != rs[0].Hash || all[2].Head() != head {
		t.Fatalf("read %d records, %v", len(all), all)
	}
	first := all[0].Event
	if first.Time().IsZero() || events.Recorded(first).IsZero() || events.Sequence(first) != 1 {
		t.Errorf("not stamped: %v", first)
	}
	if got := first.Extensions()["comment"]; got != `Euro € 😀 "100%"` {
		t.Errorf("comment became %q", got)
	}
	if !bytes.Equal(first.Data(), e.Data()) {
		t.Errorf("data became %q", first.Data())
	}
	if tail := read(t, s, "edge-1", 3); len(tail) != 1 || tail[0].Hash != head.Hash {
		t.Errorf("reading from 3 gives %v", tail)
	}
	if past := read(t, s, "edge-1", 4); len(past) != 0 {
		t.Errorf("reading past the end gives %v", past)
	}
	for _, err := range s.Read(within(t), "edge-1", 5) {
		if !errors.Is(err, journal.ErrRestarted) {
			t.Errorf("reading after what is not there: %v", err)
		}
	}
}

func conflict(t *testing.T, s *Store) {
	head := grow(t, s, "edge-1", journal.Head{}, 2)
	for name, stale := range map[string]journal.Head{
		"empty": {}, "behind": {Sequence: 1, Hash: read(t, s, "edge-1", 1)[0].Hash}, "ahead": {Sequence: 3, Hash: head.Hash}, "other": {Sequence: 2, Hash: "00"},
	} {
		if _, err := s.Append(within(t), "edge-1", stale, request("edge-1", "x")); !errors.Is(err, journal.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	grow(t, s, "edge-1", head, 1)
	if n := len(read(t, s, "edge-1", 1)); n != 3 {
		t.Errorf("%d records", n)
	}
}

func foreign(t *testing.T, s *Store) {
	unknown := request("edge-1", "x")
	unknown.SetType("dev.reroot.nothing.v1")
	wild := request("edge-1", "x")
	wild.SetSubject("u1.>")
	for name, e := range map[string]event.Event{"another cluster's": request("edge-2", "x"), "unknown": unknown, "wild": wild} {
		if _, err := s.Append(within(t), "edge-1", journal.Head{}, e); err == nil {
			t.Errorf("%s event was appended", name)
		}
	}
	if names, err := s.Clusters(within(t)); err != nil || len(names) != 0 {
		t.Errorf("clusters %v, %v", names, err)
	}
}

func batch(t *testing.T, s *Store) {
	three := []event.Event{request("edge-1", "a"), rejected("edge-1", "b"), request("edge-1", "c")}
	rs, err := s.Append(within(t), "edge-1", journal.Head{}, three...)
	if err != nil || len(rs) != 3 {
		t.Fatalf("%d records, %v", len(rs), err)
	}
	if _, err := s.Append(within(t), "edge-1", rs[1].Head(), request("edge-1", "d"), request("edge-1", "e")); !errors.Is(err, journal.ErrConflict) {
		t.Errorf("a stale batch: %v", err)
	}
	grow(t, s, "edge-1", rs[2].Head(), 1)
	var ids []string
	for _, r := range read(t, s, "edge-1", 1) {
		ids = append(ids, r.Event.ID())
	}
	if want := []string{"a", "b", "c", "edge-1-4"}; !slices.Equal(ids, want) {
		t.Errorf("%v, want %v", ids, want)
	}
}

func eightWriters(t *testing.T, s *Store) {
	const writers, each = 8, 12
	// Somebody always wins, but nobody is promised to: the limit is for all of them together.
	ctx, cancel := context.WithTimeout(t.Context(), writers*limit)
	defer cancel()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if err := insist(ctx, s, "edge-1", fmt.Sprintf("%d-%d", w, i), 1+i%2); err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	all := read(t, s, "edge-1", 1) // Read checks that there is no gap and no fork
	if want := writers * each * 3 / 2; len(all) != want {
		t.Errorf("%d records, want %d", len(all), want)
	}
	seen := map[string]bool{}
	for _, r := range all {
		seen[r.Event.ID()] = true
	}
	if len(seen) != len(all) {
		t.Errorf("%d different ids in %d records", len(seen), len(all))
	}
}

// insist appends n events, looking again as often as another writer was first.
func insist(ctx context.Context, log journal.Log, cluster, id string, n int) error {
	var head journal.Head
	for {
		for r, err := range log.Read(ctx, cluster, head.Sequence+1) {
			if err != nil {
				return err
			}
			head = r.Head()
		}
		var evs []event.Event
		for i := range n {
			evs = append(evs, request(cluster, fmt.Sprintf("%s-%d", id, i)))
		}
		if _, err := log.Append(ctx, cluster, head, evs...); !errors.Is(err, journal.ErrConflict) {
			return err
		}
	}
}

func clusters(t *testing.T, s *Store) {
	grow(t, s, "edge-2", journal.Head{}, 2)
	grow(t, s, "edge-1", journal.Head{}, 1)
	grow(t, s, "edge-10", journal.Head{}, 1)
	names, err := s.Clusters(within(t))
	if err != nil || !slices.Equal(names, []string{"edge-1", "edge-10", "edge-2"}) {
		t.Errorf("clusters %v, %v", names, err)
	}
	if n := len(read(t, s, "edge-1", 1)); n != 1 {
		t.Errorf("edge-1 has %d records", n)
	}
}

func watch(t *testing.T, s *Store) {
	head := grow(t, s, "edge-1", journal.Head{}, 2)
	came := make(chan journal.Record, 10)
	stop := running(t, func(ctx context.Context) error {
		for r, err := range s.Watch(ctx, "edge-1", 2) {
			if err != nil {
				return err
			}
			came <- r
		}
		return nil
	})
	if r := next(t, came); r.Head() != head {
		t.Errorf("first is %v", r.Event)
	}
	head = grow(t, s, "edge-1", head, 2)
	next(t, came)
	if r := next(t, came); r.Head() != head {
		t.Errorf("last is %v", r.Event)
	}
	stop()
}

func flippedBit(t *testing.T, s *Store) {
	grow(t, s, "edge-1", journal.Head{}, 1)
	// What a store would hold as number 2 and 3, the first of them changed after it was stamped.
	shadow := journal.NewMemory(nil)
	rs, err := shadow.Append(within(t), "edge-1", journal.Head{}, read(t, s, "edge-1", 1)[0].Event)
	if err != nil {
		t.Fatal(err)
	}
	if rs, err = shadow.Append(within(t), "edge-1", rs[0].Head(), request("edge-1", "b"), request("edge-1", "c")); err != nil {
		t.Fatal(err)
	}
	rs[0].Event.SetExtension(events.ExtPrevHash, read(t, s, "edge-1", 1)[0].Hash)
	rs[0].Event.SetID("B")
	s.Forge(t, "edge-1", rs[0].Event)
	s.Forge(t, "edge-1", rs[1].Event)
	broken(t, s, 3)
}

func forged(t *testing.T, s *Store) {
	grow(t, s, "edge-1", journal.Head{}, 2)
	e := request("edge-1", "forged")
	e.SetExtension(events.ExtSequence, fmt.Sprintf("%020d", 3))
	e.SetExtension(events.ExtPrevHash, "00")
	s.Forge(t, "edge-1", e)
	broken(t, s, 3)
}

// broken checks that reading ends with a chain error at ordinal want, from wherever reading begins.
func broken(t *testing.T, s *Store, want uint64) {
	t.Helper()
	for from := uint64(1); from <= want; from++ {
		good, last := 0, error(nil)
		for _, err := range s.Read(within(t), "edge-1", from) {
			if last = err; err == nil {
				good++
			}
		}
		var chain *events.ChainError
		if !errors.As(last, &chain) || chain.Sequence != want {
			t.Errorf("from %d: %v, want a chain error at %d", from, last, want)
		}
		if good != int(want-from) {
			t.Errorf("from %d: %d good records", from, good)
		}
	}
}

func restarted(t *testing.T, s *Store) {
	restart := events.New(events.TypeJournalRestarted, "restart", "edge-1", "runtime", "u1", events.JournalRestarted{Quarantined: "old", Message: "damaged"})
	if _, err := s.Restart(within(t), "edge-1", restart); err == nil {
		t.Error("a history that does not exist was restarted")
	}
	grow(t, s, "edge-1", journal.Head{}, 2)
	e := request("edge-1", "forged")
	e.SetExtension(events.ExtSequence, fmt.Sprintf("%020d", 3))
	e.SetExtension(events.ExtPrevHash, "00")
	s.Forge(t, "edge-1", e)
	broken(t, s, 3)
	if _, err := s.Restart(within(t), "edge-1", request("edge-1", "x")); err == nil {
		t.Error("a history was restarted with a request")
	}
	first, err := s.Restart(within(t), "edge-1", restart)
	if err != nil {
		t.Fatal(err)
	}
	head := grow(t, s, "edge-1", first.Head(), 2)
	for _, log := range []func() journal.Log{func() journal.Log { return s }, func() journal.Log { return s.Reopen(t) }} {
		if all := read(t, log(), "edge-1", 1); len(all) != 3 || all[0].Hash != first.Hash || all[2].Head() != head {
			t.Errorf("%d records: %v", len(all), all)
		}
	}
}

func survives(t *testing.T, s *Store) {
	head := grow(t, s, "edge-1", journal.Head{}, 3)
	again := s.Reopen(t)
	if all := read(t, again, "edge-1", 1); len(all) != 3 || all[2].Head() != head {
		t.Fatalf("%d records", len(all))
	}
	grow(t, again, "edge-1", head, 1)
}

func export(t *testing.T, s *Store) {
	head := grow(t, s, "edge-1", journal.Head{}, 5)
	var file bytes.Buffer
	if err := journal.Export(within(t), s, "edge-1", &file); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(file.Bytes(), []byte("\n")); n != 5 {
		t.Errorf("%d lines", n)
	}
	m, err := journal.Import(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if all := read(t, m, "edge-1", 1); len(all) != 5 || all[4].Head() != head {
		t.Errorf("%d records came back", len(all))
	}
	tampered := bytes.Replace(file.Bytes(), []byte("edge-1-2"), []byte("edge-1-7"), 1)
	var chain *events.ChainError
	if _, err := journal.Import(bytes.NewReader(tampered)); !errors.As(err, &chain) || chain.Sequence != 3 {
		t.Errorf("a tampered export: %v", err)
	}
}
