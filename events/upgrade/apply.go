package upgrade

import (
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade/extract"
)

// GuardError says that a decision or request is not allowed in the state. It is an answer, not a fault.
type GuardError struct {
	Type   events.Type
	Phase  Phase
	Reason events.Reason
	Detail string
}

func (e *GuardError) Error() string {
	return fmt.Sprintf("%s is not allowed in phase %s: %s", e.Type.Short(), e.Phase, e.Detail)
}

// Apply folds the next event of the history into the state. Hash is the event's own hash, see [events.Hash]. It
// returns a [GuardError] when a decision or request is not allowed, and another error when the event cannot be read;
// the state is then unchanged.
func (s State) Apply(e event.Event, hash string) (State, error) {
	t := events.TypeOf(e)
	d, ok := events.Lookup(t)
	if !ok || d.Kind == events.Ephemeral {
		return s, fmt.Errorf("cannot fold %s: it is not an event of a history", e.Type())
	}
	rule := Rules[t]
	expected := s.Phase.in(rule.From)
	if !expected && d.Kind != events.Fact {
		return s, s.refuse(t, "allowed in: %v", rule.From)
	}
	if e.Subject() != s.Upgrade && d.Kind == events.Decision && t != events.TypeJournalRestarted {
		return s, s.refuse(t, "it is about upgrade %q, the last one is %q", e.Subject(), s.Upgrade)
	}
	expected = expected && (d.Kind != events.Fact || e.Subject() == s.Upgrade)
	next := s
	if err := next.learn(d.Kind, t, e, expected); err != nil {
		return s, err
	}
	next.Sequence, next.Hash = s.Sequence+1, hash
	if to := next.follow(t, rule); expected && to != s.Phase {
		next.enter(to, e)
	}
	if err := Check(s, next); err != nil {
		return s, &GuardError{Type: t, Phase: s.Phase, Reason: events.ReasonInternal, Detail: err.Error()}
	}
	return next, nil
}

