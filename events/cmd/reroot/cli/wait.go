package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/timeline"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// Milestones of an upgrade that can be waited for. One that was passed stays passed, but for upgraded, which a rollback
// takes back.
const (
	prepared   = "prepared"
	upgraded   = "upgraded"
	rolledBack = "rolled-back"
	idle       = "idle"
	failed     = "failed"
)

var milestones = []string{prepared, upgraded, rolledBack, idle, failed}

// passes says which milestone is passed with an event.
var passes = map[events.Type]string{
	events.TypePrepCompleted:     prepared,
	events.TypeUpgradeCompleted:  upgraded,
	events.TypeRollbackCompleted: rolledBack,
	events.TypeIdleReached:       idle,
	events.TypePrepFailed:        failed,
	events.TypeUpgradeFailed:     failed,
	events.TypeRollbackFailed:    failed,
	events.TypeIdleFailed:        failed,
}

func (a *app) waitCommand() *cobra.Command {
	var conditions []string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait UPGRADE --for CONDITION[,CONDITION…]",
		Short: "wait until an upgrade has passed a milestone",
		Long: `Wait until an upgrade has passed one of the milestones prepared, upgraded, rolled-back, idle
or failed. If it ends otherwise, so that nothing more happens unless a person asks for it, wait says
so at once: it exits with 3 if the upgrade was rolled back, with 4 if a person has to decide, and
with 5 when the time is over.`,
		Example: `  reroot wait to-4-19-3 --for upgraded
  reroot wait to-4-19-3 --for prepared,failed --timeout 2h
  reroot wait to-4-19-3 --for idle --timeout 10m`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: arguments(a.upgradeNames),
	}
	cmd.Flags().StringSliceVar(&conditions, "for", nil, "what to wait for: "+strings.Join(milestones, ", "))
	cmd.Flags().DurationVar(&timeout, "timeout", time.Hour, "how long to wait; 0 only asks")
	a.complete(cmd, "for", constant(milestones...))
	if err := cmd.MarkFlagRequired("for"); err != nil {
		panic(err) // there is no such flag
	}
	cmd.RunE = a.run(func(ctx context.Context, args []string) error { return a.wait(ctx, args[0], conditions, timeout) })
	return cmd
}

func (a *app) wait(ctx context.Context, given string, conditions []string, timeout time.Duration) error {
	for _, c := range conditions {
		if !slices.Contains(milestones, c) {
			return wrong("wait for "+c, "name one of "+strings.Join(milestones, ", "), "it is no milestone of an upgrade")
		}
	}
	store, cluster, id, err := a.upgrade(ctx, given)
	if err != nil {
		return err
	}
	w := &wait{id: id, wanted: conditions, passed: map[string]bool{}, state: upgrade.New(cluster)}
	if err := w.catchUp(ctx, store); err != nil {
		return err
	}
	over, err := w.verdict()
	if !over {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		err = w.follow(limited, store)
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			return overtime("wait for "+id, timeout, w.state)
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Out, "upgrade %s: %s\n", id, timeline.Outcome(w.state))
	return err
}

// wait follows a history until one of the wanted milestones of an upgrade is passed.
type wait struct {
	id     string
	wanted []string
	passed map[string]bool
	state  upgrade.State // of the upgrade; it does not go on to the next one
}

// errOver says that another upgrade has begun: nothing more happens in this one.
var errOver = errors.New("another upgrade has begun")

// catchUp takes the past as a whole: a failure that was overcome is none. It is not bounded by the time to wait, so that
// a short one is a question.
func (w *wait) catchUp(ctx context.Context, log journal.Log) error {
	for r, err := range log.Read(ctx, w.state.Cluster, 1) {
		if err == nil {
			err = w.take(r)
		}
		if errors.Is(err, errOver) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// follow returns nil when a wanted milestone is passed, and a [Failure] when none will be.
func (w *wait) follow(ctx context.Context, log journal.Log) error {
	for r, err := range log.Watch(ctx, w.state.Cluster, w.state.Sequence+1) {
		if err == nil {
			err = w.take(r)
		}
		if err != nil {
			return err
		}
		if over, err := w.verdict(); over {
			return err
		}
	}
	return ctx.Err()
}

func (w *wait) take(r journal.Record) error {
	t := events.TypeOf(r.Event)
	if t == events.TypeUpgradeRequested && w.state.Upgrade == w.id {
		return errOver
	}
	next, err := w.state.Apply(r.Event, r.Hash)
	if err != nil {
		return fmt.Errorf("cannot fold event %d of %s: %w", w.state.Sequence+1, w.state.Cluster, err)
	}
	w.state = next
	if next.Upgrade != w.id {
		return nil
	}
	if milestone, ok := passes[t]; ok {
		w.passed[milestone] = true
	}
	if t == events.TypeRollbackStarted {
		w.passed[upgraded] = false
	}
	return nil
}

// verdict says whether waiting is over, and with what.
func (w *wait) verdict() (over bool, err error) {
	for _, m := range w.wanted {
		if w.passed[m] {
			return true, nil
		}
	}
	switch w.state.Phase {
	case upgrade.RolledBack, upgrade.PrepFailed, upgrade.UpgradeFailed, upgrade.RollbackFailed:
		if slices.Contains(w.wanted, idle) {
			return false, nil // a person may ask for it meanwhile
		}
	case upgrade.Idle, upgrade.CleanupFailed:
	default:
		return false, nil
	}
	return true, missed("wait for "+w.id+" to be "+strings.Join(w.wanted, " or "), w.state)
}

// missed says that an upgrade ended otherwise than awaited.
func missed(cannot string, s upgrade.State) error {
	f := &Failure{Code: NeedsPerson, Cannot: cannot, Because: "it ended otherwise: " + timeline.Outcome(s), Do: "look at it: reroot timeline " + s.Upgrade}
	if s.Phase == upgrade.RolledBack || (s.Phase == upgrade.Idle && s.Result == upgrade.RolledBack) {
		f.Code = RolledBack
	}
	if next := s.Phase.ValidNextStages(); s.Phase != upgrade.Idle && len(next) > 0 {
		f.Do = fmt.Sprintf("ask for a stage that can follow (%s): reroot stage %s STAGE", timeline.Stages(next), s.Upgrade)
	}
	if s.Failure != nil {
		f.Because += fmt.Sprintf(" (%s: %s)", s.Failure.Reason, s.Failure.Message)
		f.Do = cmp.Or(s.Failure.Next, f.Do)
	}
	return f
}

// overtime says that the time to wait is over.
func overtime(cannot string, limit time.Duration, s upgrade.State) error {
	return &Failure{Code: TimedOut, Cannot: cannot, Because: fmt.Sprintf("after %s it is %s", limit, timeline.Outcome(s)), Do: "wait again, or watch it: reroot timeline " + s.Upgrade}
}

// followed shows the upgrade that e asked for until it has gone as far as it should.
func (a *app) followed(ctx context.Context, store journal.Store, e event.Event, timeout time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	s, err := timeline.Live(limited, a.screen(a.Err), store, store, events.Cluster(e))
	switch {
	case limited.Err() != nil && ctx.Err() == nil:
		return overtime("wait for "+e.Subject(), timeout, s)
	case err != nil:
		return err
	case s.Phase == upgrade.Prepared, s.Result == upgrade.Upgraded:
		return nil
	}
	return missed("bring "+e.Subject()+" to its end", s)
}
