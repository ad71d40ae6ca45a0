package cli_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/cmd/reroot/reasons"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/test/golden"
)

// TestFinishedUpgrade reads one finished upgrade in every way.
func TestFinishedUpgrade(t *testing.T) {
	w := newWorld(t, minutes()).tell(edge, upID, upgradetest.GoodPath...).tell(edge, upID, finalization...)
	for name, line := range map[string]string{
		"get":                "get",
		"get-wide":           "get -o wide",
		"get-name":           "get -o name",
		"get-one-yaml":       "get edge-1 -o yaml",
		"get-json":           "get -o json",
		"events":             "events",
		"events-type-wide":   "events --type node.pivot.requested --type dev.reroot.idle.reached.v1 -o wide",
		"events-since":       "events to-4 --since 2026-11-22T12:24:30Z",
		"events-since-ago":   "events --since 35m30s",
		"events-none-json":   "events --type stage.rejected -o json",
		"events-json":        "events --type idle.reached -o json",
		"events-yaml":        "events --type idle.reached -o yaml",
		"events-ndjson":      "events --type upgrade.requested,idle.reached -o ndjson",
		"timeline":           "timeline",
		"replay-number":      "replay --until 7",
		"replay-time":        "replay --until 2026-11-22T12:10:30Z -o json",
		"replay-before":      "replay --until 2026-11-22T11:00:00Z",
		"replay-beyond":      "replay --until 99",
		"replay-wrong-until": "replay --until tomorrow",
		"wait-prepared":      "wait to-4-19-3 --for prepared",
		"wait-rolled-back":   "wait to-4-19-3 --for rolled-back,failed",
		"wait-wrong":         "wait to-4-19-3 --for done",
		"unknown-upgrade":    "wait to-5 --for idle",
		"unknown-cluster":    "events --cluster edge-9",
		"unknown-flag":       "get --ouput json",
		"unknown-format":     "get -o xml",
		"unknown-command":    "upgrade",
		"unknown-type":       "events --type prep.done",
		"unknown-color":      "get --color blue",
		"follow-json":        "events -f -o json",
		"dead-none":          "dead list",
		"dead-none-json":     "dead list -o json",
		"redrive-none":       "dead redrive 3f2a",
	} {
		t.Run(name, func(t *testing.T) { golden.Compare(t, name+".txt", w.reroot(line).String()) })
	}
	t.Run("export", func(t *testing.T) {
		r := w.reroot("export")
		if r.code != 0 || r.err != "" {
			t.Errorf("%s", r)
		}
		golden.Compare(t, "history.ndjson", r.out)
	})
}

// TestFleet reads several clusters, one of which failed.
func TestFleet(t *testing.T) {
	w := newWorld(t, minutes()).tell("edge-1", "first", upgradetest.GoodPath...).tell("edge-1", "first", finalization...).
		tell("edge-1", "second", upgradetest.Until(events.TypePrecacheRequested)...).
		tell("edge-2", "fails", failedRestore...).
		tell("edge-3", "silent", slices.Concat(upgradetest.Until(events.TypeReconfigureRequested), []events.Type{events.TypeNodeOverdue})...)
	for name, line := range map[string]string{
		"fleet-get":               "get -o wide",
		"fleet-ambiguous":         "events",
		"fleet-get-name":          "get -o name",
		"fleet-rolled-back":       "timeline --cluster edge-2",
		"fleet-earlier-upgrade":   "timeline first --cluster edge-1",
		"fleet-wait-fails":        "wait fails --cluster edge-2 --for upgraded",
		"fleet-wait-rolled-back":  "wait fails --cluster edge-2 --for rolled-back",
		"fleet-wait-failed":       "wait fa --cluster edge-2 --for failed",
		"fleet-wait-timeout":      "wait silent --cluster edge-3 --for upgraded --timeout 10ms",
		"fleet-wait-earlier":      "wait first --cluster edge-1 --for idle",
		"fleet-wait-idle-timeout": "wait fails --cluster edge-2 --for idle --timeout 10ms",
	} {
		t.Run(name, func(t *testing.T) { golden.Compare(t, name+".txt", w.reroot(line).String()) })
	}
}

