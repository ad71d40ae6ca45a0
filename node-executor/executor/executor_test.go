package executor_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// story is a whole life of an upgrade on the node: what fails, what the hub says to each fact, and how it ends. A power
// cut may be as good as the reboot that the pivot did not get to, so some stories may then end in other ways too.
type story struct {
	fail map[string]error
	hub  func(w *world, fact event.Event)
	ending
	powerCut []ending
}

type ending struct {
	facts []string // that the hub gets, in order
	root  events.Deployment
	left  []string // effects that are left
}

var errStep = &step.Error{Because: events.ReasonNoSpace, Next: "make room", Err: errors.New("it is full")}

// good drives an upgrade to the end.
func good(w *world, fact event.Event) {
	switch events.TypeOf(fact) {
	case events.TypeSeedpullCompleted:
		w.pivot()
	case events.TypeReconfigureCompleted:
		w.command(events.TypeConfirmRequested, "u1", events.ConfirmRequested{Command: w.base(&newRoot)})
	case events.TypeConfirmCompleted:
		w.cleanup(newRoot)
	case events.TypeNodeRollbackCompleted, events.TypePivotFailed, events.TypeSeedpullFailed:
		w.cleanup(oldRoot)
	}
}

var completed = ending{
	root: newRoot, left: []string{"apply", "arm-watchdog", "await-api", "check-space", "confirm", "import", "regenerate", "remove", "write-units"},
	facts: []string{"node.seedpull.completed", "node.pivot.completed", "node.cryptoregen.completed", "node.reconfigure.completed",
		"node.confirm.completed", "node.cleanup.completed"},
}

var stories = map[string]story{
	"an upgrade": {hub: good, ending: completed},
	"an import fails": {hub: good, fail: map[string]error{"import": errStep}, ending: ending{
		root: oldRoot, left: []string{"check-space", "remove"},
		facts: []string{"node.seedpull.failed", "node.cleanup.completed"},
	}},
	"a pivot fails before its reboot": {hub: good, fail: map[string]error{step.Reboot: errors.New("no")}, ending: ending{
		root: oldRoot, left: []string{"check-space", "import", "remove"},
		facts: []string{"node.seedpull.completed", "node.pivot.failed", "node.cleanup.completed"},
	}, powerCut: []ending{completed, {
		root: oldRoot, left: []string{"arm-watchdog", "check-space", "import", "remove", "write-units"},
		facts: []string{"node.seedpull.completed", "node.pivot.completed", "node.rollback.completed", "node.cleanup.completed"},
	}}},
	"crypto regeneration fails": {hub: good, fail: map[string]error{"regenerate": errStep}, ending: ending{
		root: oldRoot, left: []string{"arm-watchdog", "check-space", "import", "regenerate", "remove", "write-units"},
		facts: []string{"node.seedpull.completed", "node.pivot.completed", "node.cryptoregen.failed", "node.rollback.completed",
			"node.cleanup.completed"},
	}},
	"a rollback is asked for": {
		hub: func(w *world, fact event.Event) {
			if events.TypeOf(fact) == events.TypeReconfigureCompleted {
				w.rollback()
				return
			}
			good(w, fact)
		},
		ending: ending{
			root: oldRoot, left: []string{"apply", "arm-watchdog", "await-api", "check-space", "import", "regenerate", "remove", "write-units"},
			facts: []string{"node.seedpull.completed", "node.pivot.completed", "node.cryptoregen.completed", "node.reconfigure.completed",
				"node.rollback.completed", "node.cleanup.completed"},
		},
	},
}

func (s story) world(t *testing.T) *world {
	w := newWorld(t)
	w.hub = s.hub
	for name, err := range s.fail {
		w.fail[name] = err
	}
	w.end = func(w *world) bool { return slices.Contains(w.facts(), "node.cleanup.completed") }
	w.seedpull("u1")
	return w
}

func (w *world) ending() ending { return ending{facts: w.facts(), root: w.booted, left: w.done()} }

func (e ending) check(t *testing.T, w *world) {
	t.Helper()
	if diff := cmp.Diff(e, w.ending(), cmp.AllowUnexported(ending{})); diff != "" {
		t.Errorf("the story ends otherwise (steps: %v):\n%s", w.trace, diff)
	}
	if w.next != w.booted {
		t.Errorf("%s is booted, but %s is the default", w.booted.Stateroot, w.next.Stateroot)
	}
}

