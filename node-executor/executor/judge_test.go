package executor_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reroot-dev/reroot/events"
)

// TestRefusals: what the executor does not carry out is answered with a fact that says why, and nothing happens.
func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		before func(w *world) // an upgrade that was, if any
		send   func(w *world)
		fact   string
		why    string
	}{
		"another deployment": {
			send: func(w *world) {
				w.command(events.TypeConfirmRequested, "u1", events.ConfirmRequested{Command: w.base(&newRoot)})
			},
			fact: "node.confirm.failed", why: "it is meant for deployment rhcos_4.17.0-bbbbbbbbbbbb.0, the node runs rhcos-aaaaaaaaaaaa.0",
		},
		"too late": {
			send: func(w *world) {
				c := w.base(nil)
				c.NotAfter = time.Now().Add(-time.Second)
				w.command(events.TypeCleanupRequested, "u1", events.CleanupRequested{Command: c, Remove: []string{}})
			},
			fact: "node.cleanup.failed", why: "it was not to be begun after",
		},
		"an older attempt": {
			before: func(w *world) {
				c := w.base(nil)
				c.Attempt = 2
				w.command(events.TypeConfirmRequested, "u1", events.ConfirmRequested{Command: c})
			},
			send: func(w *world) {
				w.command(events.TypeConfirmRequested, "u1", events.ConfirmRequested{Command: w.base(nil)})
			},
			fact: "node.confirm.failed", why: "it belongs to attempt 1, the node has seen attempt 2",
		},
		"an upgrade that was cleaned up": {
			before: func(w *world) { w.cleanup(oldRoot) },
			send:   func(w *world) { w.seedpull("u1") },
			fact:   "node.seedpull.failed", why: "upgrade u1 was cleaned up",
		},
		"crypto regeneration without a pivot": {
			send: func(w *world) {
				w.command(events.TypeCryptoregenRequested, "u1", events.CryptoregenRequested{Command: w.base(&newRoot)})
			},
			fact: "node.cryptoregen.failed", why: "no pivot precedes it",
		},
		"not for the root that the pivot leads to": {
			send: func(w *world) {
				w.command(events.TypePivotRequested, "u1", events.PivotRequested{Command: w.base(&oldRoot), Target: newRoot, BudgetSeconds: 60})
				w.command(events.TypeReconfigureRequested, "u1", events.ReconfigureRequested{Command: w.base(&oldRoot)})
			},
			fact: "node.reconfigure.failed", why: "the pivot leads to rhcos_4.17.0-bbbbbbbbbbbb.0",
		},
		"a command that this release has no plan for": {
			send: func(w *world) {
				w.command(events.TypePrecacheRequested, "u1", events.PrecacheRequested{Command: w.base(nil), Stateroot: "rhcos_4.17.0"})
			},
			fact: "node.precache.failed", why: "this reroot-node does not know it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				if tc.before != nil {
					tc.before(w)
					w.end = func(w *world) bool { return len(w.inbox) == 1 }
					w.run()
				}
				steps, facts := len(w.trace), len(w.inbox)
				tc.send(w)
				w.end = func(w *world) bool { return slices.Contains(w.facts()[facts:], tc.fact) }
				w.run()
				i := facts + slices.Index(w.facts()[facts:], tc.fact)
				f, err := events.Decode[events.NodeFailure](w.inbox[i])
				if err != nil || f.Reason != events.ReasonCommandRefused || !f.Untouched || !strings.Contains(f.Message, tc.why) {
					t.Errorf("fact: %+v, %v; want %q", f, err, tc.why)
				}
				if len(w.trace) > steps {
					t.Errorf("steps: %v", w.trace[steps:])
				}
			})
		})
	}
}

// TestRollbackWhereTheNodeIsAlready is no refusal: the node is where the hub wants it.
func TestRollbackWhereTheNodeIsAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.rollback()
		w.end = func(w *world) bool { return len(w.inbox) == 1 }
		w.run()
		if got := w.facts()[0]; got != "node.rollback.completed" || w.boots > 0 {
			t.Errorf("fact %s after %d reboots", got, w.boots)
		}
	})
}

func TestWhatIsNoCommandIsIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.command(events.TypeFinalizeStarted, "u1", events.FinalizeStarted{})
		w.command(events.TypeConfirmRequested, "u1", map[string]any{"attempt": "many"})
		w.command("dev.reroot.node.dance.requested.v1", "u1", map[string]any{})
		w.end = func(w *world) bool { return w.acked == 3 }
		w.run()
		if len(w.inbox) > 0 || len(w.trace) > 0 {
			t.Errorf("facts %v, steps %v", w.facts(), w.trace)
		}
	})
}
