// Package upgradetest tells plausible histories: for tests of the fold and of everything that reads a history.
package upgradetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// Cluster is the cluster of every story.
const Cluster = "edge-1"

// The two roots of every story, and the time at which it begins.
var (
	OldRoot = events.Deployment{Stateroot: "rhcos_4.16.0", Commit: hex64("a"), Serial: 0}
	NewRoot = events.Deployment{Stateroot: "rhcos_4.17.0", Commit: hex64("b"), Serial: 0}
	Epoch   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func hex64(digit string) (s string) {
	for range 64 {
		s += digit
	}
	return s
}

// Story makes events as a history would hold them, each a minute after the one before.
type Story struct {
	Upgrade string // id of the upgrade that the next events belong to
	Told    int    // events so far
}

// Say tells an event by a script's words: its short type, then fields as name=value, value as JSON or else as it is. The
// field "upgrade" is none of the payload's: from here on the story is about that upgrade.
func (y *Story) Say(s upgrade.State, words []string) event.Event {
	over := map[string]any{}
	for _, w := range words[1:] {
		name, text, _ := strings.Cut(w, "=")
		if name == "upgrade" {
			y.Upgrade = text
			continue
		}
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			value = text
		}
		over[name] = value
	}
	return y.Tell(s, events.Expand(words[0]), over)
}

// Tell builds the next event of type t with a plausible payload for the state, in which over replaces fields.
func (y *Story) Tell(s upgrade.State, t events.Type, over map[string]any) event.Event {
	y.Told++
	d, _ := events.Lookup(t)
	writer := d.Writers[0]
	switch writer {
	case "user":
		writer = "users/alice"
	case "node", "source":
	default:
		writer = "functions/" + writer
	}
	data := payload(s, t)
	if len(over) > 0 {
		data = merged(data, over)
	}
	e := events.New(t, fmt.Sprintf("e%d", y.Told), Cluster, writer, y.Upgrade, data)
	at := Epoch.Add(time.Duration(y.Told) * time.Minute)
	e.SetTime(at)
	e.SetExtension(events.ExtRecorded, at.Format(time.RFC3339Nano))
	return e
}

func merged(data any, over map[string]any) map[string]any {
	b, _ := json.Marshal(data)
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		panic(err)
	}
	for k, v := range over {
		m[k] = v
	}
	return m
}

// GoodPath is a whole upgrade up to upgrade.completed.
var GoodPath = []events.Type{
	events.TypeUpgradeRequested, events.TypePrepStarted, events.TypePrepValidated,
	events.TypeSeedpullRequested, events.TypeSeedpullCompleted, events.TypePrecacheRequested, events.TypePrecacheCompleted,
	events.TypePrepCompleted, events.TypeUpgradeStarted, events.TypeBackupCompleted,
	events.TypePivotRequested, events.TypeCryptoregenRequested, events.TypeReconfigureRequested,
	events.TypePivotCompleted, events.TypeCryptoregenCompleted, events.TypeReconfigureCompleted,
	events.TypeManifestsApplied, events.TypeRestoreCompleted, events.TypeConfirmRequested, events.TypeConfirmCompleted,
	events.TypeUpgradeCompleted,
}

// After folds a new story of the given types and returns the state and the last event.
func After(types ...events.Type) (upgrade.State, event.Event, error) {
	s, y := upgrade.New(Cluster), &Story{Upgrade: "up-1"}
	var e event.Event
	for _, t := range types {
		e = y.Tell(s, t, nil)
		next, err := s.Apply(e, "h"+e.ID())
		if err != nil {
			return s, e, err
		}
		s = next
	}
	return s, e, nil
}

// Until is the good path up to and including the first event of type t.
func Until(t events.Type) []events.Type { return slices.Clip(GoodPath[:slices.Index(GoodPath, t)+1]) }

