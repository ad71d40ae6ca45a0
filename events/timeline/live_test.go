package timeline_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/timeline"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a journal to which a story is appended.
type world struct {
	t     *testing.T
	log   *journal.Memory
	state upgrade.State
	story upgradetest.Story
}

func newWorld(t *testing.T) *world {
	return &world{t: t, log: journal.NewMemory(nil), state: upgrade.New(upgradetest.Cluster), story: upgradetest.Story{Upgrade: "up-1"}}
}

func (w *world) tell(types ...events.Type) {
	w.t.Helper()
	for _, typ := range types {
		e := w.story.Tell(w.state, typ, nil)
		records, err := w.log.Append(w.t.Context(), upgradetest.Cluster, journal.Head{Sequence: w.state.Sequence, Hash: w.state.Hash}, e)
		if err != nil {
			w.t.Fatal(err)
		}
		if w.state, err = w.state.Apply(records[0].Event, records[0].Hash); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) report(step string, fraction float64) {
	w.t.Helper()
	err := w.log.Report(w.t.Context(), events.New(events.TypeStepProgressed, "r", upgradetest.Cluster, "node", w.story.Upgrade,
		events.StepProgressed{Of: "node.seedpull.requested", Step: step, State: events.StepRunning, Fraction: fraction}))
	if err != nil {
		w.t.Fatal(err)
	}
}

// screen is a writer that a test may read while it is written.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// live runs [timeline.Live] until the returned function is called, which gives its result.
func live(t *testing.T, s timeline.Screen, log journal.Log, progress journal.Progress) (wait func() (upgrade.State, error)) {
	var state upgrade.State
	var err error
	var running sync.WaitGroup
	running.Go(func() { state, err = timeline.Live(t.Context(), s, log, progress, upgradetest.Cluster) })
	return func() (upgrade.State, error) { running.Wait(); return state, err }
}

func TestLiveLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, out := newWorld(t), &screen{}
		w.tell(upgradetest.Until(events.TypeSeedpullRequested)...)
		wait := live(t, timeline.Screen{Out: out}, w.log, w.log)
		synctest.Wait()
		if got := strings.Count(out.String(), "\n"); got != 4 {
			t.Errorf("the past has %d lines, want 4:\n%s", got, out)
		}
		for _, f := range []float64{0.11, 0.12, 0.19} {
			w.report("fetch", f)
			synctest.Wait()
		}
		if got := strings.Count(out.String(), "\n"); got != 5 {
			t.Errorf("reports within a tenth make %d lines, want one:\n%s", got-4, out)
		}
		w.tell(upgradetest.GoodPath[4:]...)
		state, err := wait()
		if err != nil || state.Phase != upgrade.Upgraded {
			t.Errorf("it ends in phase %s, %v", state.Phase, err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-2]; !strings.HasPrefix(last, "outcome: upgraded to 4.17.0") {
			t.Errorf("the last line but one is %q", last)
		}
		if strings.Contains(out.String(), "\x1b") {
			t.Error("lines for a file hold escape sequences")
		}
	})
}

func TestLiveRedraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, out := newWorld(t), &screen{}
		wait := live(t, timeline.Screen{Out: out, Redraw: true, Width: func() int { return 40 }}, w.log, w.log)
		time.Sleep(time.Minute) // of the bubble's clock
		w.tell(upgradetest.Until(events.TypePrepStarted)...)
		time.Sleep(90 * time.Second)
		w.tell(upgradetest.GoodPath[2:]...)
		if _, err := wait(); err != nil {
			t.Fatal(err)
		}
		got := replay(out.String())
		if !strings.Contains(out.String(), "Validating     1m30s") {
			t.Error("durations do not go on while nothing happens")
		}
		if len(got) == 0 || !strings.HasPrefix(got[0], "edge-1 up-1: 4.16.0") {
			t.Errorf("more than one block stands on the screen:\n%s", strings.Join(got, "\n"))
		}
		for _, line := range got {
			if len(line) > 40 {
				t.Errorf("%q is wider than the screen", line)
			}
		}
	})
}

