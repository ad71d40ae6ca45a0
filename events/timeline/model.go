package timeline

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// Model is what is known of a cluster's newest upgrade, ready to be shown. Make it with [New]. It is not safe for
// concurrent use.
type Model struct {
	Color bool // paint the lines of [Model.Render] with ANSI colours

	state upgrade.State
	began time.Time               // when the upgrade was requested
	cause events.Type             // of the event that opened the phase
	ends  map[events.Stage]ending // how the stages ended that have
	steps []events.StepProgressed // in the order in which they were first reported
	line  string
	note  string
}

// ending is how a stage ended.
type ending string

const (
	done   ending = "done"
	failed ending = "failed"
	left   ending = "left" // for another one, without being completed
)

// endings are the events that end a stage.
var endings = map[events.Type]struct {
	stage events.Stage
	how   ending
}{
	events.TypePrepCompleted:     {events.StagePrep, done},
	events.TypePrepFailed:        {events.StagePrep, failed},
	events.TypeUpgradeCompleted:  {events.StageUpgrade, done},
	events.TypeUpgradeFailed:     {events.StageUpgrade, failed},
	events.TypeRollbackCompleted: {events.StageRollback, done},
	events.TypeRollbackFailed:    {events.StageRollback, failed},
	events.TypeIdleReached:       {events.StageIdle, done},
	events.TypeIdleFailed:        {events.StageIdle, failed},
}

// New is the model of a cluster's empty history.
func New(cluster string) *Model {
	return &Model{state: upgrade.New(cluster), ends: map[events.Stage]ending{}}
}

// Of is the model of one upgrade of a cluster at its end, or of the newest one when id is "". It returns the error of a
// history that cannot be read or folded, and no error but an empty model when there is no such upgrade.
func Of(log history, cluster, id string) (*Model, error) {
	m := New(cluster)
	for r, err := range log {
		if err != nil {
			return m, fmt.Errorf("cannot read the history of %s: %w", cluster, err)
		}
		if events.TypeOf(r.Event) == events.TypeUpgradeRequested && id != "" && m.state.Upgrade == id {
			return m, nil
		}
		if err := m.Event(r); err != nil {
			return m, err
		}
	}
	if id != "" && m.state.Upgrade != id {
		return New(cluster), nil
	}
	return m, nil
}

// history is what [journal.Log.Read] yields.
type history = func(yield func(journal.Record, error) bool)

// Event takes the next record of the history. The error says that it cannot follow the ones before.
func (m *Model) Event(r journal.Record) error {
	next, err := m.state.Apply(r.Event, r.Hash)
	if err != nil {
		return fmt.Errorf("cannot fold event %d of %s: %w", m.state.Sequence+1, m.state.Cluster, err)
	}
	t, at := events.TypeOf(r.Event), events.Recorded(r.Event)
	if t == events.TypeUpgradeRequested {
		*m = Model{Color: m.Color, ends: map[events.Stage]ending{}, began: at}
	}
	if next.PhaseCause != m.state.PhaseCause {
		m.cause = t
	}
	if end, ok := endings[t]; ok {
		m.ends[end.stage] = end.how
	} else if next.Phase != m.state.Phase {
		delete(m.ends, next.Phase.Stage()) // a stage that is tried again has not ended
	}
	m.state, m.note = next, ""
	m.line = fmt.Sprintf("%-7s %-8s %-12s %-26s %s", "+"+Elapsed(at.Sub(m.began)), next.Phase.Stage(), next.Phase, t.Short(), Describe(r.Event))
	return nil
}

// Progress takes the report of a step. One that is not of the newest upgrade, or is not a report, changes nothing.
func (m *Model) Progress(e event.Event) {
	p, err := events.Decode[events.StepProgressed](e)
	if err != nil || events.TypeOf(e) != events.TypeStepProgressed || e.Subject() != m.state.Upgrade {
		return
	}
	m.note = ""
	i := slices.IndexFunc(m.steps, func(q events.StepProgressed) bool { return q.Of == p.Of && q.Step == p.Step })
	if i < 0 {
		m.steps = append(m.steps, p)
	} else {
		m.steps[i] = p
	}
	if m.concerns(p) {
		m.line = clean(fmt.Sprintf("%-7s %-8s %-12s %s", "", m.state.Phase.Stage(), m.state.Phase, coarse(p)))
	}
}

// Note shows a line below the block until the next event or report, for what is no part of the history.
func (m *Model) Note(text string) { m.note, m.line = text, clean(text) }

// Line is the newest change in one line, without colour. A step's line changes with its state and with every tenth of
// its progress, so that a log holds a bounded number of them.
func (m *Model) Line() string { return m.line }

// State is the fold of what the model has seen.
func (m *Model) State() upgrade.State { return m.state }

// Settled says that nothing more will happen unless a person asks for it: the upgrade went as far as it was asked to,
// or failed and does nothing about it by itself.
func (m *Model) Settled() bool {
	switch s := m.state; s.Phase {
	case upgrade.Idle:
		return s.Upgrade != ""
	case upgrade.Prepared:
		return s.Through == events.StagePrep
	case upgrade.Upgraded:
		return s.Through != events.StageFinalize
	case upgrade.PrepFailed, upgrade.UpgradeFailed, upgrade.RolledBack, upgrade.RollbackFailed, upgrade.CleanupFailed:
		return true
	}
	return false
}

// concerns says that a report belongs to what is being done now. The node reports for a command, whose name is the
// phase's; a function reports as its step the type of the event that it works on.
func (m *Model) concerns(p events.StepProgressed) bool {
	command, ofNode := strings.CutPrefix(strings.TrimSuffix(p.Of, ".requested"), "node.")
	if !ofNode {
		return p.Step == m.cause.Short()
	}
	switch phase := m.state.Phase; phase {
	case upgrade.RollingBack:
		return command == "rollback"
	case upgrade.Finalizing, upgrade.Aborting:
		return command == "cleanup"
	default:
		return command == strings.ToLower(string(phase))
	}
}

// coarse is a step with its state and full tenths of its progress.
func coarse(p events.StepProgressed) string {
	if p.State == events.StepRunning {
		p.Fraction, p.Detail = float64(int(p.Fraction*10))/10, ""
	}
	return exact(p)
}

// exact is a step with its state, its progress in percent where that is known, and its detail.
func exact(p events.StepProgressed) string {
	step, how := p.Step, string(p.State)
	switch {
	case p.State == events.StepRunning && p.Fraction > 0:
		how = fmt.Sprintf("%d%%", int(p.Fraction*100))
	case p.State == events.StepWaiting: // a function: its step is the event that it reacts to
		step, p.Detail = p.Of, strings.TrimPrefix(p.Detail, "waiting ")
	}
	return strings.TrimRight(fmt.Sprintf("%-26s %-7s %s", step, how, p.Detail), " ")
}
