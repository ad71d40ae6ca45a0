package runtime_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// length is how many events a history has.
func length(t *testing.T, log journal.Log) int {
	t.Helper()
	n := 0
	for _, err := range log.Read(t.Context(), cluster, 1) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func onlyParked(t *testing.T, store journal.Store) journal.Parked {
	t.Helper()
	dead, err := store.Parked(t.Context(), "")
	if err != nil || len(dead) != 1 {
		t.Fatalf("parked: %v, %v", dead, err)
	}
	return dead[0]
}

func with(e event.Event, change func(*event.Event)) event.Event {
	e = e.Clone()
	change(&e)
	return e
}

func TestRefused(t *testing.T) {
	request := requested("u2", events.StagePrep)
	for name, c := range map[string]struct {
		origin string
		event  event.Event
		want   events.Reason
	}{
		"another upgrade is open":   {"users", request, events.ReasonUpgradeInProgress},
		"unknown field":             {"users", with(request, func(e *event.Event) { e.DataEncoded = []byte(`{"specs":{}}`) }), events.ReasonInvalidEvent},
		"data that is no JSON":      {"users", with(request, func(e *event.Event) { e.DataEncoded = []byte(`{"spec":`) }), events.ReasonInvalidEvent},
		"no id":                     {"users", with(request, func(e *event.Event) { c := e.Context.AsV1(); c.ID = ""; e.Context = c }), events.ReasonInvalidEvent},
		"expired":                   {"users", with(request, func(e *event.Event) { e.SetExtension(events.ExtExpiry, "1999-01-01T00:00:00Z") }), events.ReasonExpired},
		"a decision from outside":   {"users", events.New(events.TypePrepStarted, "x", cluster, "functions/stage", upID, example(events.TypePrepStarted)), events.ReasonNotAllowed},
		"a user as the node":        {"users", events.New(events.TypeCleanupCompleted, "x", cluster, "node", upID, example(events.TypeCleanupCompleted)), events.ReasonNotAllowed},
		"the node as a user":        {"node", request, events.ReasonNotAllowed},
		"a stage of an old upgrade": {"users", events.New(events.TypeStageRequested, "x", cluster, "users/alice", "u0", events.StageRequested{Stage: events.StageIdle}), events.ReasonIllegalTransition},
		"a nudge by a user":         {"users", events.New(events.TypeClusterChanged, "x", cluster, "source", upID, example(events.TypeClusterChanged)), events.ReasonNotAllowed},
		"a progress without step":   {"node", events.New(events.TypeStepProgressed, "x", cluster, "node", upID, map[string]any{}), events.ReasonInvalidEvent},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := journal.NewMemory(nil)
				stop := start(t, newRuntime(m, nil).Run)
				submit(t, m, "users", requested(upID, events.StagePrep))
				synctest.Wait()
				submit(t, m, c.origin, c.event)
				synctest.Wait()
				stop()
				p := onlyParked(t, m)
				if p.Reason != c.want || p.Detail == "" || p.Origin != c.origin {
					t.Errorf("parked as %s: %s", p.Reason, p.Detail)
				}
				if n := length(t, m); n != 1 {
					t.Errorf("%d events in the history", n)
				}
			})
		})
	}
}

func TestDuplicateRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		stop := start(t, newRuntime(m, nil).Run)
		for range 3 {
			submit(t, m, "users", requested(upID, events.StagePrep))
		}
		synctest.Wait()
		stop()
		if dead, err := m.Parked(t.Context(), ""); err != nil || len(dead) != 0 || length(t, m) != 1 {
			t.Errorf("%d events, parked: %v, %v", length(t, m), dead, err)
		}
	})
}

// facts are n numbered facts of a node, each linked to the one before.
func facts(t *testing.T, n int) []event.Event {
	t.Helper()
	var all []event.Event
	prev := ""
	for i := range n {
		f := events.New(events.TypeCleanupCompleted, fmt.Sprint("fact-", i+1), cluster, "node", upID, example(events.TypeCleanupCompleted))
		f.SetTime(time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC))
		f.SetExtension(events.ExtNodeSequence, fmt.Sprintf("%020d", i+1))
		if prev != "" {
			f.SetExtension(events.ExtNodePrevHash, prev)
		}
		var err error
		if prev, err = events.Hash(f); err != nil {
			t.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

func TestFactsInTheNodesOrder(t *testing.T) {
	f := facts(t, 4)
	invalid := with(f[1], func(e *event.Event) { e.DataEncoded = []byte(`{}`) })
	again := with(f[1], func(e *event.Event) { e.SetID("other") })
	for name, c := range map[string]struct {
		submit []event.Event
		want   string // ids in the history
		parked string
	}{
		"in order":                  {f, "fact-1 fact-2 fact-3 fact-4", ""},
		"backwards":                 {[]event.Event{f[3], f[2], f[1], f[0]}, "fact-1 fact-2 fact-3 fact-4", ""},
		"repeated":                  {[]event.Event{f[0], f[1], f[0], f[1], f[2]}, "fact-1 fact-2 fact-3", ""},
		"a gap waits":               {[]event.Event{f[0], f[2], f[3]}, "fact-1", ""},
		"a number given twice":      {[]event.Event{f[0], f[1], again, f[2]}, "fact-1 fact-2 fact-3", "other"},
		"without numbers":           {[]event.Event{with(f[0], func(e *event.Event) { e.SetExtension(events.ExtNodeSequence, nil) })}, "fact-1", ""},
		"another predecessor":       {[]event.Event{f[0], with(f[1], func(e *event.Event) { e.SetExtension(events.ExtNodePrevHash, "00") })}, "fact-1", "fact-2"},
		"an invalid one is skipped": {[]event.Event{f[0], invalid}, "fact-1", "fact-2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := journal.NewMemory(nil)
				stop := start(t, newRuntime(m, nil).Run)
				for _, e := range c.submit {
					submit(t, m, "node", e)
				}
				time.Sleep(time.Minute)
				stop()
				var ids, dead []string
				for r, err := range m.Read(t.Context(), cluster, 1) {
					if err != nil {
						t.Fatal(err)
					}
					ids = append(ids, r.Event.ID())
				}
				parked, err := m.Parked(t.Context(), cluster)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range parked {
					dead = append(dead, p.Event.ID())
				}
				if got := strings.Join(ids, " "); got != c.want {
					t.Errorf("history: %s, want %s", got, c.want)
				}
				if got := strings.Join(dead, " "); got != c.parked {
					t.Errorf("parked: %s, want %s", got, c.parked)
				}
			})
		})
	}
}