// replay is what stands on a terminal after the output of a redrawing timeline.
func replay(out string) (rows []string) {
	row := 0
	for line := range strings.Lines(out) {
		for {
			var up int
			if _, err := fmt.Sscanf(line, "\x1b[%dA", &up); err == nil {
				row -= up
				line = line[strings.Index(line, "A")+1:]
				continue
			}
			if rest, cut := strings.CutPrefix(line, "\x1b[J"); cut {
				rows, line = rows[:row], rest
				continue
			}
			break
		}
		line, whole := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "\x1b[2K")
		if !whole {
			continue
		}
		rows = append(rows[:row], append([]string{line}, rows[min(row+1, len(rows)):]...)...)
		row++
	}
	return rows
}

func TestLiveOfSettled(t *testing.T) {
	w, out := newWorld(t), &screen{}
	w.tell(upgradetest.GoodPath...)
	state, err := timeline.Live(t.Context(), timeline.Screen{Out: out}, w.log, w.log, upgradetest.Cluster)
	if err != nil || state.Phase != upgrade.Upgraded || !strings.Contains(out.String(), "outcome: upgraded") {
		t.Errorf("phase %s, %v:\n%s", state.Phase, err, out)
	}
}

func TestLiveEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, out := newWorld(t), &screen{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := timeline.Live(ctx, timeline.Screen{Out: out}, w.log, w.log, upgradetest.Cluster)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it ends with %v", err)
		}
	})
}

// flaky is a log that cannot be watched a few times, or whose chain breaks.
type flaky struct {
	*journal.Memory
	fail []error
}

func (f *flaky) Watch(ctx context.Context, cluster string, from uint64) iter.Seq2[journal.Record, error] {
	if len(f.fail) == 0 {
		return f.Memory.Watch(ctx, cluster, from)
	}
	err := f.fail[0]
	f.fail = f.fail[1:]
	return func(yield func(journal.Record, error) bool) { yield(journal.Record{}, err) }
}

func TestLiveGoesOnAfterAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, out := newWorld(t), &screen{}
		gone := errors.New("no responders")
		wait := live(t, timeline.Screen{Out: out}, &flaky{w.log, []error{gone, gone}}, w.log)
		synctest.Wait()
		w.tell(upgradetest.GoodPath...)
		if state, err := wait(); err != nil || state.Phase != upgrade.Upgraded {
			t.Errorf("phase %s, %v", state.Phase, err)
		}
		if got := strings.Count(out.String(), "out of reach"); got != 1 {
			t.Errorf("the outage is told %d times:\n%s", got, out)
		}
	})
}

func TestLiveStopsAtABrokenChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, out := newWorld(t), &screen{}
		broken := &events.ChainError{Sequence: 7}
		_, err := live(t, timeline.Screen{Out: out}, &flaky{w.log, []error{broken}}, w.log)()
		if !errors.Is(err, broken) {
			t.Errorf("it ends with %v", err)
		}
	})
}

func TestOf(t *testing.T) {
	w := newWorld(t)
	w.tell(upgradetest.GoodPath...)
	w.tell(events.TypeFinalizeStarted, events.TypeCleanupRequested, events.TypeCleanupCompleted, events.TypeIdleReached)
	w.story.Upgrade = "up-2"
	w.tell(upgradetest.Until(events.TypePrepStarted)...)
	for id, want := range map[string]struct {
		upgrade string
		phase   upgrade.Phase
	}{
		"up-1": {"up-1", upgrade.Idle},
		"up-2": {"up-2", upgrade.Validating},
		"":     {"up-2", upgrade.Validating},
		"up-3": {"", upgrade.Idle},
	} {
		m, err := timeline.Of(w.log.Read(t.Context(), upgradetest.Cluster, 1), upgradetest.Cluster, id)
		if err != nil {
			t.Fatal(err)
		}
		if s := m.State(); s.Upgrade != want.upgrade || s.Phase != want.phase {
			t.Errorf("of %q: upgrade %q in phase %s, want %q in %s", id, s.Upgrade, s.Phase, want.upgrade, want.phase)
		}
	}
}
