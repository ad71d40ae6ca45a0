package events

import "time"

// Stage is a stage of the ImageBasedUpgrade resource, and how far an upgrade.requested event wants to go.
type Stage string

// Stages; Finalize is only a value of [UpgradeRequested].Through.
const (
	StageIdle     Stage = "Idle"
	StagePrep     Stage = "Prep"
	StageUpgrade  Stage = "Upgrade"
	StageRollback Stage = "Rollback"
	StageFinalize Stage = "Finalize"
)

// SeedImageRef names the seed image, as in the ImageBasedUpgrade's spec.
type SeedImageRef struct {
	Version       string     `json:"version"` // OpenShift/OKD version in the seed, semver
	Image         string     `json:"image"`   // pull spec
	PullSecretRef *SecretRef `json:"pullSecretRef,omitempty"`
}

// SecretRef names a Secret in the namespace openshift-lifecycle-agent.
type SecretRef struct {
	Name string `json:"name"`
}

// ConfigMapRef names a ConfigMap.
type ConfigMapRef struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// UpgradeSpec is the part of the ImageBasedUpgrade's spec that an upgrade cannot change once it runs.
type UpgradeSpec struct {
	SeedImageRef   SeedImageRef   `json:"seedImageRef"`
	OADPContent    []ConfigMapRef `json:"oadpContent,omitempty"`
	ExtraManifests []ConfigMapRef `json:"extraManifests,omitempty"`
	// InitMonitorTimeoutSeconds is the watchdog's budget of powered-on time in the new root; 0 means 1800.
	InitMonitorTimeoutSeconds int `json:"initMonitorTimeoutSeconds,omitempty"`
}

// Budget is the watchdog's budget as a duration.
func (s UpgradeSpec) Budget() time.Duration {
	if s.InitMonitorTimeoutSeconds == 0 {
		return 1800 * time.Second
	}
	return time.Duration(s.InitMonitorTimeoutSeconds) * time.Second
}

