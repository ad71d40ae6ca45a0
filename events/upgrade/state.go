package upgrade

import (
	"time"

	"github.com/reroot-dev/reroot/events"
)

// State is what a cluster's history says. The zero value, with Cluster set, is the state of an empty history. It is
// a value: Apply returns a new one and never changes slices or pointers that an older one shares.
type State struct {
	Cluster  string `json:"cluster"`
	Sequence uint64 `json:"sequence"` // ordinal of the newest event, 0 when there is none
	Hash     string `json:"hash"`     // its hash, "" when there is none

	Phase      Phase     `json:"phase"`
	PhaseSince time.Time `json:"phaseSince"` // recorded time of the event that opened the phase
	PhaseCause string    `json:"phaseCause"` // its id

	// Of the open upgrade, or of the last one while Phase is Idle.
	Upgrade string             `json:"upgrade,omitempty"`
	Spec    events.UpgradeSpec `json:"spec"`
	Through events.Stage       `json:"through,omitempty"`
	Attempt int                `json:"attempt"`

	Checks  []events.Check         `json:"checks,omitempty"`
	Seed    events.Seed            `json:"seed"`
	Origin  events.ClusterIdentity `json:"origin"`        // the cluster before the upgrade
	Old     *events.Deployment     `json:"old,omitempty"` // the way back
	New     *events.Deployment     `json:"new,omitempty"` // the seed's
	Backups []events.BackupRef     `json:"backups,omitempty"`

	// BackupsDone: every backup is complete, or there was explicitly none.
	BackupsDone bool `json:"backupsDone"`
	// Pivots counts node.pivot.requested in this attempt: never more than one.
	Pivots    int                 `json:"pivots"`
	Restores  []events.RestoreRef `json:"restores,omitempty"`
	Confirmed bool                `json:"confirmed"` // the node keeps the new root
	Trigger   events.Trigger      `json:"trigger,omitempty"`
	Failure   *events.Failure     `json:"failure,omitempty"`
	// Result is how the upgrade ended last: Upgraded, RolledBack, PrepFailed, UpgradeFailed or RollbackFailed; "" while
	// it has not, and when it was aborted.
	Result     Phase `json:"result,omitempty"`
	Overdue    bool  `json:"overdue"`
	Rejections int   `json:"rejections"` // stage.rejected events of this upgrade

	// As the node last reported.
	Booted *events.Deployment `json:"booted,omitempty"`
	BootID string             `json:"bootID,omitempty"`

	History []StageTime `json:"history,omitempty"` // of the open upgrade, oldest first
}

// StageTime is when a stage and its phases began and ended; a zero End means that it has not.
type StageTime struct {
	Stage  events.Stage `json:"stage"`
	Start  time.Time    `json:"start"`
	End    time.Time    `json:"end,omitzero"`
	Phases []PhaseTime  `json:"phases,omitempty"`
}

// PhaseTime is when a phase began and ended.
type PhaseTime struct {
	Phase Phase     `json:"phase"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end,omitzero"`
}

// New is the state of a cluster's empty history.
func New(cluster string) State { return State{Cluster: cluster, Phase: Idle} }

// Wait is something that the state waits for.
type Wait struct {
	For   Phase     `json:"for"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Alert: when it passes, people are told, and nothing is decided (the node may be between two roots, and its own
	// watchdog decides).
	Alert bool `json:"alert"`
}

// Name is the wait's name in deadline.passed and node.overdue events.
func (w Wait) Name() string { return string(w.For) }

// Limits of the waits that end with a deadline.
const (
	ValidateLimit = 30 * time.Minute
	SeedpullLimit = 60 * time.Minute
	PrecacheLimit = 120 * time.Minute
	BackupLimit   = 60 * time.Minute
	CleanupLimit  = 30 * time.Minute
	// OverdueGrace is added to the watchdog's budget before a silent node is called overdue.
	OverdueGrace = 10 * time.Minute
)

// Waits are the open waits: at most one, since a history does one thing at a time; none where a person is awaited.
func (s State) Waits() []Wait {
	w := Wait{For: s.Phase, Since: s.PhaseSince}
	switch s.Phase {
	case Validating:
		w.Until = w.Since.Add(ValidateLimit)
	case Seedpull:
		w.Until = w.Since.Add(SeedpullLimit)
	case Precache:
		w.Until = w.Since.Add(PrecacheLimit)
	case Backup:
		w.Until = w.Since.Add(BackupLimit)
	case Finalizing, Aborting:
		w.Until = w.Since.Add(CleanupLimit)
	case Pivot, Cryptoregen, Reconfigure, Manifests, Restore, Confirm, RollingBack:
		if s.Overdue {
			return nil
		}
		w.Until, w.Alert = w.Since.Add(s.Spec.Budget()+OverdueGrace), true
	default:
		return nil
	}
	return []Wait{w}
}
