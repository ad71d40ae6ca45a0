package watchdog_test

import (
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

func TestDecide(t *testing.T) {
	const budget = 30 * time.Minute
	armed := watchdog.Record{Phase: watchdog.Armed, Budget: budget}
	running := watchdog.Record{ // its second boot, 5 minutes of the first were used
		Phase: watchdog.Armed, Budget: budget, Boots: 2, BootID: "b2", Earlier: 5 * time.Minute, Since: time.Minute, Seen: 2 * time.Minute,
	}
	third := running
	third.Boots, third.BootID = 3, "b3"
	at := func(id string, d time.Duration) watchdog.Moment { return watchdog.Moment{BootID: id, BootTime: d} }
	for name, tc := range map[string]struct {
		record watchdog.Record
		now    watchdog.Moment
		phase  watchdog.Phase
		used   time.Duration
		boots  int
	}{
		"first look":                      {armed, at("b1", time.Hour), watchdog.Armed, 0, 1},
		"within the budget":               {running, at("b2", 25*time.Minute), watchdog.Armed, 29 * time.Minute, 2},
		"the budget is used up":           {running, at("b2", 26*time.Minute), watchdog.GivenUp, 30 * time.Minute, 2},
		"a reboot adds nothing by itself": {running, at("b3", time.Hour), watchdog.Armed, 6 * time.Minute, 3},
		"the fourth boot":                 {third, at("b4", 0), watchdog.GivenUp, 6 * time.Minute, 4},
		"the third boot goes on":          {third, at("b3", 3*time.Minute), watchdog.Armed, 7 * time.Minute, 3},
		"a clock that stands still":       {running, at("b2", 0), watchdog.Armed, 5 * time.Minute, 2},
		"no budget at all":                {watchdog.Record{Phase: watchdog.Armed}, at("b1", 0), watchdog.GivenUp, 0, 1},
		"confirmed stays":                 {watchdog.Record{Phase: watchdog.Confirmed, Boots: 9}, at("b1", 99*time.Hour), watchdog.Confirmed, 0, 9},
		"given up stays":                  {watchdog.Record{Phase: watchdog.GivenUp, Budget: budget}, at("b1", 0), watchdog.GivenUp, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got := watchdog.Decide(tc.record, tc.now)
			if got.Phase != tc.phase || got.Used() != tc.used || got.Boots != tc.boots {
				t.Errorf("phase %s, used %s, %d boots; want %s, %s, %d", got.Phase, got.Used(), got.Boots, tc.phase, tc.used, tc.boots)
			}
			if (got.Why != "") != (tc.phase == watchdog.GivenUp && tc.record.Phase == watchdog.Armed) {
				t.Errorf("why: %q", got.Why)
			}
		})
	}
}
