package project

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
)

// list is a status' list of conditions. Its order is part of the API: what changed last is last, and that is what
// `kubectl get` shows.
type list []metav1.Condition

// set puts a condition into the list: at the end if it is new or its status changes, where it is otherwise. Idle goes
// to the end in any case.
func (l *list) set(kind string, status metav1.ConditionStatus, reason, message string, at time.Time) {
	c := metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.Time{Time: at}}
	i := slices.IndexFunc(*l, func(c metav1.Condition) bool { return c.Type == kind })
	if i >= 0 && (*l)[i].Status == status && kind != v1.Idle {
		c.LastTransitionTime = (*l)[i].LastTransitionTime
		(*l)[i] = c
		return
	}
	if i >= 0 {
		*l = slices.Delete(*l, i, i+1)
	}
	*l = append(*l, c)
}

const (
	textIdle              = "Idle"
	textInProgress        = "In progress"
	textAborting          = "Aborting"
	textFinalizing        = "Finalizing"
	textPrepFailed        = "Prep failed"
	textPrepCompleted     = "Prep completed"
	textPrepSuccess       = "Prep stage completed successfully"
	textUpgradeFailed     = "Upgrade failed"
	textUpgradeCompleted  = "Upgrade completed"
	textRollbackFailed    = "Rollback failed"
	textRollbackCompleted = "Rollback completed"
	textRollbackRequested = "Rollback requested"
	textManual            = "; set what is left right by hand, then add the annotation " + v1.AnnotationManualCleanup + " to try again"
	textRollBack          = "; add the annotation " + v1.AnnotationRollbackAgain + " to have it tried again"
	textOverdue           = "; the node has not reported for longer than expected"
)

// conditions tells the stages of the history one after the other, as the lifecycle-agent would have set them.
func conditions(s upgrade.State) list {
	var l list
	if s.Phase == upgrade.Idle {
		l.set(v1.Idle, metav1.ConditionTrue, v1.ReasonIdle, textIdle, s.PhaseSince)
		return l
	}
	for i, st := range s.History {
		switch st.Stage {
		case events.StagePrep:
			l.set(v1.Idle, metav1.ConditionFalse, v1.ReasonInProgress, textInProgress, st.Start)
			l.stage(s, i, v1.PrepInProgress, v1.PrepCompleted, textPrepFailed, textPrepCompleted, textPrepSuccess)
		case events.StageUpgrade:
			l.stage(s, i, v1.UpgradeInProgress, v1.UpgradeCompleted, textUpgradeFailed, textUpgradeCompleted, textUpgradeCompleted)
		case events.StageRollback:
			if s.Trigger == events.TriggerUser {
				l.set(v1.UpgradeCompleted, metav1.ConditionFalse, v1.ReasonFailed, textRollbackRequested, st.Start)
				l.set(v1.UpgradeInProgress, metav1.ConditionFalse, v1.ReasonFailed, textRollbackRequested, st.Start)
			} else if outcome(s, i) != failed {
				continue // the failed Upgrade stage says it all
			}
			l.stage(s, i, v1.RollbackInProgress, v1.RollbackCompleted, textRollbackFailed, textRollbackCompleted, textRollbackCompleted)
			if s.Phase == upgrade.RollbackFailed {
				l.set(v1.RollbackInProgress, metav1.ConditionFalse, v1.ReasonFailed, detail(s)+textRollBack, s.PhaseSince)
			}
		case events.StageIdle:
			reason, text := cleaning(s)
			l.set(v1.Idle, metav1.ConditionFalse, reason, text, st.Start)
		}
	}
	return l
}

// stage sets the two conditions of the i-th stage, in the order in which the one that tells more comes last.
func (l *list) stage(s upgrade.State, i int, inProgress, completed, textFailed, textDone, textSuccess string) {
	st := s.History[i]
	end := st.End
	if end.IsZero() {
		end = s.PhaseSince
	}
	l.set(inProgress, metav1.ConditionTrue, v1.ReasonInProgress, progress(s), st.Start)
	switch outcome(s, i) {
	case succeeded:
		l.set(inProgress, metav1.ConditionFalse, v1.ReasonCompleted, textDone, end)
		l.set(completed, metav1.ConditionTrue, v1.ReasonCompleted, textSuccess, end)
	case failed:
		l.set(completed, metav1.ConditionFalse, v1.ReasonFailed, textFailed, end)
		l.set(inProgress, metav1.ConditionFalse, v1.ReasonFailed, detail(s), end)
	}
}

// detail says why a stage failed: the typed reason first, then what a person can do.
func detail(s upgrade.State) string {
	if s.Failure == nil {
		return textUpgradeFailed
	}
	text := string(s.Failure.Reason) + ": " + s.Failure.Message
	if s.Failure.Next != "" {
		text += "; next: " + s.Failure.Next
	}
	return text
}

// cleaning is the reason and the text of Idle on the way to it.
func cleaning(s upgrade.State) (reason, text string) {
	finalizing := s.Result == upgrade.Upgraded || s.Result == upgrade.RolledBack
	switch {
	case s.Phase == upgrade.CleanupFailed && finalizing:
		return v1.ReasonFinalizeFailed, detail(s) + textManual
	case s.Phase == upgrade.CleanupFailed:
		return v1.ReasonAbortFailed, detail(s) + textManual
	case s.Phase == upgrade.Finalizing:
		return v1.ReasonFinalizing, textFinalizing
	}
	return v1.ReasonAborting, textAborting
}

var progressTexts = map[upgrade.Phase]string{
	upgrade.Seedpull:    "Stateroot setup in progress",
	upgrade.Precache:    "Precache in progress",
	upgrade.Backup:      "Backup of Application Data is in progress",
	upgrade.BackedUp:    "Exporting Cluster, LVM, and cert-manager configuration",
	upgrade.Pivot:       "System will now reboot for upgrade",
	upgrade.Cryptoregen: "Regenerating cluster cryptography",
	upgrade.Reconfigure: "Applying the cluster's configuration",
	upgrade.Manifests:   "Applying Config Manifests",
	upgrade.Restore:     "Restore of Application Data is in progress",
	upgrade.Confirm:     "Waiting for the node to confirm the new root",
	upgrade.Confirmed:   "Waiting for the node to confirm the new root",
	upgrade.RollingBack: "System will now reboot for rollback",
}

func progress(s upgrade.State) string {
	text := progressTexts[s.Phase]
	if text == "" {
		text = textInProgress
	}
	if s.Overdue {
		text += textOverdue
	}
	return text
}
