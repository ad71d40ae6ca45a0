package upgrade

import "github.com/reroot-dev/reroot/events"

// Reaction says that a function reacts to an event and what it may then emit. The Triggers that Knative gets, the
// AsyncAPI document and the table in the README are generated from these.
type Reaction struct {
	Function string
	On       events.Type
	Emits    []events.Type
}

// Reactions is the one table of who reacts to what.
var Reactions = []Reaction{
	{"stage", events.TypeUpgradeRequested, types(events.TypePrepStarted)},
	{"stage", events.TypeStageRequested, types(events.TypeStageRejected, events.TypeUpgradeStarted, events.TypeRollbackStarted, events.TypeFinalizeStarted, events.TypeAbortStarted)},
	{"stage", events.TypePrepCompleted, types(events.TypeUpgradeStarted)},
	{"stage", events.TypeBackupFailed, types(events.TypeUpgradeFailed)},
	{"stage", events.TypePivotFailed, types(events.TypeUpgradeFailed)},
	{"stage", events.TypeUpgradeCompleted, types(events.TypeFinalizeStarted)},

	{"validate", events.TypePrepStarted, types(events.TypePrepValidated, events.TypePrepFailed)},
	{"validate", events.TypeDeadlinePassed, types(events.TypePrepFailed)},

	{"pullseed", events.TypePrepValidated, types(events.TypeSeedpullRequested)},
	{"pullseed", events.TypeSeedpullCompleted, types(events.TypePrecacheRequested)},
	{"pullseed", events.TypeSeedpullFailed, types(events.TypePrepFailed)},
	{"pullseed", events.TypePrecacheCompleted, types(events.TypePrepCompleted)},
	{"pullseed", events.TypePrecacheFailed, types(events.TypePrepFailed)},
	{"pullseed", events.TypeDeadlinePassed, types(events.TypePrepFailed)},

	{"backup", events.TypeUpgradeStarted, types(events.TypeBackupCompleted, events.TypeBackupFailed)},
	{"backup", events.TypeDeadlinePassed, types(events.TypeBackupFailed)},

	{"pivot", events.TypeBackupCompleted, types(events.TypePivotRequested, events.TypeCryptoregenRequested, events.TypeReconfigureRequested)},

	{"restore", events.TypeReconfigureCompleted, types(events.TypeManifestsApplied, events.TypeManifestsFailed)},
	{"restore", events.TypeManifestsApplied, types(events.TypeRestoreCompleted, events.TypeRestoreFailed)},
	{"restore", events.TypeRestoreCompleted, types(events.TypeConfirmRequested)},
	{"restore", events.TypeManifestsFailed, types(events.TypeUpgradeFailed)},
	{"restore", events.TypeRestoreFailed, types(events.TypeUpgradeFailed)},
	{"restore", events.TypeConfirmFailed, types(events.TypeUpgradeFailed)},
	{"restore", events.TypeConfirmCompleted, types(events.TypeUpgradeCompleted)},

	{"rollback", events.TypeUpgradeFailed, types(events.TypeRollbackStarted)},
	{"rollback", events.TypePivotCompleted, types(events.TypeRollbackStarted)}, // only where nobody awaits the new root
	{"rollback", events.TypeRollbackStarted, types(events.TypeNodeRollbackRequested)},
	{"rollback", events.TypeNodeRollbackCompleted, types(events.TypeUpgradeFailed, events.TypeRollbackCompleted)},
	{"rollback", events.TypeNodeRollbackFailed, types(events.TypeRollbackFailed)},

	{"finalize", events.TypeFinalizeStarted, types(events.TypeCleanupRequested)},
	{"finalize", events.TypeAbortStarted, types(events.TypeCleanupRequested)},
	{"finalize", events.TypeCleanupCompleted, types(events.TypeIdleReached)},
	{"finalize", events.TypeCleanupFailed, types(events.TypeIdleFailed)},
	{"finalize", events.TypeDeadlinePassed, types(events.TypeIdleFailed)},

	{"node", events.TypeSeedpullRequested, types(events.TypeSeedpullCompleted, events.TypeSeedpullFailed)},
	{"node", events.TypePrecacheRequested, types(events.TypePrecacheCompleted, events.TypePrecacheFailed)},
	{"node", events.TypePivotRequested, types(events.TypePivotCompleted, events.TypePivotFailed, events.TypeNodeRollbackCompleted)},
	{"node", events.TypeCryptoregenRequested, types(events.TypeCryptoregenCompleted, events.TypeCryptoregenFailed)},
	{"node", events.TypeReconfigureRequested, types(events.TypeReconfigureCompleted, events.TypeReconfigureFailed)},
	{"node", events.TypeConfirmRequested, types(events.TypeConfirmCompleted, events.TypeConfirmFailed)},
	{"node", events.TypeNodeRollbackRequested, types(events.TypeNodeRollbackCompleted, events.TypeNodeRollbackFailed)},
	{"node", events.TypeCleanupRequested, types(events.TypeCleanupCompleted, events.TypeCleanupFailed)},
}

