package journal

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// stamp returns the events as they stand in the history right after head. The originals stay as they are.
func stamp(cluster string, head Head, now time.Time, evs []event.Event) ([]Record, error) {
	records := make([]Record, len(evs))
	for i, e := range evs {
		e = e.Clone()
		if err := checkAddress(cluster, e); err != nil {
			return nil, err
		}
		if e.Time().IsZero() {
			e.SetTime(now.UTC())
		}
		for name, v := range e.Extensions() {
			// In headers every value is text; the hash must be the one that a reader computes.
			s, err := types.Format(v)
			if err != nil {
				return nil, fmt.Errorf("cannot encode attribute %s of event %s: %w", name, e.ID(), err)
			}
			e.SetExtension(name, s)
		}
		e.SetExtension(events.ExtSequence, fmt.Sprintf("%020d", head.Sequence+1))
		e.SetExtension(events.ExtRecorded, now.UTC().Format(time.RFC3339Nano))
		e.SetExtension(events.ExtPrevHash, head.Hash)
		if head.Hash == "" {
			e.SetExtension(events.ExtPrevHash, nil)
		}
		hash, err := events.Hash(e)
		if err != nil {
			return nil, err
		}
		records[i] = Record{Event: e, Hash: hash}
		head = records[i].Head()
	}
	return records, nil
}

// Head is the head of the history that ends with this record.
func (r Record) Head() Head { return Head{Sequence: events.Sequence(r.Event), Hash: r.Hash} }

// stampRestart stamps the first record of a new history.
func stampRestart(cluster string, now time.Time, e event.Event) (Record, error) {
	if events.TypeOf(e) != events.TypeJournalRestarted {
		return Record{}, fmt.Errorf("cannot restart the history of %s with %s", cluster, events.TypeOf(e).Short())
	}
	records, err := stamp(cluster, Head{}, now, []event.Event{e})
	if err != nil {
		return Record{}, err
	}
	return records[0], nil
}

// chain checks the links of a history as it is read.
type chain struct{ head Head }

// next checks that e follows what was read so far and returns it with its hash.
func (c *chain) next(e event.Event) (Record, error) {
	if err := events.Link(e, c.head.Sequence+1, c.head.Hash); err != nil {
		return Record{}, err
	}
	hash, err := events.Hash(e)
	if err != nil {
		return Record{}, err
	}
	r := Record{Event: e, Hash: hash}
	c.head = r.Head()
	return r, nil
}

// Fold folds a cluster's history up to and including ordinal until; 0 means all of it.
func Fold(ctx context.Context, log Log, cluster string, until uint64) (upgrade.State, error) {
	state := upgrade.New(cluster)
	for r, err := range log.Read(ctx, cluster, 1) {
		if err != nil {
			return state, fmt.Errorf("cannot read the history of %s: %w", cluster, err)
		}
		next, err := state.Apply(r.Event, r.Hash)
		if err != nil {
			return state, fmt.Errorf("cannot fold event %d of %s: %w", state.Sequence+1, cluster, err)
		}
		if state = next; state.Sequence == until {
			break
		}
	}
	return state, nil
}