func TestStories(t *testing.T) {
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := s.world(t)
				w.run()
				s.check(t, w)
			})
		})
	}
}

// TestCrashAnywhere lets every single write of the ledger be the last thing that happens, in two ways, followed by a
// restart of the executor or of the machine: each story ends as it does without.
func TestCrashAnywhere(t *testing.T) {
	for name, s := range stories {
		t.Run(name, func(t *testing.T) {
			writes := 0
			synctest.Test(t, func(t *testing.T) {
				w := s.world(t)
				w.run()
				writes = w.appends
			})
			for n := 1; n <= writes; n++ {
				for _, how := range []crash{lost, kept} {
					for _, powerCut := range []bool{false, true} {
						t.Run(fmt.Sprintf("write %d, kept %d, power cut %t", n, how, powerCut), func(t *testing.T) {
							synctest.Test(t, func(t *testing.T) { s.crash(t, n, how, powerCut) })
						})
					}
				}
			}
		})
	}
}

func (s story) crash(t *testing.T, n int, how crash, powerCut bool) {
	w := s.world(t)
	w.crashAt, w.crashHow = n, how
	for w.appends < n {
		w.live()
	}
	if powerCut {
		w.boot()
	}
	w.run()
	for _, e := range s.powerCut {
		if powerCut && cmp.Equal(e, w.ending(), cmp.AllowUnexported(ending{})) {
			return
		}
	}
	s.check(t, w)
}

func TestFactsAreSentUntilStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stories["an upgrade"]
		w := s.world(t)
		w.lost = 5
		w.run()
		s.check(t, w)
	})
}

func TestFailureIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stories["an import fails"].world(t)
		w.run()
		f, err := events.Decode[events.NodeFailure](w.inbox[0])
		if err != nil {
			t.Fatal(err)
		}
		want := events.NodeFailure{
			Outcome:   events.Outcome{Attempt: 1, Booted: oldRoot, BootID: "boot-0"},
			Failure:   events.Failure{Reason: events.ReasonNoSpace, Message: "step import: it is full", Next: "make room"},
			Untouched: true,
		}
		if diff := cmp.Diff(want, f); diff != "" {
			t.Error(diff)
		}
		if got := events.Causation(w.inbox[0]); got != "cmd-1" {
			t.Errorf("caused by %q", got)
		}
		if got := w.tells["import"]; got.State != events.StepFailed || got.Of != "node.seedpull.requested" {
			t.Errorf("last report: %+v", got)
		}
	})
}

func TestUndoThatFailsIsToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stories["an import fails"].world(t)
		w.fail["undo import"] = errors.New("it sticks")
		w.run()
		f, err := events.Decode[events.NodeFailure](w.inbox[0])
		if err != nil || f.Untouched {
			t.Errorf("fact: %+v, %v", f, err)
		}
		if n := count(w.trace, "undo import"); n != 3 {
			t.Errorf("undone %d times", n)
		}
	})
}

func TestPanicIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stories["an import fails"].world(t)
		w.when["import"] = func(*world) { panic("boom") }
		w.run()
		f, err := events.Decode[events.NodeFailure](w.inbox[0])
		if err != nil || f.Reason != events.ReasonImportFailed || f.Message != "step import: it panicked: boom" {
			t.Errorf("fact: %+v, %v", f, err)
		}
	})
}

func TestCleanupStopsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stories["an upgrade"].world(t)
		w.block["import"] = true
		w.when["import"] = func(w *world) { w.cleanup(oldRoot) }
		w.run()
		if diff := cmp.Diff([]string{"node.cleanup.completed"}, w.facts()); diff != "" {
			t.Errorf("facts:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"check-space", "import", "undo import", "remove"}, w.trace); diff != "" {
			t.Errorf("steps:\n%s", diff)
		}
	})
}

func TestRollbackStopsWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stories["an upgrade"].world(t)
		w.block["await-api"] = true
		asked := false
		w.when["await-api"] = func(w *world) {
			if !asked {
				asked = true
				w.rollback()
			}
		}
		w.run()
		want := []string{"node.seedpull.completed", "node.pivot.completed", "node.cryptoregen.completed", "node.rollback.completed", "node.cleanup.completed"}
		if diff := cmp.Diff(want, w.facts()); diff != "" {
			t.Errorf("facts:\n%s", diff)
		}
	})
}

