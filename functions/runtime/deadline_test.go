package runtime_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
)

// silent never answers.
func silent(context.Context, upgrade.State, event.Event) ([]event.Event, error) { return nil, nil }

// typesAfter runs an upgrade for a time and returns the types of the history.
func typesAfter(t *testing.T, m *journal.Memory, d time.Duration, parts ...func(context.Context) error) []string {
	t.Helper()
	stop := start(t, parts...)
	submit(t, m, "users", requested(upID, events.StageFinalize))
	time.Sleep(d)
	synctest.Wait()
	stop()
	var types []string
	for r, err := range m.Read(t.Context(), cluster, 1) {
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, events.TypeOf(r.Event).Short())
	}
	return types
}

func TestDeadlineEndsAWait(t *testing.T) {
	failing := functions.HandlerFunc(func(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
		if events.TypeOf(e) != events.TypeDeadlinePassed {
			return nil, nil
		}
		return []event.Event{events.Caused(e, "functions/validate", events.TypePrepFailed, 0, events.PrepFailed{
			Failure: events.Failure{Reason: events.ReasonDeadline, Message: "too slow"}})}, nil
	})
	for name, c := range map[string]struct {
		after time.Duration
		want  []string
	}{
		"before":     {upgrade.ValidateLimit - time.Second, []string{"upgrade.requested", "prep.started"}},
		"after":      {upgrade.ValidateLimit + time.Second, []string{"upgrade.requested", "prep.started", "deadline.passed", "prep.failed"}},
		"long after": {100 * upgrade.ValidateLimit, []string{"upgrade.requested", "prep.started", "deadline.passed", "prep.failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := journal.NewMemory(nil)
				if got := typesAfter(t, m, c.after, newRuntime(m, replaced("validate", failing.Handle)).Run); !slices.Equal(got, c.want) {
					t.Errorf("history %v, want %v", got, c.want)
				}
			})
		})
	}
}

// TestDeadlineIsSaidOnce: nobody answers the deadline; it is not repeated.
func TestDeadlineIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		got := typesAfter(t, m, 100*time.Hour, newRuntime(m, replaced("validate", silent)).Run, newRuntime(apart{m}, replaced("validate", silent)).Run)
		if want := []string{"upgrade.requested", "prep.started", "deadline.passed"}; !slices.Equal(got, want) {
			t.Errorf("history %v, want %v", got, want)
		}
	})
}

// TestDarkNodeIsOnlyOverdue: while the node is between two roots nothing is decided, however long it takes.
func TestDarkNodeIsOnlyOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		n := newNode(m)
		deaf := func(ctx context.Context) error {
			types := slices.DeleteFunc(upgrade.Subscriptions("node"), func(t events.Type) bool { return t == events.TypePivotRequested })
			return m.Subscribe(ctx, "node", types, func(ctx context.Context, d journal.Delivery) error {
				if c := events.TypeOf(d.Event); c == events.TypeCryptoregenRequested || c == events.TypeReconfigureRequested {
					return nil
				}
				fact, err := n.fact(d.Event)
				if err != nil {
					return err
				}
				return m.Submit(ctx, "node", fact)
			})
		}
		got := typesAfter(t, m, 1000*time.Hour, newRuntime(m, goodHandlers()).Run, deaf)
		want := append(slices.Clone(goodPath[:13]), "node.overdue")
		if !slices.Equal(got, want) {
			t.Errorf("history %v, want %v", got, want)
		}
		if s, err := journal.Fold(t.Context(), m, cluster, 0); err != nil || s.Phase != upgrade.Pivot || !s.Overdue {
			t.Errorf("phase %s, overdue %v, %v", s.Phase, s.Overdue, err)
		}
	})
}

// TestDeadlineWhileNothingRan: the time passes while no runtime is there; the next one says so.
func TestDeadlineWhileNothingRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		typesAfter(t, m, time.Minute, newRuntime(m, replaced("validate", silent)).Run)
		time.Sleep(10 * upgrade.ValidateLimit)
		stop := start(t, newRuntime(m, replaced("validate", silent)).Run)
		got := until(t, m, events.TypeDeadlinePassed)
		stop()
		if len(got) != 3 {
			t.Errorf("history %v", story(got))
		}
	})
}
