package upgrade_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

// TestAnyOrder feeds events in any order, with duplicates: whatever comes, the invariants hold, a refusal changes
// nothing, a fact is never refused, and folding the accepted events again gives the same state.
func TestAnyOrder(t *testing.T) {
	var history []events.Type
	for _, d := range events.Catalogue() {
		if d.Kind != events.Ephemeral {
			history = append(history, d.Type)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.IntRange(0, len(upgradetest.GoodPath)).Draw(t, "good events first")
		s, _, err := upgradetest.After(upgradetest.GoodPath[:start]...)
		if err != nil {
			t.Fatal(err)
		}
		y := &upgradetest.Story{Upgrade: "up-1", Told: start}
		for _, typ := range rapid.SliceOfN(rapid.SampledFrom(history), 0, 40).Draw(t, "then") {
			e := y.Tell(s, typ, nil)
			before := s
			next, err := s.Apply(e, "h"+e.ID())
			again, errAgain := s.Apply(e, "h"+e.ID())
			if diff := cmp.Diff(next, again); diff != "" || (err == nil) != (errAgain == nil) {
				t.Fatalf("%s folds differently the second time: %s", typ.Short(), diff)
			}
			if diff := cmp.Diff(before, s); diff != "" {
				t.Fatalf("%s changed the state that it was applied to: %s", typ.Short(), diff)
			}
			d, _ := events.Lookup(typ)
			var refused *upgrade.GuardError
			switch {
			case err == nil:
				claim(t, s, next)
			case d.Kind == events.Fact:
				t.Fatalf("the fact %s was refused: %v", typ.Short(), err)
			case !errors.As(err, &refused):
				t.Fatalf("%s: %v", typ.Short(), err)
			default:
				if diff := cmp.Diff(s, next); diff != "" {
					t.Fatalf("the refused %s changed the state: %s", typ.Short(), diff)
				}
			}
			s = next
		}
	})
}

// claim states what must hold whatever happened, in words of its own.
func claim(t *rapid.T, before, after upgrade.State) {
	switch {
	case after.Pivots > 1:
		t.Fatalf("%d pivots in one upgrade", after.Pivots)
	case after.Pivots > before.Pivots && !(after.BackupsDone && after.New != nil && after.Seed.Digest != ""):
		t.Fatalf("a pivot without verified seed and backups: %+v", after)
	case after.Phase == upgrade.Upgraded && before.Phase != upgrade.Upgraded && !after.Confirmed:
		t.Fatal("upgraded without confirm")
	case before.Phase == upgrade.Pivot && after.Phase != upgrade.Pivot && after.BootID == before.BootID && after.Phase != upgrade.BackedUp:
		t.Fatalf("left the dark for %s without a report from the node", after.Phase)
	}
	for _, r := range after.Removable() {
		if after.Booted != nil && r == after.Booted.Stateroot {
			t.Fatalf("in phase %s the booted stateroot %s may be removed", after.Phase, r)
		}
		if after.Old != nil && r == after.Old.Stateroot && after.Phase != upgrade.Finalizing {
			t.Fatalf("in phase %s the old stateroot %s may be removed", after.Phase, r)
		}
	}
}