// payload is what the writer of an event of type t would put into it in state s.
func payload(s upgrade.State, t events.Type) any {
	attempt := max(1, s.Attempt)
	cmd := events.Command{Attempt: attempt, For: s.Booted, NotAfter: Epoch.Add(24 * time.Hour)}
	in := func(d events.Deployment, bootid string) events.Outcome {
		return events.Outcome{Attempt: attempt, Booted: d, BootID: bootid, Seconds: 1}
	}
	before, after, back := in(OldRoot, "boot-1"), in(NewRoot, "boot-2"), in(OldRoot, "boot-3")
	here := before
	if s.Booted != nil && *s.Booted == NewRoot {
		here = after
	}
	fail := func(r events.Reason) events.Failure { return events.Failure{Reason: r, Message: "it went wrong"} }
	switch t {
	case events.TypeUpgradeRequested:
		return events.UpgradeRequested{Through: events.StageUpgrade, Spec: events.UpgradeSpec{
			SeedImageRef: events.SeedImageRef{Version: "4.17.0", Image: "registry.lab/seed:4.17.0"}}}
	case events.TypeStageRequested:
		return events.StageRequested{Stage: events.StageIdle}
	case events.TypeStageRejected:
		return events.StageRejected{Stage: events.StageIdle, Reason: events.ReasonIllegalTransition, Message: "no", ValidNextStages: s.Phase.ValidNextStages()}
	case events.TypePrepStarted:
		return events.PrepStarted{Attempt: s.Attempt + 1}
	case events.TypePrepValidated:
		return events.PrepValidated{Checks: []events.Check{{Name: "version", OK: true, Observed: "4.16.0", Expected: "< 4.17.0"}},
			Seed:    events.Seed{Image: "registry.lab/seed@sha256:" + hex64("c"), Digest: "sha256:" + hex64("c"), FormatVersion: 4, Version: "4.17.0", Bytes: 1},
			Cluster: events.ClusterIdentity{ID: "11111111-2222-3333-4444-555555555555", Version: "4.16.0"}}
	case events.TypePrepCompleted:
		return events.PrepCompleted{Target: NewRoot}
	case events.TypePrepFailed:
		return events.PrepFailed{Failure: fail(events.ReasonSeedNotNewer)}
	case events.TypeSeedpullRequested:
		return events.SeedpullRequested{Command: cmd, Seed: s.Seed, Stateroot: NewRoot.Stateroot}
	case events.TypeSeedpullCompleted:
		return events.SeedpullCompleted{Outcome: before, Target: NewRoot, Digest: "sha256:" + hex64("c"), Bytes: 1}
	case events.TypePrecacheRequested:
		return events.PrecacheRequested{Command: cmd, Stateroot: NewRoot.Stateroot}
	case events.TypePrecacheCompleted:
		return events.PrecacheCompleted{Outcome: before, Total: 2, Pulled: 1, Present: 1}
	case events.TypeBackupCompleted:
		return events.BackupCompleted{Backups: []events.BackupRef{}}
	case events.TypePivotRequested:
		return events.PivotRequested{Command: cmd, Target: NewRoot, BudgetSeconds: 1800}
	case events.TypeCryptoregenRequested:
		return events.CryptoregenRequested{Command: cmd}
	case events.TypeReconfigureRequested:
		return events.ReconfigureRequested{Command: cmd}
	case events.TypePivotCompleted:
		return events.PivotCompleted{Outcome: after, From: OldRoot}
	case events.TypeCryptoregenCompleted:
		return events.CryptoregenCompleted{Outcome: after, Regenerated: 40, Kept: 4}
	case events.TypeReconfigureCompleted:
		return events.ReconfigureCompleted{Outcome: after, ClusterID: s.Origin.ID}
	case events.TypeManifestsApplied:
		return events.ManifestsApplied{}
	case events.TypeRestoreCompleted:
		return events.RestoreCompleted{Restores: []events.RestoreRef{}}
	case events.TypeConfirmRequested:
		return events.ConfirmRequested{Command: cmd}
	case events.TypeConfirmCompleted:
		return events.ConfirmCompleted{Outcome: after}
	case events.TypeUpgradeCompleted:
		return events.UpgradeCompleted{Booted: NewRoot}
	case events.TypeUpgradeFailed:
		return events.UpgradeFailed{Failure: fail(events.ReasonRestoreFailed), AfterPivot: s.Phase.InNewRoot()}
	case events.TypeRollbackStarted:
		return events.RollbackStarted{Trigger: events.TriggerUser}
	case events.TypeNodeRollbackRequested:
		return events.NodeRollbackRequested{Command: cmd, Target: OldRoot, Trigger: cmp.Or(s.Trigger, events.TriggerUser)}
	case events.TypeNodeRollbackCompleted:
		return events.NodeRollbackCompleted{Outcome: back, Trigger: events.TriggerUser}
	case events.TypeRollbackCompleted:
		return events.RollbackCompleted{Trigger: events.TriggerUser, Booted: OldRoot}
	case events.TypeCleanupRequested:
		return events.CleanupRequested{Command: cmd, Remove: s.Removable()}
	case events.TypeCleanupCompleted:
		return events.CleanupCompleted{Outcome: here, Removed: s.Removable()}
	case events.TypeNodeOverdue:
		return events.Overdue{Wait: string(s.Phase), Since: s.PhaseSince}
	case events.TypeDeadlinePassed:
		return events.DeadlinePassed{Wait: string(s.Phase), Until: s.PhaseSince.Add(time.Hour)}
	case events.TypeJournalRestarted:
		return events.JournalRestarted{Quarantined: "edge-1.1", Message: "chain broken", Booted: &OldRoot}
	case events.TypeUpgradeStarted, events.TypeFinalizeStarted, events.TypeAbortStarted, events.TypeIdleReached:
		return struct{}{}
	case events.TypePivotFailed, events.TypeSeedpullFailed, events.TypePrecacheFailed:
		return events.NodeFailure{Outcome: before, Failure: fail(events.ReasonImportFailed), Untouched: true}
	case events.TypeCryptoregenFailed:
		return events.NodeFailure{Outcome: after, Failure: fail(events.ReasonCryptoFailed)}
	}
	if d, _ := events.Lookup(t); d.Kind == events.Fact {
		return events.NodeFailure{Outcome: here, Failure: fail(events.ReasonConfirmFailed)}
	}
	return fail(events.ReasonBackupFailed)
}
