package runtime_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
)

// replaced are the good handlers with one replaced.
func replaced(name string, h functions.HandlerFunc) map[string]functions.Handler {
	handlers := goodHandlers()
	handlers[name] = h
	return handlers
}

func TestFailuresAreParked(t *testing.T) {
	otherUpgrade := requested("u9", events.StagePrep)
	for name, c := range map[string]struct {
		handle functions.HandlerFunc
		calls  int
		want   events.Reason
	}{
		"a typed failure": {func(context.Context, upgrade.State, event.Event) ([]event.Event, error) {
			return nil, &functions.Fail{Reason: events.ReasonForeignController, Err: errors.New("it is there")}
		}, 1, events.ReasonForeignController},
		"an error again and again": {func(context.Context, upgrade.State, event.Event) ([]event.Event, error) {
			return nil, errors.New("no")
		}, 5, events.ReasonHandlerFailed},
		"a panic": {func(context.Context, upgrade.State, event.Event) ([]event.Event, error) {
			panic("index out of range")
		}, 5, events.ReasonHandlerFailed},
		"a function that hangs": {func(ctx context.Context, _ upgrade.State, _ event.Event) ([]event.Event, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, 5, events.ReasonHandlerFailed},
		"an answer that is not in the table": {func(_ context.Context, _ upgrade.State, e event.Event) ([]event.Event, error) {
			return []event.Event{events.Caused(e, "functions/validate", events.TypeIdleReached, 0, events.IdleReached{})}, nil
		}, 1, events.ReasonInternal},
		"an answer about another upgrade": {func(context.Context, upgrade.State, event.Event) ([]event.Event, error) {
			return []event.Event{events.Caused(otherUpgrade, "functions/validate", events.TypePrepValidated, 0, example(events.TypePrepValidated))}, nil
		}, 1, events.ReasonInternal},
		"an answer that breaks its schema": {func(_ context.Context, _ upgrade.State, e event.Event) ([]event.Event, error) {
			return []event.Event{events.Caused(e, "functions/validate", events.TypePrepValidated, 0, map[string]int{"checks": 1})}, nil
		}, 1, events.ReasonInternal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := journal.NewMemory(nil)
				calls := 0
				stop := start(t, newRuntime(m, replaced("validate", func(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
					calls++
					return c.handle(ctx, s, e)
				})).Run)
				submit(t, m, "users", requested(upID, events.StagePrep))
				time.Sleep(29 * time.Minute)
				stop()
				p := onlyParked(t, m)
				if p.Reason != c.want || p.Origin != "validate" || events.TypeOf(*p.Event) != events.TypePrepStarted {
					t.Errorf("parked: %s of %s: %s", p.Reason, p.Origin, p.Detail)
				}
				if calls != c.calls {
					t.Errorf("called %d times, want %d", calls, c.calls)
				}
				if n := length(t, m); n != 2 {
					t.Errorf("%d events in the history", n)
				}
			})
		})
	}
}

// TestRedriveAfterFailure: a function that failed for good gets its event again when it is redriven.
func TestRedriveAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		mended := false
		stop := start(t, newNode(m).run, newRuntime(m, replaced("validate", func(_ context.Context, _ upgrade.State, e event.Event) ([]event.Event, error) {
			if p, err := events.Decode[events.PrepStarted](e); err != nil || p.Attempt != 1 {
				t.Errorf("handed out %s", e.Data())
			}
			if !mended {
				return nil, &functions.Fail{Reason: events.ReasonForeignController, Err: errors.New("it is there")}
			}
			return answer("validate", e), nil
		})).Run)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		synctest.Wait()
		p := onlyParked(t, m)
		mended = true
		forged := with(*p.Event, func(e *event.Event) { e.DataEncoded = []byte(`{"attempt":7}`) })
		p.Event = &forged // what lies in the dead is not trusted: the function gets the journal's copy
		if err := m.Park(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if err := m.Redrive(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		until(t, m, events.TypeIdleReached)
		stop()
		if dead, err := m.Parked(t.Context(), ""); err != nil || len(dead) != 0 {
			t.Errorf("parked: %v, %v", dead, err)
		}
	})
}

func TestRetryShowsWhatIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		calls := 0
		began := time.Now()
		stop := start(t, newNode(m).run, newRuntime(m, replaced("backup", func(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
			if calls++; calls <= 3 {
				return nil, &functions.Retry{After: 20 * time.Second, Reason: "waiting for Backup acm"}
			}
			return answer("backup", e), nil
		})).Run)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		until(t, m, events.TypeBackupCompleted)
		if took := time.Since(began); took < time.Minute || took > 2*time.Minute {
			t.Errorf("took %s", took)
		}
		for e, err := range m.Reports(t.Context(), cluster) {
			if err != nil {
				t.Fatal(err)
			}
			p, err := events.Decode[events.StepProgressed](e)
			if err != nil || p.Of != "backup" || p.State != events.StepWaiting || p.Detail != "waiting for Backup acm" {
				t.Errorf("report %+v, %v", p, err)
			}
			break
		}
		stop()
	})
}

