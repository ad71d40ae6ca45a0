package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
)

var errCrash = errors.New("power cut")

// faulty is a store on which something goes wrong once, at call number n of a kind.
type faulty struct {
	journal.Store
	beforeAppend, afterAppend, afterSubmit, afterHandling, afterAdmission countdown
}

// countdown fires once, at call number n; zero never does.
type countdown struct{ left atomic.Int64 }

func (c *countdown) fires() bool { return c.left.Add(-1) == 0 }

func (f *faulty) Append(ctx context.Context, cluster string, head journal.Head, evs ...event.Event) ([]journal.Record, error) {
	if f.beforeAppend.fires() {
		return nil, errCrash
	}
	rs, err := f.Store.Append(ctx, cluster, head, evs...)
	if f.afterAppend.fires() {
		return nil, errCrash // stored, but the writer does not learn it
	}
	return rs, err
}

func (f *faulty) Submit(ctx context.Context, origin string, e event.Event) error {
	err := f.Store.Submit(ctx, origin, e)
	if f.afterSubmit.fires() {
		return errCrash
	}
	return err
}

func (f *faulty) Subscribe(ctx context.Context, name string, types []events.Type, handle journal.Handle) error {
	return f.Store.Subscribe(ctx, name, types, lossy(handle, &f.afterHandling))
}

func (f *faulty) Receive(ctx context.Context, name string, handle journal.Handle) error {
	return f.Store.Receive(ctx, name, lossy(handle, &f.afterAdmission))
}

// lossy loses the acknowledgement.
func lossy(handle journal.Handle, lost *countdown) journal.Handle {
	return func(ctx context.Context, d journal.Delivery) error {
		err := handle(ctx, d)
		if err == nil && lost.fires() {
			return errCrash
		}
		return err
	}
}

// TestCrashPoints breaks every step of an upgrade, one at a time: the history is always the same.
func TestCrashPoints(t *testing.T) {
	want := reference(t)
	for name, arm := range map[string]func(*faulty) *countdown{
		"before append":         func(f *faulty) *countdown { return &f.beforeAppend },
		"after append":          func(f *faulty) *countdown { return &f.afterAppend },
		"after submit":          func(f *faulty) *countdown { return &f.afterSubmit },
		"ack lost by handler":   func(f *faulty) *countdown { return &f.afterHandling },
		"ack lost by admission": func(f *faulty) *countdown { return &f.afterAdmission },
	} {
		for n := int64(1); n <= 24; n++ {
			t.Run(fmt.Sprint(name, " ", n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := journal.NewMemory(nil)
					f := &faulty{Store: m}
					arm(f).left.Store(n)
					stop := start(t, newRuntime(f, goodHandlers()).Run, newNode(f).run)
					submit(t, m, "users", requested(upID, events.StageFinalize))
					got := story(until(t, m, events.TypeIdleReached))
					settle(t, m, stop)
					if !slices.Equal(got, want) {
						t.Errorf("history differs:\n%v\nwant\n%v", got, want)
					}
				})
			})
		}
	}
}

// settle lets everything that is still to be redelivered come, and checks that it adds nothing.
func settle(t *testing.T, log journal.Log, stop func()) {
	t.Helper()
	time.Sleep(time.Hour) // in the bubble: until nothing moves any more
	synctest.Wait()
	stop()
	last := events.Type("")
	for r, err := range log.Read(t.Context(), cluster, 1) {
		if err != nil {
			t.Fatal(err)
		}
		last = events.TypeOf(r.Event)
	}
	if last != events.TypeIdleReached {
		t.Errorf("%s was appended after the end", last.Short())
	}
}

// shuffled delivers everything several times, late and in disorder.
type shuffled struct {
	journal.Store
	seed uint64
}

func (s shuffled) Subscribe(ctx context.Context, name string, types []events.Type, handle journal.Handle) error {
	rng := rand.New(rand.NewPCG(s.seed, uint64(len(name))))
	return s.Store.Subscribe(ctx, name, types, func(ctx context.Context, d journal.Delivery) error {
		switch rng.IntN(4) {
		case 0: // not now
			return &journal.Later{After: time.Duration(1+rng.IntN(5000)) * time.Millisecond}
		case 1: // now and once more
			if err := handle(ctx, d); err != nil {
				return err
			}
			return &journal.Later{After: time.Duration(1+rng.IntN(5000)) * time.Millisecond}
		case 2: // twice
			if err := handle(ctx, d); err != nil {
				return err
			}
		}
		return handle(ctx, d)
	})
}

