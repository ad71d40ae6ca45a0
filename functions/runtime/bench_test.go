package runtime_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// BenchmarkPipeline is a whole upgrade, requested to completed, with functions and a node that answer at once, on a
// server that syncs every write: what the pipeline itself costs.
func BenchmarkPipeline(b *testing.B) {
	store := embedded(b)
	stop := start(b, newRuntime(store, goodHandlers()).Run, newNode(store).run)
	defer stop()
	var all []time.Duration
	from, n := uint64(1), 0
	for b.Loop() {
		n++
		began := time.Now()
		submit(b, store, "users", requested(fmt.Sprint("u", n), events.StageFinalize))
		for r, err := range store.Watch(b.Context(), cluster, from) {
			if err != nil {
				b.Fatal(err)
			}
			from = events.Sequence(r.Event) + 1
			if events.TypeOf(r.Event) == events.TypeUpgradeCompleted {
				all = append(all, time.Since(began))
			}
			if events.TypeOf(r.Event) == events.TypeIdleReached {
				break
			}
		}
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkFold10000 folds 10,000 events, 400 upgrades, that have been read and checked.
func BenchmarkFold10000(b *testing.B) {
	evs := upgrades(400)
	b.ReportMetric(float64(len(evs)), "events")
	for b.Loop() {
		s := upgrade.New(cluster)
		for _, e := range evs {
			var err error
			if s, err = s.Apply(e, ""); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// upgrades is a history of n good upgrades.
func upgrades(n int) []event.Event {
	at := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	var all []event.Event
	for i := range n {
		id := fmt.Sprint("u", i)
		for _, short := range goodPath {
			t := events.Expand(short)
			d, _ := events.Lookup(t)
			writer := d.Writers[0]
			if d.Kind == events.Decision {
				writer = "functions/" + writer
			}
			at = at.Add(time.Minute)
			e := events.New(t, fmt.Sprint(id, "-", short), cluster, writer, id, example(t))
			e.SetTime(at)
			e.SetExtension(events.ExtSequence, fmt.Sprintf("%020d", len(all)+1))
			e.SetExtension(events.ExtRecorded, at.Format(time.RFC3339Nano))
			all = append(all, e)
		}
	}
	return all
}
