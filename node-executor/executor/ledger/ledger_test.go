package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
)

// disk is a ledger.Disk in memory. One append, the one with number failAt, fails after keep of its bytes.
type disk struct {
	data    []byte
	appends int
	failAt  int
	keep    int
}

var errCrash = errors.New("power cut")

func (d *disk) Read() ([]byte, error)  { return d.data, nil }
func (d *disk) Truncate(n int64) error { d.data = d.data[:n]; return nil }
func (d *disk) Replace(b []byte) error { d.data = b; return nil }
func (d *disk) Append(b []byte) error {
	d.appends++
	if d.appends == d.failAt {
		d.data = append(d.data, b[:min(d.keep, len(b))]...)
		return errCrash
	}
	d.data = append(d.data, b...)
	return nil
}

func command(id, upgrade string, t events.Type) ledger.Job {
	e := events.New(t, id, "edge-1", "functions/pivot", upgrade, map[string]any{"attempt": 1})
	return ledger.Job{ID: id, Type: t, Cause: e, Data: e.Data(), Attempt: 1}
}

func accepted(j ledger.Job) ledger.Entry {
	return ledger.Entry{Kind: ledger.Accepted, Job: j.ID, Accept: &j, Sequence: 7, Hash: "h7"}
}

func fact(id string) *event.Event {
	e := events.New(events.TypePivotCompleted, id, "edge-1", "node", "u1", map[string]any{"n": id})
	return &e
}

// story is a life of the ledger, one record a line.
func story() [][]ledger.Entry {
	pivot := command("p", "u1", events.TypePivotRequested)
	return [][]ledger.Entry{
		{{Kind: ledger.Started, Booted: &events.Deployment{Stateroot: "old"}, BootID: "b1"}},
		{accepted(pivot)},
		{accepted(command("c", "u1", events.TypeCryptoregenRequested))},
		{{Kind: ledger.Began, Job: "p", Step: "one", BootID: "b1", At: 10}},
		{{Kind: ledger.Done, Job: "p", Step: "one", BootID: "b1", At: 12.5, Notes: map[string]json.RawMessage{"n": []byte(`"v"`)}}},
		{{Kind: ledger.Began, Job: "p", Step: "two", BootID: "b1", At: 12.5}},
		{{Kind: ledger.Ended, Job: "p", BootID: "b2", Result: ledger.Completed, Fact: fact("f1")}, {Kind: ledger.Started, BootID: "b2"}},
		{{Kind: ledger.Reported, Fact: fact("f2")}},
		{{Kind: ledger.Sent, Sequence: 1}},
	}
}

func TestFold(t *testing.T) {
	l := open(t, &disk{})
	for _, entries := range story() {
		must(t, l, entries...)
	}
	s := l.State()
	p, _ := s.Job("p")
	switch {
	case p.Result != ledger.Completed || p.Seconds != 2.5 || string(p.Notes["n"]) != `"v"`:
		t.Errorf("pivot: %+v", p)
	case s.BootID != "b2" || s.Sequence != 7 || s.Hash != "h7" || !s.Knows("p") || !s.Knows("c") || s.Knows("x"):
		t.Errorf("state: %+v", s)
	case len(s.Outbox) != 1 || s.Outbox[0].ID() != "f2" || s.FirstUnsent() != 2:
		t.Errorf("outbox: %v", s.Outbox)
	}
}

func TestFactsAreChained(t *testing.T) {
	l := open(t, &disk{})
	s := must(t, l, ledger.Entry{Kind: ledger.Reported, Fact: fact("f1")}, ledger.Entry{Kind: ledger.Reported, Fact: fact("f2")})
	first, err := events.Hash(s.Outbox[0])
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Outbox[1].Extensions()[events.ExtNodePrevHash]; got != first {
		t.Errorf("the second fact follows %v, want %s", got, first)
	}
	if _, has := s.Outbox[0].Extensions()[events.ExtNodePrevHash]; has {
		t.Error("the first fact follows something")
	}
	for i, e := range s.Outbox {
		if got, want := e.Extensions()[events.ExtNodeSequence], fmt.Sprintf("%020d", i+1); got != want {
			t.Errorf("fact %d has ordinal %v", i+1, got)
		}
	}
}

// TestCrash cuts each append off at many places, the last bytes among them: what was acknowledged is there, what was not is there
// completely or not at all, and the ledger goes on.
func TestCrash(t *testing.T) {
	whole := &disk{}
	states := []ledger.State{{}}
	var lengths []int
	l := open(t, whole)
	for _, entries := range story() {
		before := len(whole.data)
		states = append(states, must(t, l, entries...))
		lengths = append(lengths, len(whole.data)-before)
	}
	for n, length := range lengths {
		for keep := range length + 1 {
			if keep%11 != 0 && keep < length-3 {
				continue
			}
			d := &disk{failAt: n + 1, keep: keep}
			l := open(t, d)
			for i, entries := range story()[:n+1] {
				if _, err := l.Append(entries...); (err != nil) != (i == n) {
					t.Fatalf("append %d: %v", i, err)
				}
			}
			if _, err := l.Append(story()[n]...); !errors.Is(err, ledger.ErrBroken) {
				t.Fatalf("append after a failed one: %v, want %v", err, ledger.ErrBroken)
			}
			l = open(t, d)
			want := states[n]
			rest := story()[n:]
			if keep == length {
				want, rest = states[n+1], story()[n+1:]
			}
			if diff := cmp.Diff(want, l.State(), sameEvents()); diff != "" {
				t.Fatalf("append %d cut after %d of %d bytes:\n%s", n, keep, length, diff)
			}
			for _, entries := range rest {
				must(t, l, entries...)
			}
			if diff := cmp.Diff(states[len(states)-1], open(t, d).State(), sameEvents()); diff != "" {
				t.Fatalf("going on after append %d was cut after %d bytes:\n%s", n, keep, diff)
			}
		}
	}
}

