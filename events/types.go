package events

import "strings"

// Prefix starts every event type of Reroot.
const Prefix = "dev.reroot."

// Type is a CloudEvents type: dev.reroot.<entity>.<verb>.v<major>.
type Type string

// Event types of a history. The catalogue says who writes each and what it means.
const (
	TypeUpgradeRequested Type = Prefix + "upgrade.requested.v1"
	TypeStageRequested   Type = Prefix + "stage.requested.v1"
	TypeStageRejected    Type = Prefix + "stage.rejected.v1"

	TypePrepStarted   Type = Prefix + "prep.started.v1"
	TypePrepValidated Type = Prefix + "prep.validated.v1"
	TypePrepCompleted Type = Prefix + "prep.completed.v1"
	TypePrepFailed    Type = Prefix + "prep.failed.v1"

	TypeSeedpullRequested Type = Prefix + "node.seedpull.requested.v1"
	TypeSeedpullCompleted Type = Prefix + "node.seedpull.completed.v1"
	TypeSeedpullFailed    Type = Prefix + "node.seedpull.failed.v1"
	TypePrecacheRequested Type = Prefix + "node.precache.requested.v1"
	TypePrecacheCompleted Type = Prefix + "node.precache.completed.v1"
	TypePrecacheFailed    Type = Prefix + "node.precache.failed.v1"

	TypeUpgradeStarted   Type = Prefix + "upgrade.started.v1"
	TypeUpgradeCompleted Type = Prefix + "upgrade.completed.v1"
	TypeUpgradeFailed    Type = Prefix + "upgrade.failed.v1"

	TypeBackupCompleted Type = Prefix + "backup.completed.v1"
	TypeBackupFailed    Type = Prefix + "backup.failed.v1"

	TypePivotRequested       Type = Prefix + "node.pivot.requested.v1"
	TypePivotCompleted       Type = Prefix + "node.pivot.completed.v1"
	TypePivotFailed          Type = Prefix + "node.pivot.failed.v1"
	TypeCryptoregenRequested Type = Prefix + "node.cryptoregen.requested.v1"
	TypeCryptoregenCompleted Type = Prefix + "node.cryptoregen.completed.v1"
	TypeCryptoregenFailed    Type = Prefix + "node.cryptoregen.failed.v1"
	TypeReconfigureRequested Type = Prefix + "node.reconfigure.requested.v1"
	TypeReconfigureCompleted Type = Prefix + "node.reconfigure.completed.v1"
	TypeReconfigureFailed    Type = Prefix + "node.reconfigure.failed.v1"

	TypeManifestsApplied Type = Prefix + "manifests.applied.v1"
	TypeManifestsFailed  Type = Prefix + "manifests.failed.v1"
	TypeRestoreCompleted Type = Prefix + "restore.completed.v1"
	TypeRestoreFailed    Type = Prefix + "restore.failed.v1"

	TypeConfirmRequested Type = Prefix + "node.confirm.requested.v1"
	TypeConfirmCompleted Type = Prefix + "node.confirm.completed.v1"
	TypeConfirmFailed    Type = Prefix + "node.confirm.failed.v1"

	TypeRollbackStarted       Type = Prefix + "rollback.started.v1"
	TypeRollbackCompleted     Type = Prefix + "rollback.completed.v1"
	TypeRollbackFailed        Type = Prefix + "rollback.failed.v1"
	TypeNodeRollbackRequested Type = Prefix + "node.rollback.requested.v1"
	TypeNodeRollbackCompleted Type = Prefix + "node.rollback.completed.v1"
	TypeNodeRollbackFailed    Type = Prefix + "node.rollback.failed.v1"

	TypeFinalizeStarted  Type = Prefix + "finalize.started.v1"
	TypeAbortStarted     Type = Prefix + "abort.started.v1"
	TypeCleanupRequested Type = Prefix + "node.cleanup.requested.v1"
	TypeCleanupCompleted Type = Prefix + "node.cleanup.completed.v1"
	TypeCleanupFailed    Type = Prefix + "node.cleanup.failed.v1"
	TypeIdleReached      Type = Prefix + "idle.reached.v1"
	TypeIdleFailed       Type = Prefix + "cleanup.failed.v1"

	TypeNodeOverdue      Type = Prefix + "node.overdue.v1"
	TypeDeadlinePassed   Type = Prefix + "deadline.passed.v1"
	TypeJournalRestarted Type = Prefix + "journal.restarted.v1"
)

// Types that never become history: a progress report (kept per step, last one wins) and a nudge that something on the
// cluster's API changed.
const (
	TypeStepProgressed Type = Prefix + "step.progressed.v1"
	TypeClusterChanged Type = Prefix + "cluster.changed.v1"
)

// Short is the type without prefix and version, as subjects, tables and people spell it: "node.pivot.requested".
func (t Type) Short() string {
	s := strings.TrimPrefix(string(t), Prefix)
	if i := strings.LastIndex(s, ".v"); i >= 0 {
		s = s[:i]
	}
	return s
}

// Expand is the inverse of Short for version 1; a type that is already complete stays as it is.
func Expand(short string) Type {
	if strings.HasPrefix(short, Prefix) {
		return Type(short)
	}
	return Type(Prefix + short + ".v1")
}

// Kind says what sort of statement an event is, which decides how it is admitted.
type Kind int

const (
	// Request comes from outside and may be refused.
	Request Kind = iota + 1
	// Decision is written by a function, guarded by compare-and-set.
	Decision
	// Fact is reported by the node and always admitted, in the node's own order.
	Fact
	// Ephemeral never becomes history.
	Ephemeral
)

func (k Kind) String() string {
	switch k {
	case Request:
		return "request"
	case Decision:
		return "decision"
	case Fact:
		return "fact"
	case Ephemeral:
		return "ephemeral"
	}
	return "unknown"
}
