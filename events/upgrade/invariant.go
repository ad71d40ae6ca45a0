package upgrade

import (
	"errors"
	"strings"

	"github.com/reroot-dev/reroot/events"
)

// Check holds the invariants of a step from one state to the next. A violation is a defect; it is refused like an
// illegal decision, so that a defect can never become history.
func Check(before, after State) error {
	entered := before.Phase != after.Phase
	var errs []error
	claim := func(ok bool, otherwise string) {
		if !ok {
			errs = append(errs, errors.New(otherwise))
		}
	}
	claim(after.Sequence == before.Sequence+1, "the sequence does not go up by one")
	claim(after.Pivots <= after.Attempt, "more than one pivot in an attempt")
	if after.Pivots > before.Pivots {
		claim(after.Seed.Digest != "" && after.New != nil, "pivot without a verified seed")
		claim(after.BackupsDone, "pivot before the backups are complete or explicitly empty")
	}
	if entered && after.Phase == Upgraded {
		claim(after.Confirmed && same(after.Booted, after.New), "upgrade completed before the node confirmed the new root")
	}
	if entered && after.Phase == RolledBack {
		claim(same(after.Booted, after.Old), "rollback completed although the node does not report the old root")
	}
	if entered && before.Phase == Aborting && after.Phase == Idle {
		claim(after.New == nil || !same(after.Booted, after.New), "aborted although the node runs the new root")
	}
	if after.Phase == Finalizing {
		claim(after.Confirmed || before.Phase != Upgraded, "finalize before confirm")
	}
	return errors.Join(errs...)
}

// Stateroot is the name of the stateroot that the seed of the open upgrade is imported as. Its spelling is the
// lifecycle-agent's: rhcos_ and the version with every "-" as "_".
func (s State) Stateroot() string {
	return "rhcos_" + strings.ReplaceAll(s.Spec.SeedImageRef.Version, "-", "_")
}

// Removable are the stateroots that cleaning up may remove: never the booted one; the seed's only after validation, since
// a request that was refused may have named what the node runs; and the old one only once the user has given it up by
// finalizing a confirmed upgrade.
func (s State) Removable() []string {
	var candidates []string
	if s.Seed.Digest != "" {
		candidates = append(candidates, s.Stateroot())
	}
	if s.Old != nil && s.Phase == Finalizing && s.Confirmed {
		candidates = append(candidates, s.Old.Stateroot)
	}
	remove := []string{}
	for _, c := range candidates {
		if s.Booted == nil || c != s.Booted.Stateroot {
			remove = append(remove, c)
		}
	}
	return remove
}

func same(a, b *events.Deployment) bool { return a != nil && b != nil && *a == *b }
