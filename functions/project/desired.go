package project

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
)

// Desired is what the ImageBasedUpgrade shows of a state.
type Desired struct {
	Stage           events.Stage // of the spec
	Conditions      []metav1.Condition
	ValidNextStages []events.Stage
	History         []v1.History
}

// Project is what the ImageBasedUpgrade shows of a state. Types, order, reasons and texts are the lifecycle-agent's;
// it clears the history while the stage is Idle.
func Project(s upgrade.State) Desired {
	d := Desired{Stage: stage(s), Conditions: conditions(s), ValidNextStages: s.Phase.ValidNextStages()}
	if d.Stage != events.StageIdle {
		d.History = history(s)
	}
	return d
}

// stage is the stage that the history is in. A rollback that nobody asked for is how the Upgrade stage fails.
func stage(s upgrade.State) events.Stage {
	if st := s.Phase.Stage(); st != events.StageRollback || s.Trigger == events.TriggerUser {
		return st
	}
	return events.StageUpgrade
}

// Names of the phases in the status' history. Pivot is an addition: the lifecycle-agent leaves out the reboot, which is
// the longest of them.
const (
	phaseStateroot = "Stateroot"
	phasePrecache  = "Precache"
	phasePrePivot  = "PrePivot"
	phasePivot     = "Pivot"
	phasePostPivot = "PostPivot"
)

var phaseNames = map[upgrade.Phase]string{
	upgrade.Seedpull: phaseStateroot, upgrade.Precache: phasePrecache,
	upgrade.Backup: phasePrePivot, upgrade.BackedUp: phasePrePivot, upgrade.Pivot: phasePivot,
	upgrade.Cryptoregen: phasePostPivot, upgrade.Reconfigure: phasePostPivot, upgrade.Manifests: phasePostPivot,
	upgrade.Restore: phasePostPivot, upgrade.Confirm: phasePostPivot, upgrade.Confirmed: phasePostPivot,
}

// history is the stages with their phases, of which several of the fold's may be one.
func history(s upgrade.State) []v1.History {
	var all []v1.History
	for i, st := range s.History {
		if st.Stage == events.StageRollback && s.Trigger != events.TriggerUser {
			continue
		}
		h := v1.History{Stage: st.Stage, StartTime: at(st.Start)}
		if outcome(s, i) == succeeded {
			h.CompletionTime = at(st.End)
		}
		for _, p := range st.Phases {
			name := phaseNames[p.Phase]
			switch last := len(h.Phases) - 1; {
			case name == "":
			case last >= 0 && h.Phases[last].Phase == name:
				h.Phases[last].CompletionTime = at(p.End)
			default:
				h.Phases = append(h.Phases, v1.Phase{Phase: name, StartTime: at(p.Start), CompletionTime: at(p.End)})
			}
		}
		all = append(all, h)
	}
	return all
}

func at(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	return &metav1.Time{Time: t}
}

type ending int

const (
	running ending = iota // also: given up while it ran
	succeeded
	failed
)

// results are the results of the stages that have one.
var results = map[events.Stage]struct{ good, bad upgrade.Phase }{
	events.StagePrep:     {upgrade.Prepared, upgrade.PrepFailed},
	events.StageUpgrade:  {upgrade.Upgraded, upgrade.UpgradeFailed},
	events.StageRollback: {upgrade.RolledBack, upgrade.RollbackFailed},
}

// outcome says how the i-th stage of the history ended.
func outcome(s upgrade.State, i int) ending {
	st, result := s.History[i], results[s.History[i].Stage]
	if i == len(s.History)-1 {
		switch s.Phase {
		case result.good:
			return succeeded
		case result.bad, upgrade.Failing:
			return failed
		}
		return running
	}
	switch next := s.History[i+1]; {
	case next.Stage == events.StageUpgrade: // Prep
		return succeeded
	case next.Stage == events.StageRollback: // Upgrade
		if s.Trigger == events.TriggerUser && st.End.Before(next.Start) && s.Confirmed {
			return succeeded
		}
		return failed
	case s.Result == result.good && result.good != "":
		return succeeded
	case s.Result == result.bad && result.bad != "":
		return failed
	case st.Stage == events.StagePrep && st.End.Before(next.Start): // given up when it had ended
		return succeeded
	}
	return running
}