// Subscriptions are the types that a function reacts to, in the table's order.
func Subscriptions(function string) []events.Type {
	var on []events.Type
	for _, r := range Reactions {
		if r.Function == function {
			on = append(on, r.On)
		}
	}
	return on
}

// Rule says in which phases an event is legal and which phase follows; To "" means that the phase stays.
type Rule struct {
	From []Phase
	To   Phase
}

// Rules holds every type of a history. A decision outside From is refused; a fact outside From changes what is known
// about the node, but not the phase.
var Rules = map[events.Type]Rule{
	events.TypeUpgradeRequested: {[]Phase{Idle}, Requested},
	events.TypeStageRequested:   {Phases, ""},
	events.TypeStageRejected:    {Phases, ""},

	events.TypePrepStarted:   {[]Phase{Requested}, Validating},
	events.TypePrepValidated: {[]Phase{Validating}, Seedpull},
	events.TypePrepCompleted: {[]Phase{Precache}, Prepared},
	events.TypePrepFailed:    {[]Phase{Validating, Seedpull, Precache}, PrepFailed},

	events.TypeSeedpullRequested: {[]Phase{Seedpull}, ""},
	events.TypeSeedpullCompleted: {[]Phase{Seedpull}, Precache},
	events.TypeSeedpullFailed:    {[]Phase{Seedpull}, ""},
	events.TypePrecacheRequested: {[]Phase{Precache}, ""},
	events.TypePrecacheCompleted: {[]Phase{Precache}, ""},
	events.TypePrecacheFailed:    {[]Phase{Precache}, ""},

	events.TypeUpgradeStarted:  {[]Phase{Prepared}, Backup},
	events.TypeBackupCompleted: {[]Phase{Backup}, BackedUp},
	events.TypeBackupFailed:    {[]Phase{Backup}, ""},

	events.TypePivotRequested:       {[]Phase{BackedUp}, Pivot},
	events.TypeCryptoregenRequested: {[]Phase{Pivot}, ""},
	events.TypeReconfigureRequested: {[]Phase{Pivot}, ""},
	events.TypePivotCompleted:       {[]Phase{Pivot}, Cryptoregen},
	events.TypePivotFailed:          {[]Phase{Pivot}, BackedUp},
	events.TypeCryptoregenCompleted: {[]Phase{Cryptoregen}, Reconfigure},
	events.TypeCryptoregenFailed:    {[]Phase{Cryptoregen}, Failing},
	events.TypeReconfigureCompleted: {[]Phase{Reconfigure}, Manifests},
	events.TypeReconfigureFailed:    {[]Phase{Reconfigure}, Failing},

	events.TypeManifestsApplied: {[]Phase{Manifests}, Restore},
	events.TypeManifestsFailed:  {[]Phase{Manifests}, ""},
	events.TypeRestoreCompleted: {[]Phase{Restore}, Confirm},
	events.TypeRestoreFailed:    {[]Phase{Restore}, ""},
	events.TypeConfirmRequested: {[]Phase{Confirm}, ""},
	events.TypeConfirmCompleted: {[]Phase{Confirm}, Confirmed},
	events.TypeConfirmFailed:    {[]Phase{Confirm}, ""},
	events.TypeUpgradeCompleted: {[]Phase{Confirmed}, Upgraded},
	events.TypeUpgradeFailed:    {join(beforePivot, inNewRoot, []Phase{Failing, BackOnOld}), ""}, // see upgradeFailed

	events.TypeRollbackStarted:       {join(rollbackable, abortable, cleaning, []Phase{BackOnOld, RolledBack}), RollingBack},
	events.TypeNodeRollbackRequested: {[]Phase{RollingBack}, ""},
	events.TypeNodeRollbackCompleted: {join([]Phase{Pivot, RollingBack, RollbackFailed, Failing, Confirmed, Upgraded}, inNewRoot), BackOnOld},
	events.TypeNodeRollbackFailed:    {[]Phase{RollingBack}, ""},
	events.TypeRollbackCompleted:     {[]Phase{BackOnOld}, RolledBack},
	events.TypeRollbackFailed:        {[]Phase{RollingBack}, RollbackFailed},

	events.TypeFinalizeStarted:  {finalizable, Finalizing},
	events.TypeAbortStarted:     {abortable, Aborting},
	events.TypeCleanupRequested: {cleaning, ""},
	events.TypeCleanupCompleted: {cleaning, ""},
	events.TypeCleanupFailed:    {cleaning, ""},
	events.TypeIdleReached:      {cleaning, Idle},
	events.TypeIdleFailed:       {cleaning, CleanupFailed},

	events.TypeNodeOverdue:      {everywhereBut(Idle), ""},
	events.TypeDeadlinePassed:   {everywhereBut(Idle), ""},
	events.TypeJournalRestarted: {[]Phase{Idle}, ""},
}

func types(t ...events.Type) []events.Type { return t }
