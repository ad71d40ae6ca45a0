// Package journaltest is the contract of [journal.Store]: what every implementation must do, as tests that an
// implementation's own tests run.
package journaltest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// Store is a store under test, with doors that a user of the store does not have.
type Store struct {
	journal.Store
	// Reopen ends the store as a crash would, what can be ended of it, and opens what it has kept.
	Reopen func(t *testing.T) journal.Store
	// Forge adds an event to a history as it is: not stamped, not compared.
	Forge func(t *testing.T, cluster string, e event.Event)
	// Post puts a message into the inbox that need not be an event.
	Post func(t *testing.T, cluster, origin string, header map[string]string, body []byte)
}

// slowly is how long the slow handler runs: longer than a store under test waits before it takes a delivery for lost.
const slowly = 2500 * time.Millisecond

// Contract runs the contract. Open returns a new, empty store that takes a delivery for lost after a second or two; it
// cleans up by itself.
func Contract(t *testing.T, open func(t *testing.T) *Store) {
	for name, test := range map[string]func(*testing.T, *Store){
		"append stamps and reads back":               appendAndRead,
		"append refuses a stale head":                conflict,
		"append refuses foreign events":              foreign,
		"append of a batch is all or none":           batch,
		"eight writers leave one history":            eightWriters,
		"histories of clusters are apart":            clusters,
		"watch goes on with what is appended":        watch,
		"a flipped bit breaks the chain":             flippedBit,
		"a forged record breaks the chain":           forged,
		"a damaged history is restarted":             restarted,
		"a history survives a crash":                 survives,
		"export and import keep every hash":          export,
		"subscribe delivers its types in order":      subscribeInOrder,
		"clusters do not wait for each other":        clustersApart,
		"what was not acknowledged comes again":      redelivered,
		"what was acknowledged does not come again":  acknowledged,
		"later lets the ones behind pass":            later,
		"an error comes again":                       failed,
		"a slow handler keeps its delivery":          slow,
		"two subscribers share the work":             shared,
		"the inbox delivers what was submitted":      inbox,
		"the inbox delivers structured mode":         structured,
		"the inbox delivers what is no event as raw": poison,
		"parked events are listed and redriven":      parked,
		"parking twice leaves one":                   parkedTwice,
		"anything can be parked":                     parkedAnyhow,
		"progress keeps the last report of a step":   progress,
		"a deadline fires":                           deadline,
		"a deadline is replaced":                     deadlineReplaced,
		"a deadline passes while nothing runs":       deadlineMissed,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// limit bounds every wait in the contract: a test that reaches it has failed.
const limit = 20 * time.Second

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// request is an event that nobody has appended yet.
func request(cluster, id string) event.Event {
	return events.New(events.TypeStageRequested, id, cluster, "users/alice", "u1", events.StageRequested{Stage: events.StageIdle})
}

func rejected(cluster, id string) event.Event {
	return events.New(events.TypeStageRejected, id, cluster, "functions/stage", "u1", events.StageRejected{
		Stage: events.StageIdle, Reason: events.ReasonIllegalTransition, Message: "no", ValidNextStages: []events.Stage{}})
}

// grow appends n requests, one at a time, named <cluster>-<ordinal>.
func grow(t *testing.T, log journal.Log, cluster string, head journal.Head, n int) journal.Head {
	t.Helper()
	for range n {
		rs, err := log.Append(within(t), cluster, head, request(cluster, fmt.Sprintf("%s-%d", cluster, head.Sequence+1)))
		if err != nil {
			t.Fatalf("append after %d: %v", head.Sequence, err)
		}
		head = rs[0].Head()
	}
	return head
}

// read returns a whole history; it fails on any error.
func read(t *testing.T, log journal.Log, cluster string, from uint64) []journal.Record {
	t.Helper()
	var all []journal.Record
	for r, err := range log.Read(within(t), cluster, from) {
		if err != nil {
			t.Fatalf("read: %v", err)
		}
		all = append(all, r)
	}
	return all
}

// running starts f and returns a function that ends it and waits.
func running(t *testing.T, f func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil && ctx.Err() == nil {
				t.Errorf("ended by itself: %v", err)
			}
		case <-time.After(limit):
			t.Error("does not end")
		}
	}
	t.Cleanup(stop)
	return stop
}

// next waits for a value.
func next[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
