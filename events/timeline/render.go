package timeline

import (
	"cmp"
	"fmt"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// Colours of a line, as ANSI SGR parameters.
const (
	plain  = ""
	red    = "31"
	green  = "32"
	yellow = "33"
)

// block collects lines that are clean and fit a width.
type block struct {
	lines []string
	width int
	color bool
}

func (b *block) add(color, format string, args ...any) {
	line := fit(clean(fmt.Sprintf(format, args...)), b.width)
	if b.color && color != plain {
		line = "\x1b[" + color + "m" + line + "\x1b[0m"
	}
	b.lines = append(b.lines, line)
}

// Render is the upgrade as a block of lines of at most width characters (0: unbounded), as it is at the time now. While
// the upgrade goes on, only the running stage shows its phases; in the end all do, and the outcome stands below. Before
// the first upgrade the block is one line.
func (m *Model) Render(width int, now time.Time) []string {
	b := &block{width: width, color: m.Color}
	s := m.state
	if s.Upgrade == "" {
		b.add(plain, "%s: no upgrade yet", s.Cluster)
		return b.lines
	}
	b.add(plain, "%s %s: %s to %s, through %s", s.Cluster, s.Upgrade, cmp.Or(s.Origin.Version, "?"), s.Spec.SeedImageRef.Version, s.Through)
	for i, stage := range s.History {
		if len(stage.Phases) == 0 {
			continue
		}
		running := i == len(s.History)-1 && m.ends[stage.Stage] == ""
		m.stage(b, stage, running, now)
		if running || m.Settled() {
			phases(b, stage, now)
		}
	}
	m.now(b)
	if m.Settled() {
		m.outcome(b)
	}
	if m.note != "" {
		b.add(yellow, "%s", m.note)
	}
	return b.lines
}

// stage adds a stage's line.
func (m *Model) stage(b *block, stage upgrade.StageTime, running bool, now time.Time) {
	how, color := string(cmp.Or(m.ends[stage.Stage], left)), plain
	switch {
	case running:
		how, color = "running", yellow
	case how == string(done):
		color = green
	case how == string(failed):
		color = red
	}
	b.add(color, "%-14s %7s  %s", stage.Stage, Elapsed(ended(stage, now).Sub(stage.Start)), how)
}

// ended is when a stage's last phase ended, or now.
func ended(stage upgrade.StageTime, now time.Time) time.Time {
	if last := stage.Phases[len(stage.Phases)-1]; !last.End.IsZero() {
		return last.End
	}
	return now
}

func phases(b *block, stage upgrade.StageTime, now time.Time) {
	for _, p := range stage.Phases {
		end := p.End
		if end.IsZero() {
			end = now
		}
		b.add(plain, "  %-12s %7s", p.Phase, Elapsed(end.Sub(p.Start)))
	}
}

// now adds what the running phase does: every step that is not done, or the last one that is.
func (m *Model) now(b *block) {
	if m.Settled() {
		return
	}
	var last *events.StepProgressed
	shown := false
	for i, p := range m.steps {
		if !m.concerns(p) {
			continue
		}
		if last = &m.steps[i]; p.State != events.StepDone {
			color := plain
			if p.State == events.StepFailed {
				color = red
			}
			b.add(color, "    %s", exact(p))
			shown = true
		}
	}
	if !shown && last != nil {
		b.add(plain, "    %s", exact(*last))
	}
	if m.state.Overdue {
		b.add(yellow, "overdue: the node is silent for longer than expected; its own watchdog decides")
	}
	if f := m.state.Failure; f != nil {
		b.add(red, "failure: %s: %s", f.Reason, f.Message)
	}
}

// outcome adds how the upgrade ended, why, and what may be asked for now.
func (m *Model) outcome(b *block) {
	s := m.state
	end := s.PhaseSince
	color := red
	if s.Failure == nil && s.Result != upgrade.RolledBack {
		color = green
	}
	b.add(color, "outcome: %s, %s", Outcome(s), Elapsed(end.Sub(m.began)))
	if f := s.Failure; f != nil {
		b.add(red, "because: %s: %s", f.Reason, f.Message)
		if f.Next != "" {
			b.add(plain, "do: %s", f.Next)
		}
	}
	if next := s.Phase.ValidNextStages(); s.Phase != upgrade.Idle && len(next) > 0 {
		b.add(plain, "next: %s", Stages(next))
	}
}

// Outcome says in a few printable words where an upgrade stands, or how it ended.
func Outcome(s upgrade.State) string { return clean(outcome(s)) }

func outcome(s upgrade.State) string {
	switch s.Phase {
	case upgrade.Upgraded:
		return "upgraded to " + s.Spec.SeedImageRef.Version
	case upgrade.Prepared:
		return "prepared"
	case upgrade.RolledBack:
		return fmt.Sprintf("rolled back (trigger: %s); the old root runs", s.Trigger)
	case upgrade.PrepFailed, upgrade.UpgradeFailed:
		return fmt.Sprintf("%s failed before the pivot; the old root runs", s.Phase.Stage())
	case upgrade.RollbackFailed:
		return "the way back failed"
	case upgrade.CleanupFailed:
		return "cleaning up failed"
	case upgrade.Idle:
		return closed(s)
	}
	return "in phase " + string(s.Phase)
}

// closed says how an upgrade ended that is closed.
func closed(s upgrade.State) string {
	switch s.Result {
	case upgrade.Upgraded:
		return "upgraded to " + s.Spec.SeedImageRef.Version + " and finalized"
	case upgrade.RolledBack, upgrade.RollbackFailed:
		return "rolled back and cleaned up"
	case upgrade.PrepFailed, upgrade.UpgradeFailed:
		return "failed before the pivot and cleaned up"
	}
	return "aborted and cleaned up"
}
