package ledger

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
)

// Bounds on what is remembered of upgrades that are over, so that a command that is delivered again long after is still
// recognised. One upgrade has about eight commands.
const (
	keepCommands = 256
	keepClosed   = 32
)

// State is what the ledger says. It is a value: an older one is never changed.
type State struct {
	// Booted and BootID are of the executor's last start, nil and "" before the first.
	Booted *events.Deployment `json:"booted,omitempty"`
	BootID string             `json:"bootID,omitempty"`

	Upgrade string `json:"upgrade,omitempty"` // the upgrade that Jobs belong to
	Attempt int    `json:"attempt,omitempty"` // the highest that was seen of it
	Jobs    []Job  `json:"jobs,omitempty"`    // in the order in which they were accepted

	Commands []string `json:"commands,omitempty"` // ids of the last commands, accepted or refused
	Closed   []string `json:"closed,omitempty"`   // the last upgrades that were cleaned up

	// Sequence and Hash are of the newest event of the journal that was seen: a journal whose tail was cut off is
	// recognised by them.
	Sequence uint64 `json:"sequence,omitempty"`
	Hash     string `json:"hash,omitempty"`

	FactSequence uint64        `json:"factSequence,omitempty"` // ordinal of the newest fact
	FactHash     string        `json:"factHash,omitempty"`     // and its hash
	Outbox       []event.Event `json:"outbox,omitempty"`       // facts that are not sent yet, oldest first
}

// Job returns the job of the command with that id.
func (s State) Job(id string) (Job, bool) {
	if i := s.index(id); i >= 0 {
		return s.Jobs[i], true
	}
	return Job{}, false
}

// Newest returns the job of that type that was accepted last.
func (s State) Newest(t events.Type) (Job, bool) {
	for _, j := range slices.Backward(s.Jobs) {
		if j.Type == t {
			return j, true
		}
	}
	return Job{}, false
}

// FirstUnsent is the ordinal of the oldest fact in the outbox.
func (s State) FirstUnsent() uint64 { return s.FactSequence - uint64(len(s.Outbox)) + 1 }

// Knows says whether the command was accepted or refused before.
func (s State) Knows(id string) bool { return slices.Contains(s.Commands, id) }

func (s State) index(id string) int {
	return slices.IndexFunc(s.Jobs, func(j Job) bool { return j.ID == id })
}

// apply folds the next entry. An entry that cannot be folded was written by another release.
func (s State) apply(e Entry) (State, error) {
	if e.Fact != nil {
		s.FactSequence++
		s.FactHash = e.FactHash
		s.Outbox = append(slices.Clip(s.Outbox), *e.Fact)
	}
	switch e.Kind {
	case Started:
		s.Booted, s.BootID = e.Booted, e.BootID
	case Accepted:
		s = s.accept(*e.Accept)
		s.see(e.Sequence, e.Hash)
	case Refused:
		s.Commands = remember(s.Commands, e.Job, keepCommands)
		s.see(e.Sequence, e.Hash)
	case Reported:
	case Sent:
		for len(s.Outbox) > 0 && s.FirstUnsent() <= e.Sequence {
			s.Outbox = s.Outbox[1:]
		}
	case Snapshot:
		return *e.State, nil
	case Began, Done, Failed, Undone, Stuck, Ended:
		i := s.index(e.Job)
		if i < 0 {
			return s, fmt.Errorf("cannot fold %s: no job %s", e.Kind, e.Job)
		}
		s.Jobs = slices.Clone(s.Jobs)
		s.Jobs[i] = s.Jobs[i].advance(e)
		if e.Kind == Ended {
			s = s.settle(s.Jobs[i])
		}
	default:
		return s, fmt.Errorf("cannot fold an entry of kind %q: a newer reroot-node wrote it", e.Kind)
	}
	return s, nil
}

func (s *State) see(sequence uint64, hash string) {
	if sequence > s.Sequence {
		s.Sequence, s.Hash = sequence, hash
	}
}

// accept adds a job. A job of another upgrade opens that; a rollback or cleanup supersedes what is still open.
func (s State) accept(j Job) State {
	s.Commands = remember(s.Commands, j.ID, keepCommands)
	if j.Upgrade() != s.Upgrade {
		s.Upgrade, s.Attempt, s.Jobs = j.Upgrade(), 0, nil
	}
	s.Attempt = max(s.Attempt, j.Attempt)
	if j.Type == events.TypeNodeRollbackRequested || j.Type == events.TypeCleanupRequested {
		s = s.supersede(func(Job) bool { return true })
	}
	s.Jobs = append(slices.Clip(s.Jobs), j)
	return s
}

// settle draws the consequences of the end of a job.
func (s State) settle(j Job) State {
	switch {
	case j.Type == events.TypePivotRequested && j.Result != Completed:
		return s.supersede(func(o Job) bool { return o.Attempt == j.Attempt }) // what was to follow in the new root
	case j.Type == events.TypeCleanupRequested && j.Result == Completed:
		s.Closed = remember(s.Closed, j.Upgrade(), keepClosed)
		s.Jobs = nil
	}
	return s
}

func (s State) supersede(which func(Job) bool) State {
	s.Jobs = slices.Clone(s.Jobs)
	for i, j := range s.Jobs {
		if j.Open() && which(j) {
			s.Jobs[i].Superseded = true
		}
	}
	return s
}

func (j Job) advance(e Entry) Job {
	switch e.Kind {
	case Began:
		j.Current, j.BootID, j.Since = e.Step, e.BootID, e.At
	case Done:
		j = j.stop(e)
		j.Done = append(slices.Clip(j.Done), e.Step)
		if len(e.Notes) > 0 {
			all := maps.Clone(j.Notes)
			if all == nil {
				all = map[string]json.RawMessage{}
			}
			maps.Copy(all, e.Notes)
			j.Notes = all
		}
	case Failed:
		// The step may have done half of its work, so it counts among those to undo.
		j = j.stop(e)
		j.Done = append(slices.Clip(j.Done), e.Step)
		j.Failure = e.Failure
	case Undone:
		j.Undone = append(slices.Clip(j.Undone), e.Step)
	case Stuck:
		j.Stuck = append(slices.Clip(j.Stuck), e.Step)
	case Ended:
		j = j.stop(e)
		j.Result = e.Result
	}
	return j
}

// stop ends the current step. Where the machine was booted since, only the time since then is known.
func (j Job) stop(e Entry) Job {
	if j.Current == "" {
		return j
	}
	from := j.Since
	if e.BootID != j.BootID {
		from = 0
	}
	j.Seconds += max(0, e.At-from)
	j.Current, j.BootID, j.Since = "", "", 0
	return j
}

// remember appends to a list whose newest n elements are kept.
func remember(list []string, id string, n int) []string {
	list = append(slices.Clip(list), id)
	return list[max(0, len(list)-n):]
}
