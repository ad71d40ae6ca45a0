package e2e_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
)

var (
	rounds   = flag.Int("rounds", 1, "how many upgrades TestCrash harms, each at up to four moments")
	seedFlag = flag.Uint64("seed", 0, "of TestCrash's moments, as a failed run printed it; 0 draws one")
)

// part is a part of an upgrade's life: something is asked for, and it comes to an end.
type part string

const (
	upgrading part = "upgrade"
	calm      part = "calm upgrade"                // no harm is done in it, because the next part needs the new root
	failing   part = "upgrade whose restore fails" // and the way back
	goingBack part = "rollback"                    // which the user asks for
	cleaning  part = "return to Idle"              // on the old root, after a rollback or a failure before the pivot
	aborting  part = "abort"                       // of a prepared upgrade
	keeping   part = "finalize"                    // on the new root: the old one is removed
)

// life is a whole life of an upgrade, from the request to Idle.
type life []part

// lives is the life in the i-th of n rounds. Only the last may end on the new root: there is none to upgrade to from there.
func lives(i, n int) life {
	switch {
	case n > 1 && i == n-1:
		return life{calm, keeping}
	case i%5 == 2:
		return life{failing, cleaning}
	case i%10 == 4:
		return life{aborting}
	}
	return life{upgrading, goingBack, cleaning}
}

// ends are how a part may end, whatever is done to whom meanwhile.
var ends = map[part][]upgrade.Phase{
	upgrading: {upgrade.Upgraded, upgrade.RolledBack, upgrade.UpgradeFailed, upgrade.PrepFailed},
	calm:      {upgrade.Upgraded},
	failing:   {upgrade.RolledBack},
	goingBack: {upgrade.RolledBack},
	cleaning:  {upgrade.Idle},
	aborting:  {upgrade.Idle},
	keeping:   {upgrade.Idle},
}

// TestCrash kills processes of the node and of the pipeline, and cuts the power, at random moments: of upgrades, of
// rollbacks that are asked for or that a failure brings about, of cleaning up. Nobody helps afterwards: the node's own
// units start what they start. An upgrade ends confirmed on the new root, or with a healthy old one; a rollback ends on
// the old root; Idle is reached with one stateroot left, the one that runs.
func TestCrash(t *testing.T) {
	seed := *seedFlag
	for seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to have the same moments again: go test ./test/e2e -run '^TestCrash$' -rounds %d -seed %d", *rounds, seed)
	l, p := newHostedLab(t)
	l.pace = recorded(t)
	c := crashes{lab: l, process: p, home: l.booted(), outcomes: map[string]int{}}
	for i, r := range draw(rand.New(rand.NewPCG(seed, 0)), *rounds) {
		id := fmt.Sprintf("crash-%d", i)
		for _, part := range r.life {
			c.live(id, part, r.moments[part])
		}
		l.keep(id)
	}
	t.Logf("%d moments in %d upgrades, seed %d; moments that did not come: %d; ends: %v", c.done, *rounds, seed, c.missed, c.outcomes)
}

// crashes is a run of TestCrash.
type crashes struct {
	*lab
	process *process
	home    events.Deployment // the old root

	done, missed int // moments
	outcomes     map[string]int
}

// live lives one part of an upgrade's life and checks how it ends.
func (c *crashes) live(id string, p part, moments []moment) {
	c.Helper()
	if p == goingBack && c.state.Phase != upgrade.Upgraded {
		c.Logf("=== %s: no %s, it ended in phase %s", id, p, c.state.Phase)
		c.missed += len(moments)
		return
	}
	var harms []harm
	for _, m := range moments {
		harms = append(harms, c.pace.harm(m))
	}
	c.Logf("=== %s: %s: %q", id, p, harms)
	c.begin(id, p)
	done := c.suffer(c.process, harms)
	c.done, c.missed = c.done+done, c.missed+len(harms)-done
	c.outcomes[fmt.Sprintf("%s: %s", p, c.state.Phase)]++
	if !slices.Contains(ends[p], c.state.Phase) {
		c.Fatalf("%s ended in phase %s: %+v", p, c.state.Phase, c.state.Failure)
	}
	root := c.home
	if c.state.Phase == upgrade.Upgraded || p == keeping {
		root = *c.state.New
	}
	c.verify()
	if got := c.booted(); got != root {
		c.Fatalf("%s ended in phase %s on %+v, want %+v", p, c.state.Phase, got, root)
	}
	if c.state.Phase != upgrade.Idle {
		return
	}
	if got, want := c.stateroots(), []string{root.Stateroot}; !slices.Equal(got, want) {
		c.Fatalf("%s left stateroots %v, want %v", p, got, want)
	}
	c.condition(v1.Idle, v1.ReasonIdle)
}

// begin asks for what a part is about.
func (c *crashes) begin(id string, p part) {
	c.Helper()
	switch p {
	case upgrading, calm:
		c.process.failing("")
		c.request(id, c.w.Spec(), events.StageUpgrade)
	case failing:
		c.process.failing("restore")
		c.request(id, c.w.Spec(), events.StageUpgrade)
	case goingBack:
		c.ask(events.StageRollback)
	case aborting:
		c.process.failing("")
		c.request(id, c.w.Spec(), events.StagePrep)
		if got := c.settle(upgrade.Prepared, upgrade.PrepFailed); got != upgrade.Prepared {
			c.Fatalf("there is nothing to abort: %+v", c.state.Failure)
		}
		c.ask(events.StageIdle)
	case cleaning, keeping:
		c.ask(events.StageIdle)
	}
}

// over are the phases in which nothing goes on by itself.
var over = []upgrade.Phase{
	upgrade.Idle, upgrade.Upgraded, upgrade.RolledBack, upgrade.UpgradeFailed, upgrade.PrepFailed, upgrade.RollbackFailed, upgrade.CleanupFailed,
}

// suffer follows the history to where nothing goes on by itself and does harm on the way, each once. Until the first it
// learns this machine's pace.
func (l *lab) suffer(p *process, harms []harm) (done int) {
	l.Helper()
	began, left := false, slices.Clone(harms)
	var before journal.Record
	var err error
	if l.incarnation, err = l.w.API.Incarnation(l.Context()); err != nil {
		l.Logf("no sight will be seen: %v", err)
	}
	l.follow("to end", func(s upgrade.State, r journal.Record) bool {
		if len(left) == len(harms) {
			l.pace.learn(before, r)
			before = r
		}
		left = slices.DeleteFunc(left, func(h harm) bool {
			due := h.after == events.TypeOf(r.Event)
			if due {
				l.hurt(p, h)
			}
			return due
		})
		began = began || !slices.Contains(over, s.Phase)
		return began && slices.Contains(over, s.Phase)
	})
	return len(harms) - len(left)
}