// Failure is the payload, or part of it, of every *.failed event.
type Failure struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`        // what and why, one line
	Next    string `json:"next,omitempty"` // what a person can do, one line
}

// Deployment identifies an ostree deployment on the node.
type Deployment struct {
	Stateroot string `json:"stateroot"`
	Commit    string `json:"commit"` // 64 hex digits
	Serial    int    `json:"serial"`
}

// Command is part of every node.*.requested event. The executor refuses a command that is meant for another booted
// deployment, is past NotAfter, or belongs to an older attempt than it has seen.
type Command struct {
	Attempt int `json:"attempt"` // counts from 1 within one upgrade
	// For is the deployment that must be booted when the command runs; nil before the node has reported one.
	For      *Deployment `json:"for,omitempty"`
	NotAfter time.Time   `json:"notafter"`
}

// Outcome is part of every node.*.completed event: where and when the node was when it reported.
type Outcome struct {
	Attempt int        `json:"attempt"`
	Booted  Deployment `json:"booted"`
	BootID  string     `json:"bootid"`
	Seconds float64    `json:"seconds"` // powered-on time that the step took
}

// NodeFailure is the payload of every node.*.failed event.
type NodeFailure struct {
	Outcome
	Failure
	// Untouched is true when the node is as it was before the command.
	Untouched bool `json:"untouched"`
}

type (
	// UpgradeRequested asks for an upgrade up to and including stage Through (Prep, Upgrade or Finalize).
	UpgradeRequested struct {
		Spec    UpgradeSpec `json:"spec"`
		Through Stage       `json:"through"`
	}
	// StageRequested asks for the next stage.
	StageRequested struct {
		Stage Stage `json:"stage"`
	}
	// StageRejected answers a request that the state does not allow.
	StageRejected struct {
		Stage           Stage   `json:"stage"`
		Reason          Reason  `json:"reason"`
		Message         string  `json:"message"`
		ValidNextStages []Stage `json:"validNextStages"`
	}
)

type (
	// PrepStarted opens the Prep stage.
	PrepStarted struct {
		Attempt int `json:"attempt"`
	}
	// Check is one precondition with what was seen and what was wanted.
	Check struct {
		Name     string `json:"name"`
		OK       bool   `json:"ok"`
		Observed string `json:"observed"`
		Expected string `json:"expected"`
	}
	// Seed is what the registry says about the seed image.
	Seed struct {
		Image         string `json:"image"` // pull spec pinned by digest
		Digest        string `json:"digest"`
		FormatVersion int    `json:"formatVersion"`
		Version       string `json:"version"`
		Bytes         int64  `json:"bytes"` // compressed size of all layers
	}
	// ClusterIdentity says which cluster is upgraded, and from what.
	ClusterIdentity struct {
		ID      string `json:"id"` // ClusterVersion.spec.clusterID
		Version string `json:"version"`
	}
	// PrepValidated says that the upgrade may go on, and why.
	PrepValidated struct {
		Checks  []Check         `json:"checks"`
		Seed    Seed            `json:"seed"`
		Cluster ClusterIdentity `json:"cluster"`
	}
	// PrepCompleted closes the Prep stage.
	PrepCompleted struct {
		Target Deployment `json:"target"`
	}
	// PrepFailed closes the Prep stage without success; Checks holds what was found until then.
	PrepFailed struct {
		Failure
		Checks []Check `json:"checks,omitempty"`
	}
)

type (
	// SeedpullRequested is the command to import a seed image as a new stateroot.
	SeedpullRequested struct {
		Command
		Seed          Seed       `json:"seed"`
		Stateroot     string     `json:"stateroot"`
		PullSecretRef *SecretRef `json:"pullSecretRef,omitempty"`
	}
	// SeedpullCompleted reports the new deployment, not yet the default.
	SeedpullCompleted struct {
		Outcome
		Target Deployment `json:"target"`
		Digest string     `json:"digest"`
		Bytes  int64      `json:"bytes"` // bytes read from the registry
	}
	// PrecacheRequested is the command to pull the container images that the seed lists.
	PrecacheRequested struct {
		Command
		Stateroot     string     `json:"stateroot"`
		PullSecretRef *SecretRef `json:"pullSecretRef,omitempty"`
	}
	// PrecacheCompleted counts the images: Total = Pulled + Present.
	PrecacheCompleted struct {
		Outcome
		Total   int `json:"total"`
		Pulled  int `json:"pulled"`
		Present int `json:"present"`
	}
)

type (
	// UpgradeStarted opens the Upgrade stage.
	UpgradeStarted struct{}
	// BackupRef pins one Velero Backup.
	BackupRef struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		UID       string `json:"uid"`
		Wave      int    `json:"wave"`
	}
	// BackupCompleted names every backup; an empty list is explicit: nothing was to be backed up.
	BackupCompleted struct {
		Backups []BackupRef `json:"backups"`
	}
	// BackupFailed names the backup that failed, when one did.
	BackupFailed struct {
		Failure
		Backup *BackupRef `json:"backup,omitempty"`
	}
	// UpgradeCompleted closes the Upgrade stage: the node confirmed the new root.
	UpgradeCompleted struct {
		Booted Deployment `json:"booted"`
	}
	// UpgradeFailed closes the Upgrade stage without success.
	UpgradeFailed struct {
		Failure
		// AfterPivot is true when the node had left the old root; a rollback follows.
		AfterPivot bool `json:"afterPivot"`
	}
)

type (
	// PivotRequested is the command to boot the target deployment. It is one batch with the two that follow.
	PivotRequested struct {
		Command
		Target        Deployment `json:"target"`
		BudgetSeconds int        `json:"budgetSeconds"` // of powered-on time until confirm
		// Carry names the ConfigMaps that the node takes along, so that functions find them on the new root's API:
		// what they hold may be secret, so it never travels in an event.
		Carry []ConfigMapRef `json:"carry,omitempty"`
	}
	// PivotCompleted is the first fact from the new root.
	PivotCompleted struct {
		Outcome
		From Deployment `json:"from"`
	}
	// CryptoregenRequested is the command to regenerate the cluster's cryptography; it runs in the new root.
	CryptoregenRequested struct {
		Command
	}
	// CryptoregenCompleted counts what was done; the summary itself stays on the node.
	CryptoregenCompleted struct {
		Outcome
		Regenerated int `json:"regenerated"` // keys
		Kept        int `json:"kept"`        // keys of the target's own signers
		Foreign     int `json:"foreign"`     // certificates of external roots, left alone
	}
	// ReconfigureRequested is the command to apply the site's identity; it runs in the new root.
	ReconfigureRequested struct {
		Command
	}
	// ReconfigureCompleted reports that the API answers under the cluster's own identity.
	ReconfigureCompleted struct {
		Outcome
		ClusterID string `json:"clusterID"`
	}
)

type (
	// ManifestsApplied counts the applied extra manifests.
	ManifestsApplied struct {
		Applied int `json:"applied"`
	}
	// ManifestsFailed names the object that was refused.
	ManifestsFailed struct {
		Failure
		Object string `json:"object,omitempty"`
	}
	// RestoreRef names one Velero Restore and the pinned Backup it came from.
	RestoreRef struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
		Backup    string `json:"backup"`
		Wave      int    `json:"wave"`
	}
	// RestoreCompleted names every restore.
	RestoreCompleted struct {
		Restores []RestoreRef `json:"restores"`
	}
	// RestoreFailed names the restore that failed, when one did.
	RestoreFailed struct {
		Failure
		Restore *RestoreRef `json:"restore,omitempty"`
	}
	// ConfirmRequested is the command to keep the new root.
	ConfirmRequested struct {
		Command
	}
	// ConfirmCompleted reports that the watchdog is disarmed.
	ConfirmCompleted struct {
		Outcome
	}
)

// Trigger says who or what started a rollback.
type Trigger string

// Triggers of a rollback.
const (
	TriggerUser         Trigger = "user"
	TriggerFailure      Trigger = "failure"
	TriggerWatchdog     Trigger = "watchdog"
	TriggerUncontrolled Trigger = "uncontrolled"
)

type (
	// RollbackStarted opens the Rollback stage.
	RollbackStarted struct {
		Trigger Trigger `json:"trigger"`
	}
	// NodeRollbackRequested is the command to boot the old root again.
	NodeRollbackRequested struct {
		Command
		Target  Deployment `json:"target"`
		Trigger Trigger    `json:"trigger"` // echoed in the node's report
	}
	// NodeRollbackCompleted is the first fact from the old root. Failure says why the node went back by itself.
	NodeRollbackCompleted struct {
		Outcome
		Trigger Trigger  `json:"trigger"`
		Failure *Failure `json:"failure,omitempty"`
	}
	// RollbackCompleted closes the Rollback stage: the old root runs.
	RollbackCompleted struct {
		Trigger Trigger    `json:"trigger"`
		Booted  Deployment `json:"booted"`
	}
	// RollbackFailed closes the Rollback stage without success.
	RollbackFailed struct {
		Failure
	}
)

type (
	// FinalizeStarted opens the return to Idle after success or rollback: the other root will be removed.
	FinalizeStarted struct{}
	// AbortStarted opens the return to Idle before the pivot.
	AbortStarted struct{}
	// CleanupRequested is the command to remove every trace of the upgrade except the booted root. It also ends
	// whatever earlier command of the same upgrade still runs.
	CleanupRequested struct {
		Command
		Remove []string `json:"remove"` // stateroots
	}
	// CleanupCompleted reports what was removed.
	CleanupCompleted struct {
		Outcome
		Removed []string `json:"removed"`
	}
	// IdleReached closes the upgrade.
	IdleReached struct{}
	// IdleFailed says that cleaning up did not succeed; asking for Idle again retries it.
	IdleFailed struct {
		Failure
	}
)

type (
	// Overdue warns that the node has not reported since it went dark.
	Overdue struct {
		Wait  string    `json:"wait"`
		Since time.Time `json:"since"`
	}
	// DeadlinePassed ends a wait that took too long.
	DeadlinePassed struct {
		Wait  string    `json:"wait"`
		Until time.Time `json:"until"`
	}
	// JournalRestarted opens a new history after the old one was quarantined.
	JournalRestarted struct {
		Quarantined string      `json:"quarantined"` // name of the damaged history's copy
		Message     string      `json:"message"`
		Booted      *Deployment `json:"booted,omitempty"` // as the node reports it
	}
)

// StepState is the state of one step in a [StepProgressed].
type StepState string

// States of a step.
const (
	StepRunning StepState = "running"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepWaiting StepState = "waiting"
)

type (
	// StepProgressed reports how far a step of a command or a function is. It is kept on the PROGRESS stream, last one
	// per step, and is not history.
	StepProgressed struct {
		Of       string    `json:"of"`   // short type of the command, or the function's name
		Step     string    `json:"step"` // name of the step
		State    StepState `json:"state"`
		Fraction float64   `json:"fraction"` // 0..1; 0 when unknown
		Detail   string    `json:"detail,omitempty"`
	}
	// ClusterChanged nudges functions that wait for something on the cluster's API.
	ClusterChanged struct {
		Object string `json:"object"` // kind/namespace/name
	}
)