// TestExplain needs no event store.
func TestExplain(t *testing.T) {
	w := &world{t: t}
	for name, line := range map[string]string{
		"explain-reason":     "explain reason seedNotNewer",
		"explain-event":      "explain event upgrade.requested",
		"explain-stages":     "explain stage",
		"explain-stage":      "explain stage Upgrade",
		"explain-exit-codes": "explain exit-code",
		"explain-exit-code":  "explain exit-code 3",
		"explain-nothing":    "explain reason Whim",
		"explain-topic":      "explain life",
	} {
		t.Run(name, func(t *testing.T) { golden.Compare(t, name+".txt", w.reroot(line).String()) })
	}
	t.Run("every event", func(t *testing.T) {
		list := w.reroot("explain event").out
		for _, d := range events.Catalogue() {
			if d.Kind == events.Ephemeral {
				continue
			}
			page := w.reroot("explain event " + d.Type.Short()).out
			if !strings.Contains(list, "\n"+d.Type.Short()+" ") || !strings.Contains(page, string(d.Type)) || !strings.Contains(page, "example of its data") {
				t.Errorf("%s is not explained: %s", d.Type.Short(), page)
			}
		}
	})
	t.Run("every reason", func(t *testing.T) {
		list := w.reroot("explain reason").out
		for _, r := range reasons.Table {
			if page := w.reroot("explain reason " + r.Reason).out; !strings.Contains(list, "\n"+r.Reason+" ") || strings.Count(page, "\n") < 3 {
				t.Errorf("%s is not explained: %s", r.Reason, page)
			}
		}
	})
}

// TestNames passes what `get -o name` prints to each command that takes an upgrade.
func TestNames(t *testing.T) {
	w := newWorld(t, minutes()).tell("edge-1", "same", upgradetest.GoodPath...).tell("edge-2", "same", failedRestore...).
		tell("edge-3", "same", upgradetest.GoodPath...).tell("edge-3", "same", finalization...).tell("edge-3", "next", upgradetest.Until(events.TypePrepStarted)...)
	names := strings.Fields(w.reroot("get -o name").out)
	if want := []string{"edge-1/same", "edge-2/same", "edge-3/next"}; !slices.Equal(names, want) {
		t.Fatalf("get prints %v, want %v", names, want)
	}
	for _, tt := range []struct {
		line string
		code int
		says string
	}{
		{"timeline edge-1/same", 0, "outcome: upgraded"},
		{"timeline edge-2/same", 0, "RestoreFailed"},
		{"timeline edge-3/same", 0, "and finalized"},
		{"events edge-2/sa", 0, "rollback.completed"},
		{"wait edge-1/same --for upgraded", 0, "upgraded to 4.17.0"},
		{"wait edge-2/same --for upgraded", 3, "RestoreFailed"},
		{"wait edge-2/same --for rolled-back --cluster edge-2", 0, "rolled back"},
		{"stage edge-3/next Idle", 2, "Idle of next on edge-3"},
		{"wait edge-1/same --for upgraded --cluster edge-2", 2, "leave out --cluster"},
		{"timeline edge-1/other", 2, "cannot find upgrade other"},
		{"timeline edge-9/same", 2, "cannot find the history of edge-9"},
		{"timeline /same", 2, "cannot choose a cluster"},
		{"stage edge-1/ Idle --yes", 2, "cannot find upgrade"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			r := w.do(t.Context(), call{args: strings.Fields(tt.line), in: "\n", asks: true})
			wantCode(t, r, tt.code)
			if !strings.Contains(r.out+r.err, tt.says) {
				t.Errorf("it does not say %q: %s", tt.says, r)
			}
		})
	}
}
