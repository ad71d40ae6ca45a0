package upgrade

import "github.com/reroot-dev/reroot/events"

// Phase says where the open upgrade stands. Each names what is being done or was reached.
type Phase string

// Phases in the order of a good upgrade, then those of the ways out.
const (
	Idle        Phase = "Idle"        // no upgrade is open
	Requested   Phase = "Requested"   // admitted, not yet started
	Validating  Phase = "Validating"  // preconditions are being checked
	Seedpull    Phase = "Seedpull"    // the node imports the seed image
	Precache    Phase = "Precache"    // the node pulls container images
	Prepared    Phase = "Prepared"    // Prep is complete
	Backup      Phase = "Backup"      // Velero backs up
	BackedUp    Phase = "BackedUp"    // the pivot may be commanded
	Pivot       Phase = "Pivot"       // dark: the node reboots
	Cryptoregen Phase = "Cryptoregen" // in the new root: keys are regenerated
	Reconfigure Phase = "Reconfigure" // in the new root: identity is applied, the API comes up
	Manifests   Phase = "Manifests"   // extra manifests are applied
	Restore     Phase = "Restore"     // Velero restores
	Confirm     Phase = "Confirm"     // the node is asked to keep the new root
	Confirmed   Phase = "Confirmed"   // the node keeps it
	Upgraded    Phase = "Upgraded"    // the Upgrade stage is complete

	PrepFailed     Phase = "PrepFailed"
	UpgradeFailed  Phase = "UpgradeFailed"  // before the pivot: the old root runs, only Idle is left
	Failing        Phase = "Failing"        // after the pivot: a rollback is about to start
	RollingBack    Phase = "RollingBack"    // the node is asked to boot the old root
	BackOnOld      Phase = "BackOnOld"      // the node reports the old root
	RolledBack     Phase = "RolledBack"     // the Rollback stage is complete
	RollbackFailed Phase = "RollbackFailed" // the old root could not be booted
	Finalizing     Phase = "Finalizing"     // the other root is removed
	Aborting       Phase = "Aborting"       // the new root is removed
	CleanupFailed  Phase = "CleanupFailed"  // removing failed; Idle may be asked for again
)

// Phases lists every phase.
var Phases = []Phase{
	Idle, Requested, Validating, Seedpull, Precache, Prepared, Backup, BackedUp, Pivot, Cryptoregen, Reconfigure,
	Manifests, Restore, Confirm, Confirmed, Upgraded, PrepFailed, UpgradeFailed, Failing, RollingBack, BackOnOld,
	RolledBack, RollbackFailed, Finalizing, Aborting, CleanupFailed,
}

var (
	prepPhases    = []Phase{Requested, Validating, Seedpull, Precache}
	beforePivot   = []Phase{Backup, BackedUp}
	inNewRoot     = []Phase{Cryptoregen, Reconfigure, Manifests, Restore, Confirm}
	cleaning      = []Phase{Finalizing, Aborting}
	abortable     = join(prepPhases, []Phase{Prepared, PrepFailed}, beforePivot, []Phase{UpgradeFailed, CleanupFailed})
	finalizable   = []Phase{Upgraded, RolledBack, CleanupFailed}
	rollbackable  = join(inNewRoot, []Phase{Failing, Upgraded, RollbackFailed})
	results       = []Phase{Upgraded, RolledBack, PrepFailed, UpgradeFailed, RollbackFailed}
	everywhereBut = func(p ...Phase) []Phase { return without(Phases, p) }
)

// Dark says that the node is between two roots: deadlines may only alert, and no stage may be asked for.
func (p Phase) Dark() bool { return p == Pivot }

// Open says that an upgrade has begun and has not reached Idle again.
func (p Phase) Open() bool { return p != Idle }

// InNewRoot says that the node has reported the new root and has not been asked to leave it.
func (p Phase) InNewRoot() bool {
	return p.in(inNewRoot) || p == Confirmed || p == Failing || p == Upgraded
}

// Stage is the stage of the ImageBasedUpgrade that the phase belongs to.
func (p Phase) Stage() events.Stage {
	switch {
	case p == Idle || p.in(cleaning) || p == CleanupFailed:
		return events.StageIdle
	case p.in(prepPhases) || p == Prepared || p == PrepFailed:
		return events.StagePrep
	case p == RollingBack || p == BackOnOld || p == RolledBack || p == RollbackFailed:
		return events.StageRollback
	}
	return events.StageUpgrade
}

// ValidNextStages are the stages that may be asked for, in the order in which the ImageBasedUpgrade's status lists
// them (lifecycle-agent's getValidNextStageList). Two dead ends of that list are opened: after a failed rollback
// Rollback may be asked for again, after a failed cleanup Idle.
func (p Phase) ValidNextStages() []events.Stage {
	switch {
	case p == Idle:
		return []events.Stage{events.StagePrep}
	case p.in(prepPhases), p == PrepFailed, p == UpgradeFailed, p == RolledBack, p == CleanupFailed, p.in(beforePivot):
		return []events.Stage{events.StageIdle}
	case p == Prepared:
		return []events.Stage{events.StageIdle, events.StageUpgrade}
	case p == Upgraded:
		return []events.Stage{events.StageIdle, events.StageRollback}
	case p.in(inNewRoot), p == Failing, p == RollbackFailed:
		return []events.Stage{events.StageRollback}
	}
	return []events.Stage{}
}

func (p Phase) in(list []Phase) bool {
	for _, q := range list {
		if p == q {
			return true
		}
	}
	return false
}

func join(lists ...[]Phase) []Phase {
	var all []Phase
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func without(list, drop []Phase) []Phase {
	var kept []Phase
	for _, p := range list {
		if !p.in(drop) {
			kept = append(kept, p)
		}
	}
	return kept
}