func TestShuffledRedelivery(t *testing.T) {
	want := reference(t)
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := journal.NewMemory(nil)
				s := shuffled{m, seed}
				stop := start(t, newRuntime(s, goodHandlers()).Run, newNode(m).run)
				submit(t, m, "users", requested(upID, events.StageFinalize))
				got := story(until(t, m, events.TypeIdleReached))
				settle(t, m, stop)
				if !slices.Equal(got, want) {
					t.Errorf("history differs:\n%v\nwant\n%v", got, want)
				}
			})
		})
	}
}

// TestTwoRuntimes lets two runtimes with subscriptions of their own decide everything twice.
func TestTwoRuntimes(t *testing.T) {
	want := reference(t)
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		n := newNode(m)
		stop := start(t, newRuntime(m, goodHandlers()).Run, newRuntime(apart{m}, goodHandlers()).Run, n.run)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		got := story(until(t, m, events.TypeIdleReached))
		settle(t, m, stop)
		if !slices.Equal(got, want) {
			t.Errorf("history differs:\n%v\nwant\n%v", got, want)
		}
	})
}

// apart gives a runtime durable subscriptions that it does not share.
type apart struct{ journal.Store }

func (a apart) Subscribe(ctx context.Context, name string, types []events.Type, handle journal.Handle) error {
	return a.Store.Subscribe(ctx, name+"-2", types, handle)
}

// TestRestart ends the runtime after every event and starts another one.
func TestRestart(t *testing.T) {
	want := reference(t)
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		n := newNode(m)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		for grown := 1; grown <= len(want); grown++ {
			stop := start(t, newRuntime(m, goodHandlers()).Run, n.run)
			for r, err := range m.Watch(t.Context(), cluster, uint64(grown)) {
				if err != nil {
					t.Fatal(err)
				}
				grown = int(events.Sequence(r.Event))
				break
			}
			stop()
		}
		var got []event.Event
		for r, err := range m.Read(t.Context(), cluster, 1) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Event)
		}
		if !slices.Equal(story(got), want) {
			t.Errorf("history differs:\n%v\nwant\n%v", story(got), want)
		}
	})
}

// TestLostRace appends an abort while a function decides: its decision is dropped.
func TestLostRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		handlers := goodHandlers()
		handlers["validate"] = functions.HandlerFunc(func(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
			abort := events.Caused(e, "functions/stage", events.TypeAbortStarted, 0, example(events.TypeAbortStarted))
			if _, err := m.Append(ctx, cluster, journal.Head{Sequence: s.Sequence, Hash: s.Hash}, abort); err != nil && !errors.Is(err, journal.ErrConflict) {
				return nil, err
			}
			return answer("validate", e), nil
		})
		stop := start(t, newRuntime(m, handlers).Run, newNode(m).run)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		got := until(t, m, events.TypeIdleReached)
		settle(t, m, stop)
		for _, e := range got {
			if events.TypeOf(e) == events.TypePrepValidated {
				t.Error("a decision that lost was appended")
			}
		}
		if dead, err := m.Parked(t.Context(), ""); err != nil || len(dead) != 0 {
			t.Errorf("parked: %v, %v", dead, err)
		}
	})
}

// TestDecisionAboutAnOldUpgrade: a function is so slow that the next upgrade has come to the same phase when it
// answers. Its answer belongs to no history any more.
func TestDecisionAboutAnOldUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		release := make(chan struct{})
		handlers := goodHandlers()
		handlers["validate"] = functions.HandlerFunc(func(_ context.Context, _ upgrade.State, e event.Event) ([]event.Event, error) {
			if e.Subject() != "u1" {
				return nil, nil
			}
			<-release
			return answer("validate", e), nil
		})
		stage := handlers["stage"]
		handlers["stage"] = functions.HandlerFunc(func(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
			if events.TypeOf(e) == events.TypeStageRequested {
				return []event.Event{events.Caused(e, "functions/stage", events.TypeAbortStarted, 0, events.AbortStarted{})}, nil
			}
			return stage.Handle(ctx, s, e)
		})
		stop := start(t, newRuntime(m, handlers).Run, newNode(m).run)
		submit(t, m, "users", requested("u1", events.StagePrep))
		synctest.Wait()
		submit(t, m, "users", events.New(events.TypeStageRequested, "abort", cluster, "users/alice", "u1", events.StageRequested{Stage: events.StageIdle}))
		until(t, m, events.TypeIdleReached)
		submit(t, m, "users", requested("u2", events.StagePrep))
		synctest.Wait()
		close(release)
		synctest.Wait()
		stop()
		s, err := journal.Fold(t.Context(), m, cluster, 0)
		if err != nil || s.Upgrade != "u2" || s.Phase != upgrade.Validating || s.Seed.Digest != "" {
			t.Errorf("upgrade %s in phase %s, %v", s.Upgrade, s.Phase, err)
		}
	})
}
