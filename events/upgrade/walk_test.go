package upgrade_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

// node is a point of the state space: what guards and functions look at, without times, ids and texts.
type node struct {
	phase                         upgrade.Phase
	booted, old, new              string
	backups, confirmed, overdue   bool
	pivots, attempt, failedReason string
}

func place(s upgrade.State) node {
	root := func(d *events.Deployment) string {
		if d == nil {
			return ""
		}
		return d.Stateroot
	}
	n := node{phase: s.Phase, booted: root(s.Booted), old: root(s.Old), new: root(s.New), backups: s.BackupsDone,
		confirmed: s.Confirmed, overdue: s.Overdue, pivots: fmt.Sprint(s.Pivots), attempt: fmt.Sprint(s.Attempt)}
	if s.Failure != nil {
		n.failedReason = string(s.Failure.Reason)
	}
	return n
}

// walk visits every state that any order of events can lead to within one upgrade, and says what leads where.
func walk(t *testing.T) (states map[node]upgrade.State, edges map[node]map[events.Type]node) {
	t.Helper()
	states, edges = map[node]upgrade.State{}, map[node]map[events.Type]node{}
	start := upgrade.New(upgradetest.Cluster)
	queue := []upgrade.State{start}
	states[place(start)] = start
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		here := place(s)
		edges[here] = map[events.Type]node{}
		for _, d := range events.Catalogue() {
			if d.Kind == events.Ephemeral {
				continue
			}
			y := &upgradetest.Story{Upgrade: "up-1", Told: int(s.Sequence)}
			next, err := s.Apply(y.Tell(s, d.Type, nil), "h")
			if err != nil {
				continue
			}
			there := place(next)
			edges[here][d.Type] = there
			if _, seen := states[there]; !seen {
				states[there] = next
				queue = append(queue, next)
			}
		}
	}
	return states, edges
}

func TestStateSpace(t *testing.T) {
	states, edges := walk(t)
	t.Logf("%d states", len(states))

	t.Run("every phase is reached", func(t *testing.T) {
		reached := map[upgrade.Phase]bool{}
		for n := range states {
			reached[n.phase] = true
		}
		for _, p := range upgrade.Phases {
			if !reached[p] {
				t.Errorf("no event leads to phase %s", p)
			}
		}
	})

	t.Run("Idle or RolledBack is reachable from everywhere", func(t *testing.T) {
		good := map[node]bool{}
		for changed := true; changed; {
			changed = false
			for n, out := range edges {
				if good[n] {
					continue
				}
				if n.phase == upgrade.Idle || n.phase == upgrade.RolledBack {
					good[n], changed = true, true
					continue
				}
				for _, to := range out {
					if good[to] {
						good[n], changed = true, true
						break
					}
				}
			}
		}
		for n := range states {
			if !good[n] {
				t.Errorf("no way out of %+v", n)
			}
		}
	})

	t.Run("nothing is stuck", func(t *testing.T) {
		for n, s := range states {
			if n.phase == upgrade.Idle || len(s.Phase.ValidNextStages()) > 0 || len(s.Waits()) > 0 || s.Overdue {
				continue // a person or a deadline moves it on
			}
			if !movedByFunction(n.phase) {
				t.Errorf("in %+v nothing is awaited and nobody may ask for anything", n)
			}
		}
	})
}

// movedByFunction says that an event which leads into the phase, or keeps it, makes a function emit one that leaves it.
func movedByFunction(p upgrade.Phase) bool {
	for _, r := range upgrade.Reactions {
		into := upgrade.Rules[r.On].To
		if into != p && !(into == "" && slices.Contains(upgrade.Rules[r.On].From, p)) {
			continue
		}
		for _, emitted := range r.Emits {
			rule := upgrade.Rules[emitted]
			if slices.Contains(rule.From, p) && rule.To != p && rule.To != "" {
				return true
			}
		}
	}
	return false
}

func TestReactionsAndRulesAgree(t *testing.T) {
	consumed := map[events.Type]bool{}
	for _, r := range upgrade.Reactions {
		consumed[r.On] = true
		for _, e := range r.Emits {
			d, ok := events.Lookup(e)
			if !ok {
				t.Fatalf("%s emits %s, which is not in the catalogue", r.Function, e)
			}
			if !slices.Contains(d.Writers, r.Function) {
				t.Errorf("%s emits %s, but the catalogue's writers of it are %v", r.Function, e.Short(), d.Writers)
			}
		}
	}
	terminal := []events.Type{
		events.TypeStageRejected, events.TypePrepFailed, events.TypeRollbackCompleted, events.TypeRollbackFailed,
		events.TypeIdleReached, events.TypeIdleFailed, events.TypeNodeOverdue, events.TypeJournalRestarted,
		// The node goes back by itself after these two; what follows is node.rollback.completed.
		events.TypeCryptoregenCompleted, events.TypeCryptoregenFailed, events.TypeReconfigureFailed,
	}
	for _, d := range events.Catalogue() {
		if d.Kind == events.Ephemeral {
			continue
		}
		if _, ok := upgrade.Rules[d.Type]; !ok {
			t.Errorf("%s has no rule", d.Type.Short())
		}
		if !consumed[d.Type] && !slices.Contains(terminal, d.Type) {
			t.Errorf("nobody reacts to %s, and it is not terminal", d.Type.Short())
		}
		if consumed[d.Type] && slices.Contains(terminal, d.Type) {
			t.Errorf("%s is called terminal, but somebody reacts to it", d.Type.Short())
		}
	}
}
