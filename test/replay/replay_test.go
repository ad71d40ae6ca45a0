// Package replay replays recorded histories: what was recorded by a release must be read by every later one. The files
// are what journal.Export wrote of upgrades in the lab (see package e2e), one directory a release:
//
//	upgrade    a good upgrade, up to where the way back is still open
//	finalize   the same, to its end
//	rollback   a failure behind the pivot, and the way back
//	abort      bad requests, each refused with its reason, then a good one that is given up
//	crash      processes killed and power cut on the way
package replay_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/finalize"
	"github.com/reroot-dev/reroot/functions/pivot"
	"github.com/reroot-dev/reroot/functions/pullseed"
	"github.com/reroot-dev/reroot/functions/rollback"
	"github.com/reroot-dev/reroot/functions/stage"
)

// pure are the functions whose answers follow from the history alone.
var pure = map[string]functions.Handler{
	stage.Name: stage.Function{}, pullseed.Name: pullseed.Function{}, pivot.Name: pivot.Function{},
	rollback.Name: rollback.Function{}, finalize.Name: finalize.Function{},
}

// history is one recorded history: records[i] leads to states[i+1].
type history struct {
	records []journal.Record
	states  []upgrade.State
}

// each runs a test on every recorded history.
func each(t *testing.T, test func(t *testing.T, file string)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("there are no recorded histories")
	}
	for _, file := range files {
		t.Run(strings.TrimPrefix(file, "testdata/"), func(t *testing.T) { test(t, file) })
	}
}

// read imports a history, which checks its chain, and folds each of its prefixes.
func read(t *testing.T, text []byte) history {
	t.Helper()
	log, err := journal.Import(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	clusters, err := log.Clusters(t.Context())
	if err != nil || len(clusters) != 1 {
		t.Fatalf("it is of clusters %v: %v", clusters, err)
	}
	h := history{states: []upgrade.State{upgrade.New(clusters[0])}}
	for r, err := range log.Read(t.Context(), clusters[0], 1) {
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.states[len(h.states)-1].Apply(r.Event, r.Hash)
		if err != nil {
			t.Fatalf("event %d cannot be folded: %v", len(h.states), err)
		}
		h.records, h.states = append(h.records, r), append(h.states, s)
	}
	return h
}

func load(t *testing.T, file string) (history, []byte) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, text), text
}

// TestPrefixes resumes every history after each of its events: folding goes to the same end, the events still satisfy
// their schemas, and an export is what was imported, byte for byte.
func TestPrefixes(t *testing.T) {
	each(t, func(t *testing.T, file string) {
		h, text := load(t, file)
		for i, r := range h.records {
			if p := events.Validate(r.Event); p != nil {
				t.Errorf("event %d is not valid any more: %v", i+1, p)
			}
		}
		end := h.states[len(h.states)-1]
		lines := bytes.SplitAfter(text, []byte("\n"))
		for n := 1; n < len(h.records); n++ {
			s := read(t, bytes.Join(lines[:n], nil)).states[n]
			for _, r := range h.records[n:] {
				var err error
				if s, err = s.Apply(r.Event, r.Hash); err != nil {
					t.Fatalf("resumed after %d: %v", n, err)
				}
			}
			if s.Phase != end.Phase || s.Hash != end.Hash || s.Result != end.Result || s.Sequence != end.Sequence {
				t.Errorf("resumed after %d it ends in %s at %d, want %s at %d", n, s.Phase, s.Sequence, end.Phase, end.Sequence)
			}
		}
		log, err := journal.Import(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := journal.Export(t.Context(), log, end.Cluster, &again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.Bytes(), text) {
			t.Error("its export is another text")
		}
	})
}

// TestDecisions runs the pure functions on every prefix: they decide today what they decided then. Each answer is in
// the history, the same down to its id and payload, unless the history had moved on before it could be appended; and
// each decision of theirs in the history is an answer.
func TestDecisions(t *testing.T) {
	each(t, func(t *testing.T, file string) {
		h, _ := load(t, file)
		recorded := map[string]event.Event{}
		for _, r := range h.records {
			recorded[r.Event.ID()] = r.Event
		}
		answered := map[string]bool{}
		for i, r := range h.records {
			for name, out := range decide(t, h.states[i+1], r.Event) {
				for _, answer := range out {
					answered[answer.ID()] = true
					was, is := recorded[answer.ID()]
					if !is {
						h.overtaken(t, i+1, name, answer)
						continue
					}
					if was.Type() != answer.Type() || !bytes.Equal(was.Data(), answer.Data()) {
						t.Errorf("on event %d %s says %s %s, then it said %s %s", i+1, name, answer.Type(), answer.Data(), was.Type(), was.Data())
					}
				}
			}
		}
		for _, r := range h.records {
			if writer := events.Writer(r.Event.Source()); pure[writer] != nil && !answered[r.Event.ID()] {
				t.Errorf("%s of %s is in the history, but the function does not say it", events.TypeOf(r.Event).Short(), writer)
			}
		}
	})
}

// decide asks every pure function that reacts to the event.
func decide(t *testing.T, s upgrade.State, e event.Event) map[string][]event.Event {
	t.Helper()
	all := map[string][]event.Event{}
	for name, f := range pure {
		if !slices.Contains(upgrade.Subscriptions(name), events.TypeOf(e)) {
			continue
		}
		out, err := f.Handle(context.Background(), s, e)
		if err != nil {
			t.Fatalf("%s on event %d: %v", name, s.Sequence, err)
		}
		all[name] = out
	}
	return all
}

// overtaken checks that an answer that is not in the history had become illegal by the next event.
func (h history) overtaken(t *testing.T, n int, function string, answer event.Event) {
	t.Helper()
	for _, s := range h.states[n+1:] {
		if _, err := s.Apply(answer, ""); err != nil {
			return
		}
	}
	t.Errorf("on event %d %s says %s, which is not in the history", n, function, events.TypeOf(answer).Short())
}

// TestTampering: a history in which anything was changed, left out or exchanged is not replayed.
func TestTampering(t *testing.T) {
	each(t, func(t *testing.T, file string) {
		_, text := load(t, file)
		lines := bytes.SplitAfter(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
		for i := range lines[:len(lines)-1] {
			without := slices.Delete(slices.Clone(lines), i, i+1)
			if _, err := journal.Import(bytes.NewReader(bytes.Join(without, nil))); err == nil {
				t.Errorf("without event %d it is imported", i+1)
			}
			changed := slices.Clone(lines)
			changed[i] = bytes.Replace(lines[i], []byte(`"subject":"`), []byte(`"subject":"x`), 1)
			if _, err := journal.Import(bytes.NewReader(bytes.Join(changed, nil))); err == nil {
				t.Errorf("with event %d changed it is imported", i+1)
			}
		}
	})
}