// TestNudge: a change on the cluster wakes a function that waits, long before it asked to be called.
func TestNudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		done := false
		calls := 0
		stop := start(t, newNode(m).run, newRuntime(m, replaced("backup", func(_ context.Context, _ upgrade.State, e event.Event) ([]event.Event, error) {
			if calls++; !done {
				return nil, &functions.Retry{After: 10 * time.Minute, Reason: "waiting"}
			}
			return answer("backup", e), nil
		})).Run)
		began := time.Now()
		submit(t, m, "users", requested(upID, events.StageFinalize))
		synctest.Wait()
		nudge := func(id string) {
			submit(t, m, "source", events.New(events.TypeClusterChanged, id, cluster, "source", upID, example(events.TypeClusterChanged)))
			synctest.Wait()
		}
		nudge("n1")
		if calls != 2 {
			t.Errorf("called %d times after a nudge that changed nothing", calls)
		}
		done = true
		nudge("n2")
		until(t, m, events.TypeIdleReached)
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %s", took)
		}
		calls = 0
		settle(t, m, stop)
		if calls != 0 {
			t.Errorf("called %d times after it was done", calls)
		}
		if dead, err := m.Parked(t.Context(), ""); err != nil || len(dead) != 0 {
			t.Errorf("parked: %v, %v", dead, err)
		}
	})
}

// TestObserver: a function that is in no reaction gets every event, in order, and may emit none.
func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		var saw []string
		stop := start(t, newNode(m).run, newRuntime(m, replaced("project", func(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
			if s.Sequence != events.Sequence(e) {
				t.Errorf("state %d with event %d", s.Sequence, events.Sequence(e))
			}
			saw = append(saw, events.TypeOf(e).Short())
			return nil, nil
		})).Run)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		until(t, m, events.TypeIdleReached)
		synctest.Wait()
		stop()
		if got := strings.Join(saw, " "); got != strings.Join(goodPath, " ") {
			t.Errorf("saw %s", got)
		}
	})
}

// TestPastEventsAreNotHandledAgain: a subscription that starts from the beginning does not repeat side effects.
func TestPastEventsAreNotHandledAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		stop := start(t, newNode(m).run, newRuntime(m, goodHandlers()).Run)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		until(t, m, events.TypeIdleReached)
		stop()
		handlers := map[string]functions.Handler{}
		for name := range goodHandlers() {
			handlers[name] = functions.HandlerFunc(func(_ context.Context, _ upgrade.State, e event.Event) ([]event.Event, error) {
				t.Errorf("%s was called for %s", name, events.TypeOf(e).Short())
				return nil, nil
			})
		}
		stop = start(t, newRuntime(apart{m}, handlers).Run)
		settle(t, m, stop)
	})
}

// TestBrokenChain: a damaged history is closed until it is restarted; others are not.
func TestBrokenChain(t *testing.T) {
	store := embedded(t)
	stop := start(t, newRuntime(store, goodHandlers()).Run)
	submit(t, store, "users", requested(upID, events.StagePrep))
	until(t, store, events.TypeSeedpullRequested)
	stop()
	forge(t, store)

	stop = start(t, newRuntime(store, goodHandlers()).Run)
	defer stop()
	submit(t, store, "users", requested("u2", events.StagePrep))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var dead []journal.Parked
	for len(dead) == 0 {
		var err error
		if dead, err = store.Parked(ctx, cluster); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range dead {
		if p.Reason != events.ReasonJournalCorrupt {
			t.Errorf("parked as %s: %s", p.Reason, p.Detail)
		}
	}
	restart := events.New(events.TypeJournalRestarted, "restart", cluster, "runtime", "u3", events.JournalRestarted{Quarantined: "old", Message: "damaged"})
	if _, err := store.Restart(ctx, cluster, restart); err != nil {
		t.Fatal(err)
	}
	submit(t, store, "users", requested("u3", events.StagePrep))
	if got := until(t, store, events.TypeSeedpullRequested); len(got) != 5 || got[0].ID() != "restart" {
		t.Errorf("the restarted history is %v", story(got))
	}
	other := events.New(events.TypeUpgradeRequested, "r", "edge-2", "users/alice", "u1", example(events.TypeUpgradeRequested))
	submit(t, store, "users", other)
	for r, err := range store.Watch(t.Context(), "edge-2", 1) {
		if err != nil {
			t.Fatal(err)
		}
		if events.TypeOf(r.Event) == events.TypeSeedpullRequested {
			break
		}
	}
}
