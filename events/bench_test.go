package events_test

import (
	"testing"

	"github.com/reroot-dev/reroot/events"
)

// One event is validated once and hashed twice on its way through the journal; a durable hop takes 300 µs and more.
func BenchmarkEvent(b *testing.B) {
	for _, typ := range []events.Type{events.TypeUpgradeRequested, events.TypePivotRequested, events.TypeSeedpullCompleted, events.TypePrepValidated} {
		e, problem := events.Parse(valid(b, typ))
		if problem != nil {
			b.Fatal(problem)
		}
		b.Run("validate/"+typ.Short(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if problem := events.Validate(e); problem != nil {
					b.Fatal(problem)
				}
			}
		})
		b.Run("hash/"+typ.Short(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				hash(b, e)
			}
		})
	}
}
