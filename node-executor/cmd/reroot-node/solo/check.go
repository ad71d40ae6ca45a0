package solo

import (
	"context"
	"errors"
	"fmt"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// DamageError says that a history is not what was once written.
type DamageError struct{ err error }

func (e *DamageError) Error() string { return e.err.Error() }
func (e *DamageError) Unwrap() error { return e.err }

func damage(format string, args ...any) error { return &DamageError{fmt.Errorf(format, args...)} }

// Check reads a whole history, and returns a [DamageError] if it cannot be right: a link of its hash chain does not
// hold, it cannot be folded, or it lacks the event that the node has seen of it. The last is what a chain alone cannot
// tell: one whose end was cut off holds, and so does none at all. A history that was begun anew after damage is not held
// against what the node saw of the one before.
func Check(ctx context.Context, log journal.Log, cluster string, seen journal.Head) error {
	state, anew := upgrade.New(cluster), false
	for r, err := range log.Read(ctx, cluster, 1) {
		var broken *events.ChainError
		switch {
		case errors.As(err, &broken):
			return &DamageError{err}
		case err != nil:
			return err
		}
		if state, err = state.Apply(r.Event, r.Hash); err != nil {
			return damage("cannot fold event %d of %s: %w", events.Sequence(r.Event), cluster, err)
		}
		if state.Sequence == 1 {
			anew = events.TypeOf(r.Event) == events.TypeJournalRestarted
		}
		if state.Sequence == seen.Sequence && state.Hash != seen.Hash && !anew {
			return damage("event %d of %s is not the one that the node has seen", seen.Sequence, cluster)
		}
	}
	if state.Sequence < seen.Sequence && !anew {
		return damage("the history of %s ends at event %d, but the node has seen event %d", cluster, state.Sequence, seen.Sequence)
	}
	return nil
}