func TestDamageIsNotATornEnd(t *testing.T) {
	d := &disk{}
	l := open(t, d)
	for _, entries := range story() {
		must(t, l, entries...)
	}
	i := strings.Index(string(d.data), "pivot")
	d.data[i] ^= 1
	if _, err := ledger.Open(d); !errors.Is(err, ledger.ErrDamaged) {
		t.Errorf("open: %v, want %v", err, ledger.ErrDamaged)
	}
}

func TestCompactKeepsEverything(t *testing.T) {
	d := &disk{}
	l := open(t, d)
	for _, entries := range story() {
		must(t, l, entries...)
	}
	before := l.State()
	if err := l.Compact(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(d.data), "\n"); n != 1 || l.Size() != len(d.data) {
		t.Errorf("%d records, %d of %d bytes", n, l.Size(), len(d.data))
	}
	if diff := cmp.Diff(before, open(t, d).State(), sameEvents()); diff != "" {
		t.Error(diff)
	}
}

func TestSupersede(t *testing.T) {
	for name, tc := range map[string]struct {
		then ledger.Entry
		want map[string]bool
	}{
		"rollback takes every place": {accepted(command("r", "u1", events.TypeNodeRollbackRequested)), map[string]bool{"p": true, "c": true}},
		"cleanup takes every place":  {accepted(command("x", "u1", events.TypeCleanupRequested)), map[string]bool{"p": true, "c": true}},
		"a failed pivot takes its followers along": {
			ledger.Entry{Kind: ledger.Ended, Job: "p", Result: ledger.NotDone}, map[string]bool{"p": false, "c": true},
		},
		"a completed pivot does not": {
			ledger.Entry{Kind: ledger.Ended, Job: "p", Result: ledger.Completed}, map[string]bool{"p": false, "c": false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t, &disk{})
			must(t, l, accepted(command("p", "u1", events.TypePivotRequested)), accepted(command("c", "u1", events.TypeCryptoregenRequested)))
			s := must(t, l, tc.then)
			for id, want := range tc.want {
				if j, _ := s.Job(id); j.Superseded != want {
					t.Errorf("%s: superseded %t, want %t", id, j.Superseded, want)
				}
			}
		})
	}
}

func TestCleanupClosesTheUpgrade(t *testing.T) {
	l := open(t, &disk{})
	must(t, l, accepted(command("p", "u1", events.TypePivotRequested)), accepted(command("x", "u1", events.TypeCleanupRequested)))
	s := must(t, l, ledger.Entry{Kind: ledger.Ended, Job: "x", Result: ledger.Completed})
	if len(s.Jobs) != 0 || len(s.Closed) != 1 || s.Closed[0] != "u1" || !s.Knows("p") {
		t.Errorf("state: %+v", s)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	l := open(t, &disk{})
	var s ledger.State
	for i := range 1000 {
		s = must(t, l, accepted(command(fmt.Sprint("x", i), fmt.Sprint("u", i), events.TypeCleanupRequested)),
			ledger.Entry{Kind: ledger.Ended, Job: fmt.Sprint("x", i), Result: ledger.Completed})
	}
	if len(s.Commands) != 256 || !s.Knows("x999") || len(s.Closed) != 32 || s.Closed[31] != "u999" {
		t.Errorf("%d commands and %d upgrades are remembered", len(s.Commands), len(s.Closed))
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger")
	l := open(t, ledger.File(path))
	for i, entries := range story() {
		must(t, l, entries...)
		if i == 4 {
			if err := l.Compact(); err != nil {
				t.Fatal(err)
			}
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("0123abcd [{"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, ledger.File(path))
	if diff := cmp.Diff(l.State(), again.State(), sameEvents()); diff != "" {
		t.Error(diff)
	}
	must(t, again, ledger.Entry{Kind: ledger.Sent, Sequence: 2})
	if s := open(t, ledger.File(path)).State(); len(s.Outbox) != 0 {
		t.Errorf("outbox: %v", s.Outbox)
	}
}

func open(t *testing.T, d ledger.Disk) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func must(t *testing.T, l *ledger.Ledger, entries ...ledger.Entry) ledger.State {
	t.Helper()
	s, err := l.Append(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sameEvents compares events by what they say.
func sameEvents() cmp.Option {
	return cmp.Comparer(func(a, b event.Event) bool { return a.String() == b.String() })
}
