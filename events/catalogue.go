package events

import "fmt"

// Definition describes one event type: who writes it, what it means, and its payload.
type Definition struct {
	Type    Type
	Kind    Kind
	Writers []string // function names, "user", "source" (the cluster source), "node" or "runtime"
	Meaning string
	payload func() any
}

// Payload returns a new, empty payload of the type, ready to be decoded into.
func (d Definition) Payload() any { return d.payload() }

func def[T any](t Type, k Kind, meaning string, writers ...string) Definition {
	return Definition{Type: t, Kind: k, Writers: writers, Meaning: meaning, payload: func() any { return new(T) }}
}

// Catalogue lists every event type, in the order in which an upgrade meets them.
func Catalogue() []Definition { return catalogue }

var catalogue = []Definition{
	def[UpgradeRequested](TypeUpgradeRequested, Request, "what to install, what to keep, how far to go", "user", "source"),
	def[StageRequested](TypeStageRequested, Request, "go to this stage", "user", "source"),
	def[StageRejected](TypeStageRejected, Decision, "the stage cannot be reached from here; names those that can", "stage"),

	def[PrepStarted](TypePrepStarted, Decision, "the Prep stage begins", "stage"),
	def[PrepValidated](TypePrepValidated, Decision, "every precondition holds; seed and cluster are pinned", "validate"),
	def[PrepCompleted](TypePrepCompleted, Decision, "the new stateroot and its images are on the node", "pullseed"),
	def[PrepFailed](TypePrepFailed, Decision, "the Prep stage ended without success", "validate", "pullseed"),

	def[SeedpullRequested](TypeSeedpullRequested, Decision, "import the seed image as a new stateroot", "pullseed"),
	def[SeedpullCompleted](TypeSeedpullCompleted, Fact, "the new deployment exists and was read back; it is not the default", "node"),
	def[NodeFailure](TypeSeedpullFailed, Fact, "the seed image could not be imported; the node is cleaned up", "node"),
	def[PrecacheRequested](TypePrecacheRequested, Decision, "pull the container images that the seed lists", "pullseed"),
	def[PrecacheCompleted](TypePrecacheCompleted, Fact, "every image is in the store, digests verified", "node"),
	def[NodeFailure](TypePrecacheFailed, Fact, "an image could not be pulled or verified", "node"),

	def[UpgradeStarted](TypeUpgradeStarted, Decision, "the Upgrade stage begins", "stage"),
	def[BackupCompleted](TypeBackupCompleted, Decision, "every Velero Backup is Completed, wave by wave", "backup"),
	def[BackupFailed](TypeBackupFailed, Decision, "a Velero Backup did not complete", "backup"),

	def[PivotRequested](TypePivotRequested, Decision, "boot the new deployment", "pivot"),
	def[CryptoregenRequested](TypeCryptoregenRequested, Decision, "after the pivot: regenerate the cluster's cryptography", "pivot"),
	def[ReconfigureRequested](TypeReconfigureRequested, Decision, "after that: apply the site's identity and let the cluster start", "pivot"),
	def[PivotCompleted](TypePivotCompleted, Fact, "the new deployment runs", "node"),
	def[NodeFailure](TypePivotFailed, Fact, "the node did not leave the old root", "node"),
	def[CryptoregenCompleted](TypeCryptoregenCompleted, Fact, "no key is shared with the seed", "node"),
	def[NodeFailure](TypeCryptoregenFailed, Fact, "cryptography could not be regenerated; the node goes back by itself", "node"),
	def[ReconfigureCompleted](TypeReconfigureCompleted, Fact, "the API answers under the cluster's own identity", "node"),
	def[NodeFailure](TypeReconfigureFailed, Fact, "identity could not be applied; the node goes back by itself", "node"),

	def[ManifestsApplied](TypeManifestsApplied, Decision, "extra manifests are applied", "restore"),
	def[ManifestsFailed](TypeManifestsFailed, Decision, "an extra manifest was refused", "restore"),
	def[RestoreCompleted](TypeRestoreCompleted, Decision, "every Velero Restore is Completed, wave by wave", "restore"),
	def[RestoreFailed](TypeRestoreFailed, Decision, "a Velero Restore did not complete", "restore"),
	def[ConfirmRequested](TypeConfirmRequested, Decision, "keep the new root", "restore"),
	def[ConfirmCompleted](TypeConfirmCompleted, Fact, "the watchdog is disarmed; the new root stays", "node"),
	def[NodeFailure](TypeConfirmFailed, Fact, "the new root could not be confirmed", "node"),
	def[UpgradeCompleted](TypeUpgradeCompleted, Decision, "the Upgrade stage ended with success", "restore"),
	def[UpgradeFailed](TypeUpgradeFailed, Decision, "the Upgrade stage ended without success", "stage", "restore", "rollback"),

	def[RollbackStarted](TypeRollbackStarted, Decision, "the way back begins", "stage", "rollback"),
	def[NodeRollbackRequested](TypeNodeRollbackRequested, Decision, "boot the old deployment", "rollback"),
	def[NodeRollbackCompleted](TypeNodeRollbackCompleted, Fact, "the old deployment runs again", "node"),
	def[NodeFailure](TypeNodeRollbackFailed, Fact, "the old deployment could not be chosen", "node"),
	def[RollbackCompleted](TypeRollbackCompleted, Decision, "the Rollback stage ended: the old root runs", "rollback"),
	def[RollbackFailed](TypeRollbackFailed, Decision, "the Rollback stage ended without success; Rollback may be asked for again", "rollback"),

	def[FinalizeStarted](TypeFinalizeStarted, Decision, "return to Idle after success or rollback", "stage"),
	def[AbortStarted](TypeAbortStarted, Decision, "return to Idle before the pivot", "stage"),
	def[CleanupRequested](TypeCleanupRequested, Decision, "remove every trace of the upgrade but the booted root", "finalize"),
	def[CleanupCompleted](TypeCleanupCompleted, Fact, "it is removed", "node"),
	def[NodeFailure](TypeCleanupFailed, Fact, "something could not be removed", "node"),
	def[IdleReached](TypeIdleReached, Decision, "the upgrade is closed", "finalize"),
	def[IdleFailed](TypeIdleFailed, Decision, "cleaning up failed; Idle may be asked for again", "finalize"),

	def[Overdue](TypeNodeOverdue, Decision, "the node has been silent for longer than expected; nothing is decided", "runtime"),
	def[DeadlinePassed](TypeDeadlinePassed, Decision, "a wait took too long", "runtime"),
	def[JournalRestarted](TypeJournalRestarted, Decision, "a new history after a damaged one was quarantined", "runtime"),

	def[StepProgressed](TypeStepProgressed, Ephemeral, "how far a step is", "node", "runtime"),
	def[ClusterChanged](TypeClusterChanged, Ephemeral, "something on the cluster's API changed", "source"),
}

var byType = func() map[Type]Definition {
	m := make(map[Type]Definition, len(catalogue))
	for _, d := range catalogue {
		if _, twice := m[d.Type]; twice {
			panic(fmt.Sprintf("event type %s is defined twice", d.Type))
		}
		m[d.Type] = d
	}
	return m
}()

// Lookup finds the definition of a type.
func Lookup(t Type) (Definition, bool) {
	d, ok := byType[t]
	return d, ok
}
