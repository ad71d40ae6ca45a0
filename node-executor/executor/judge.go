package executor

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
)

// command is a command that came in: the job that it would be, and the conditions that it makes.
type command struct {
	job ledger.Job
	events.Command
	sequence uint64
	target   *events.Deployment // of a pivot or rollback
}

// read makes a command of an event. Anything that is not a valid command of a known type is an error.
func read(e event.Event, here Place) (command, error) {
	if p := events.Validate(e); p != nil {
		return command{}, p
	}
	var p struct {
		events.Command
		Target *events.Deployment `json:"target"`
	}
	if err := json.Unmarshal(e.Data(), &p); err != nil {
		return command{}, err
	}
	t := events.TypeOf(e)
	if _, ok := events.Lookup(failed(t)); !ok {
		return command{}, fmt.Errorf("%s is not a command", t.Short())
	}
	return command{
		job:      ledger.Job{ID: e.ID(), Type: t, Cause: e, Data: e.Data(), Attempt: p.Attempt, From: here.Booted},
		Command:  p.Command,
		sequence: events.Sequence(e),
		target:   p.Target,
	}, nil
}

type verdict int

const (
	accept verdict = iota
	ignore         // it was answered before
	refuse         // a fact says why
)

// judge says what to do with a command. It is pure.
//
// A command that is delivered again is ignored without a word. The ledger remembers the ids of the last commands; an
// older one, from a consumer that was made anew, shows by being both expired and from the part of the journal that was
// read before.
func judge(s ledger.State, c command, here Place, now time.Time) (verdict, string) {
	expired := now.After(c.NotAfter)
	open := slices.IndexFunc(s.Jobs, ledger.Job.Open) >= 0
	sameUpgrade := c.job.Upgrade() == s.Upgrade
	switch {
	case s.Knows(c.job.ID):
		return ignore, "it is known"
	case expired && c.sequence != 0 && c.sequence <= s.Sequence:
		return ignore, "it was answered long ago"
	case expired:
		return refuse, fmt.Sprintf("it was not to be begun after %s", c.NotAfter.UTC().Format(time.RFC3339))
	case slices.Contains(s.Closed, c.job.Upgrade()) && c.job.Type != events.TypeCleanupRequested:
		return refuse, fmt.Sprintf("upgrade %s was cleaned up", c.job.Upgrade())
	case !sameUpgrade && open:
		return refuse, fmt.Sprintf("upgrade %s is still under way on this node", s.Upgrade)
	case sameUpgrade && c.Attempt < s.Attempt:
		return refuse, fmt.Sprintf("it belongs to attempt %d, the node has seen attempt %d", c.Attempt, s.Attempt)
	case follows(c.job.Type):
		return judgeFollower(s, c)
	case c.job.Type == events.TypeNodeRollbackRequested && c.target != nil && *c.target == here.Booted:
		return accept, "" // the node is where it is wanted, for whatever reason: that is its answer
	case c.For != nil && *c.For != here.Booted:
		return refuse, fmt.Sprintf("it is meant for deployment %s, the node runs %s", name(*c.For), name(here.Booted))
	}
	return accept, ""
}

// follows says that a command runs in the new root, after the pivot that it was stated with.
func follows(t events.Type) bool {
	return t == events.TypeCryptoregenRequested || t == events.TypeReconfigureRequested
}

func judgeFollower(s ledger.State, c command) (verdict, string) {
	p, ok := s.Newest(events.TypePivotRequested)
	if !ok || p.Attempt != c.Attempt || p.Superseded || p.Result == ledger.NotDone {
		return refuse, "no pivot precedes it"
	}
	to, err := target(p)
	if err != nil {
		return refuse, err.Error()
	}
	if c.For != nil && *c.For != to {
		return refuse, fmt.Sprintf("it is meant for deployment %s, the pivot leads to %s", name(*c.For), name(to))
	}
	return accept, ""
}

// target is the deployment that a pivot or rollback boots.
func target(j ledger.Job) (events.Deployment, error) {
	var p struct {
		Target events.Deployment `json:"target"`
	}
	if err := json.Unmarshal(j.Data, &p); err != nil {
		return p.Target, fmt.Errorf("cannot read command %s: %w", j.ID, err)
	}
	return p.Target, nil
}

func name(d events.Deployment) string {
	return fmt.Sprintf("%s-%.12s.%d", d.Stateroot, d.Commit, d.Serial)
}
