package cli_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

// silence is a cluster on which Prep does not end, and a node that does not come back from its pivot.
var silence = map[events.Type]events.Type{events.TypePrepStarted: "", events.TypePivotRequested: "", events.TypeCryptoregenRequested: "", events.TypeReconfigureRequested: ""}

func TestStage(t *testing.T) {
	for _, tt := range []struct {
		name    string
		history []events.Type
		args    string
		in      string
		asks    bool
		code    int
		says    []string
	}{
		{"goes on after Prep", upgradetest.Until(events.TypePrepCompleted), "Upgrade", "", false, 0, []string{"upgrade.started is number 10"}},
		{"in any case", upgradetest.Until(events.TypePrepCompleted), "upgrade", "", false, 0, []string{"upgrade.started"}},
		{"rolls back with consent", upgradetest.GoodPath, "Rollback", "yes\n", true, 0, []string{"rollback.started", "Go on?"}},
		{"rolls back unasked", upgradetest.GoodPath, "Rollback --yes", "", false, 0, []string{"rollback.started"}},
		{"gives up the way back", upgradetest.GoodPath, "Idle -y", "", false, 0, []string{"finalize.started"}},
		{"not without consent", upgradetest.GoodPath, "Rollback", "\n", true, 2, []string{"you did not say yes"}},
		{"not without anybody", upgradetest.GoodPath, "Idle", "", false, 2, []string{"nobody to ask", "--yes"}},
		{"cannot follow", upgradetest.Until(events.TypePrepStarted), "Upgrade", "", false, 6, []string{"IllegalTransition", "do: ask for one that can follow: Idle"}},
		{"not in the dark", upgradetest.Until(events.TypeReconfigureRequested), "Rollback -y", "", false, 6, []string{"NodeDark", "do: wait"}},
		{"Prep needs a seed", slices.Concat(upgradetest.GoodPath, finalization), "Prep", "", false, 6, []string{"upgrade.requested"}},
		{"no such stage", upgradetest.GoodPath, "Finalize", "", false, 2, []string{"Idle, Prep, Upgrade, Rollback"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.through = events.StagePrep // what follows has to be asked for
			w.tell(edge, upID, tt.history...).run(silence)
			r := w.do(t.Context(), call{args: append([]string{"stage", upID}, strings.Fields(tt.args)...), in: tt.in, asks: tt.asks})
			wantCode(t, r, tt.code)
			for _, want := range tt.says {
				if !strings.Contains(r.out+r.err, want) {
					t.Errorf("it does not say %q: %s", want, r)
				}
			}
			if r.code != 0 && !tt.asks && strings.Count(r.err, "\n") != 3 {
				t.Errorf("want three lines: %s", r)
			}
		})
	}
}

// TestStageOfEarlierUpgrade is refused before it becomes history.
func TestStageOfEarlierUpgrade(t *testing.T) {
	w := newWorld(t, nil).tell(edge, "first", upgradetest.GoodPath...).tell(edge, "first", finalization...).
		tell(edge, "second", upgradetest.Until(events.TypePrepStarted)...).run(silence)
	r := w.reroot("stage first Idle --yes")
	if r.code != 6 || !strings.Contains(r.err, `the last one of this cluster is "second"`) {
		t.Errorf("%s", r)
	}
}