func (s State) refuse(t events.Type, format string, args ...any) error {
	reason := events.ReasonIllegalTransition
	switch {
	case t == events.TypeUpgradeRequested:
		reason = events.ReasonUpgradeInProgress
	case s.Phase.Dark():
		reason = events.ReasonNodeDark
	}
	return &GuardError{Type: t, Phase: s.Phase, Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// follow is the phase after an expected event; only upgrade.failed leads to different ones.
func (s State) follow(t events.Type, rule Rule) Phase {
	switch {
	case t == events.TypeUpgradeFailed && s.Phase.in(beforePivot):
		return UpgradeFailed
	case t == events.TypeUpgradeFailed && s.Phase.in(inNewRoot):
		return Failing
	case rule.To == "":
		return s.Phase
	}
	return rule.To
}

// enter changes the phase and keeps the stage times.
func (s *State) enter(to Phase, e event.Event) {
	at := events.Recorded(e)
	if at.IsZero() {
		at = e.Time()
	}
	s.History = clocked(s.History, to, at)
	if to.in(results) {
		s.Result = to
	}
	s.Phase, s.PhaseSince, s.PhaseCause, s.Overdue = to, at, e.ID(), false
}

// clocked returns a copy of the stage times in which the open phase ends and phase to begins at the time.
func clocked(h []StageTime, to Phase, at time.Time) []StageTime {
	h = roomy(h)
	if n := len(h) - 1; n >= 0 {
		last := &h[n]
		last.Phases = roomy(last.Phases)
		if p := len(last.Phases) - 1; p >= 0 && last.Phases[p].End.IsZero() {
			last.Phases[p].End = at
		}
		if last.End.IsZero() && (to.Stage() != last.Stage || completes(to)) {
			last.End = at
		}
	}
	if n := len(h) - 1; n < 0 || h[n].Stage != to.Stage() {
		h = append(h, StageTime{Stage: to.Stage(), Start: at})
	}
	if !completes(to) {
		last := &h[len(h)-1]
		last.End = time.Time{} // a stage that failed is tried again
		last.Phases = append(last.Phases, PhaseTime{Phase: to, Start: at})
	}
	return h
}

// roomy is a copy with room for one more.
func roomy[T any](list []T) []T { return append(make([]T, 0, len(list)+1), list...) }

// completes says that a phase is the end of its stage, not something that takes time.
func completes(p Phase) bool {
	return p.in(results) || p.in([]Phase{Idle, Prepared, CleanupFailed})
}

// learn takes from the event what the state keeps. Facts are learnt whether or not they were expected.
func (s *State) learn(k events.Kind, t events.Type, e event.Event, expected bool) error {
	if k == events.Fact {
		return read(e, extract.OfFact, func(f extract.Fact) error { s.hear(t, f, expected); return nil })
	}
	switch t {
	case events.TypeUpgradeRequested:
		return read(e, extract.Requested, func(p events.UpgradeRequested) error { return s.begin(e, p) })
	case events.TypeStageRejected:
		s.Rejections++
	case events.TypePrepStarted:
		s.Attempt++
	case events.TypePrepValidated:
		return read(e, extract.Validated, func(p events.PrepValidated) error {
			s.Checks, s.Seed, s.Origin = p.Checks, p.Seed, p.Cluster
			return nil
		})
	case events.TypePrepFailed:
		return read(e, extract.PrepFailed, func(p events.PrepFailed) error {
			if p.Checks != nil {
				s.Checks = p.Checks
			}
			s.Failure = &p.Failure
			return nil
		})
	case events.TypeBackupCompleted:
		return read(e, extract.Backups, func(b []events.BackupRef) error { s.Backups, s.BackupsDone = b, true; return nil })
	case events.TypePivotRequested:
		s.Pivots++
	case events.TypeRestoreCompleted:
		return read(e, extract.Restores, func(r []events.RestoreRef) error { s.Restores = r; return nil })
	case events.TypeBackupFailed, events.TypeManifestsFailed, events.TypeRestoreFailed, events.TypeUpgradeFailed, events.TypeRollbackFailed, events.TypeIdleFailed:
		return read(e, extract.Failure, func(f events.Failure) error { s.Failure = &f; return nil })
	case events.TypeRollbackStarted:
		if s.Old == nil || s.Pivots == 0 {
			return s.refuse(t, "the node has not been asked to leave the old root")
		}
		return read(e, extract.Trigger, func(by events.Trigger) error { s.Trigger = by; return nil })
	case events.TypeUpgradeCompleted:
		s.Failure = nil
	case events.TypeIdleReached:
		if s.Result == "" || s.Result == Upgraded {
			s.Failure = nil // what went wrong while cleaning up is mended
		}
	case events.TypeNodeOverdue:
		return read(e, extract.Wait, s.alert)
	case events.TypeDeadlinePassed:
		return read(e, extract.Wait, s.expire)
	case events.TypeJournalRestarted:
		return read(e, extract.Booted, func(d *events.Deployment) error { s.Booted = d; return nil })
	}
	return nil
}

func (s *State) begin(e event.Event, p events.UpgradeRequested) error {
	if e.Subject() == s.Upgrade {
		return &GuardError{Type: events.TypeUpgradeRequested, Phase: s.Phase, Reason: events.ReasonIllegalTransition,
			Detail: fmt.Sprintf("upgrade %s has already been; give the new one another id", s.Upgrade)}
	}
	*s = State{Cluster: s.Cluster, Sequence: s.Sequence, Hash: s.Hash, Phase: s.Phase, Booted: s.Booted, BootID: s.BootID,
		Upgrade: e.Subject(), Spec: p.Spec, Through: p.Through}
	return nil
}

// hear learns a fact.
func (s *State) hear(t events.Type, f extract.Fact, expected bool) {
	s.Booted, s.BootID, s.Overdue = &f.Booted, f.BootID, false
	if !expected {
		return
	}
	switch t {
	case events.TypeSeedpullCompleted:
		s.Old, s.New = &f.Booted, f.Target
	case events.TypeConfirmCompleted:
		s.Confirmed = true
	case events.TypeNodeRollbackCompleted:
		s.Trigger = f.Trigger
		if f.Cause != nil {
			s.Failure = f.Cause
		}
	}
	if f.Failure.Reason != "" {
		s.Failure = &f.Failure
	}
}

func (s *State) alert(wait string) error {
	for _, w := range s.Waits() {
		if w.Name() == wait && w.Alert {
			s.Overdue = true
			return nil
		}
	}
	return s.refuse(events.TypeNodeOverdue, "nothing waits for %s", wait)
}

func (s *State) expire(wait string) error {
	for _, w := range s.Waits() {
		if w.Name() == wait && !w.Alert {
			return nil
		}
	}
	return s.refuse(events.TypeDeadlinePassed, "nothing that may expire waits for %s", wait)
}

// read extracts what is kept of the payload.
func read[T any](e event.Event, extract func([]byte) (T, error), keep func(T) error) error {
	p, err := extract(e.Data())
	if err != nil {
		return fmt.Errorf("cannot read the payload of %s %s: %w", events.TypeOf(e).Short(), e.ID(), err)
	}
	return keep(p)
}