// TestPivotWaitsForItsFollowers: nothing of a pivot happens before all three commands are in the ledger.
func TestPivotWaitsForItsFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.command(events.TypePivotRequested, "u1", events.PivotRequested{Command: w.base(&oldRoot), Target: newRoot, BudgetSeconds: 60})
		w.command(events.TypeCryptoregenRequested, "u1", events.CryptoregenRequested{Command: w.base(&newRoot)})
		w.end = func(w *world) bool { return len(w.inbox) > 0 }
		w.run()
		f, err := events.Decode[events.NodeFailure](w.inbox[0])
		if err != nil || w.facts()[0] != "node.pivot.failed" || f.Reason != events.ReasonCommandRefused || !f.Untouched {
			t.Errorf("facts: %v, %+v, %v", w.facts(), f, err)
		}
		if len(w.trace) > 0 {
			t.Errorf("steps: %v", w.trace)
		}
	})
}

func TestRedeliveryIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := stories["an upgrade"]
		w := s.world(t)
		w.run()
		for _, later := range []time.Duration{0, 100 * time.Hour} {
			time.Sleep(later)
			w.acked = 0
			w.end = func(w *world) bool { return w.acked == len(w.queue) }
			w.run()
			s.check(t, w)
		}
	})
}

// TestComingBack: the node is found on the old root although nobody asked for that.
func TestComingBack(t *testing.T) {
	for name, tc := range map[string]struct {
		record  watchdog.Record
		at      string // step in which the machine goes down
		trigger events.Trigger
		reason  events.Reason
	}{
		"watchdog, before the executor ran there": {
			watchdog.Record{Phase: watchdog.GivenUp, Old: oldRoot, New: newRoot, Boots: 4, Why: "x"}, step.Reboot, events.TriggerWatchdog, events.ReasonWatchdog,
		},
		"by hand, before the executor ran there": {
			watchdog.Record{Phase: watchdog.Armed, Old: oldRoot, New: newRoot, Boots: 1}, step.Reboot, events.TriggerUncontrolled, events.ReasonUncontrolled,
		},
		"watchdog": {
			watchdog.Record{Phase: watchdog.GivenUp, Old: oldRoot, New: newRoot, Boots: 1, Why: "x"}, "await-api", events.TriggerWatchdog, events.ReasonWatchdog,
		},
		"by hand": {
			watchdog.Record{Phase: watchdog.Armed, Old: oldRoot, New: newRoot, Boots: 1}, "await-api", events.TriggerUncontrolled, events.ReasonUncontrolled,
		},
		"by hand, after confirm": {
			watchdog.Record{Phase: watchdog.Confirmed, Old: oldRoot, New: newRoot, Boots: 1}, "confirm", events.TriggerUncontrolled, events.ReasonUncontrolled,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := stories["an upgrade"].world(t)
				down := func(w *world) {
					w.when, w.record, w.next = map[string]func(*world){}, tc.record, oldRoot
					w.effects["rebooting"] = true
					w.kill()
				}
				w.when[tc.at] = down
				w.run()
				i := slices.Index(w.facts(), "node.rollback.completed")
				if i < 0 {
					t.Fatalf("facts: %v", w.facts())
				}
				f, err := events.Decode[events.NodeRollbackCompleted](w.inbox[i])
				if err != nil || f.Trigger != tc.trigger || f.Failure == nil || f.Failure.Reason != tc.reason {
					t.Errorf("fact: %+v, %v", f, err)
				}
				if slices.Contains(w.facts(), "node.pivot.failed") || w.booted != oldRoot {
					t.Errorf("facts: %v; booted %s", w.facts(), w.booted.Stateroot)
				}
			})
		})
	}
}

// TestNeverLeft: the machine went down for the pivot and came up where it was; the new root never ran.
func TestNeverLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := stories["an upgrade"].world(t)
		w.when[step.Reboot] = func(w *world) { w.next = oldRoot }
		w.run()
		want := []string{"node.seedpull.completed", "node.pivot.failed", "node.cleanup.completed"}
		if diff := cmp.Diff(want, w.facts()); diff != "" {
			t.Errorf("facts:\n%s", diff)
		}
		if w.effects["arm-watchdog"] || w.effects["write-units"] || w.next != oldRoot {
			t.Errorf("left: %v, default %s", w.done(), w.next.Stateroot)
		}
	})
}

func count(list []string, s string) (n int) {
	for _, e := range list {
		if e == s {
			n++
		}
	}
	return n
}