// TestFactAfterParkedFact: a fact that was parked can never come; the next one is admitted all the same.
func TestFactAfterParkedFact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		f := facts(t, 2)
		bad := with(f[0], func(e *event.Event) { e.DataEncoded = []byte(`{}`) })
		hash, err := events.Hash(bad)
		if err != nil {
			t.Fatal(err)
		}
		next := with(f[1], func(e *event.Event) { e.SetExtension(events.ExtNodePrevHash, hash) })
		stop := start(t, newRuntime(m, nil).Run)
		submit(t, m, "node", bad)
		submit(t, m, "node", next)
		time.Sleep(time.Minute)
		stop()
		if n := length(t, m); n != 1 {
			t.Errorf("%d events in the history", n)
		}
		if p := onlyParked(t, m); p.Event.ID() != bad.ID() || p.Reason != events.ReasonInvalidEvent {
			t.Errorf("parked: %+v", p)
		}
	})
}

// TestRedriveAfterRefusal: what was refused is admitted when it is redriven in a state that allows it.
func TestRedriveAfterRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		stop := start(t, newRuntime(m, goodHandlers()).Run)
		submit(t, m, "users", requested("u1", events.StageFinalize)) // stops at the node, which is not there
		synctest.Wait()
		submit(t, m, "users", requested("u2", events.StagePrep))
		synctest.Wait()
		p := onlyParked(t, m)
		n := newNode(m)
		stopNode := start(t, n.run)
		until(t, m, events.TypeIdleReached)
		stopNode()
		if err := m.Redrive(context.Background(), p.ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		stop()
		if state, err := journal.Fold(t.Context(), m, cluster, 0); err != nil || state.Upgrade != "u2" {
			t.Errorf("the open upgrade is %s, %v", state.Upgrade, err)
		}
	})
}

// TestRestartOfAHealthyHistory: another process restarts a history while this one has it in memory.
func TestRestartOfAHealthyHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		stop := start(t, newRuntime(m, goodHandlers()).Run)
		submit(t, m, "users", requested(upID, events.StagePrep))
		synctest.Wait()
		restart := events.New(events.TypeJournalRestarted, "restart", cluster, "runtime", "u2", events.JournalRestarted{Quarantined: "old", Message: "damaged"})
		if _, err := m.Restart(t.Context(), cluster, restart); err != nil {
			t.Fatal(err)
		}
		submit(t, m, "users", requested("u2", events.StagePrep))
		synctest.Wait()
		stop()
		if s, err := journal.Fold(t.Context(), m, cluster, 0); err != nil || s.Upgrade != "u2" || s.Phase != upgrade.Seedpull {
			t.Errorf("upgrade %q in phase %s, %v", s.Upgrade, s.Phase, err)
		}
	})
}

// TestFactsAfterRestart: a new history does not know how far the node had counted, and takes it from the first fact.
func TestFactsAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		f := facts(t, 5)
		if _, err := m.Append(t.Context(), cluster, journal.Head{}, f[0]); err != nil {
			t.Fatal(err)
		}
		restart := events.New(events.TypeJournalRestarted, "restart", cluster, "runtime", upID, events.JournalRestarted{Quarantined: "old", Message: "damaged"})
		if _, err := m.Restart(t.Context(), cluster, restart); err != nil {
			t.Fatal(err)
		}
		stop := start(t, newRuntime(m, nil).Run)
		for _, i := range []int{2, 4, 3} {
			submit(t, m, "node", f[i])
		}
		time.Sleep(time.Minute)
		stop()
		var ids []string
		for r, err := range m.Read(t.Context(), cluster, 1) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, r.Event.ID())
		}
		if got, want := strings.Join(ids, " "), "restart fact-3 fact-4 fact-5"; got != want {
			t.Errorf("history: %s, want %s", got, want)
		}
	})
}
