package runtime

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// learn follows the node's own chain through an event that is in the history.
func (o *outbox) learn(e event.Event) error {
	if events.TypeOf(e) == events.TypeJournalRestarted {
		*o = outbox{reset: true}
		return nil
	}
	n, numbered := factNumber(e)
	if !numbered {
		return nil
	}
	hash, err := factHash(e)
	if err != nil {
		return err
	}
	*o = outbox{number: n, hash: hash}
	return nil
}

// factNumber is the ordinal of a fact in the node's outbox.
func factNumber(e event.Event) (n uint64, numbered bool) {
	text, numbered := e.Extensions()[events.ExtNodeSequence].(string)
	if !numbered {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

// factHash is the hash of a fact as the node stated it, without what appending added.
func factHash(e event.Event) (string, error) {
	e = e.Clone()
	for _, stamp := range []string{events.ExtSequence, events.ExtRecorded, events.ExtPrevHash} {
		e.SetExtension(stamp, nil)
	}
	return events.Hash(e)
}

// turn says whether a fact is the next one of its node.
type turn int

const (
	ready turn = iota
	early      // facts before it are missing
	wrong      // it contradicts the chain: a number given twice, or another predecessor
)

// turn judges a fact that the history does not have. A fact without a number has no order.
func (o outbox) turn(e event.Event) (turn, error) {
	n, numbered := factNumber(e)
	prev, _ := e.Extensions()[events.ExtNodePrevHash].(string)
	switch {
	case !numbered:
		return ready, nil
	case o.reset:
		return ready, nil
	case n > o.number+1:
		return early, fmt.Errorf("it is the node's fact %d, the last one known is %d", n, o.number)
	case n <= o.number:
		return wrong, fmt.Errorf("it is the node's fact %d, but there was another one with this number", n)
	case prev != o.hash:
		return wrong, fmt.Errorf("it follows fact %.12s of the node, but the one before it is %.12s", prev, o.hash)
	}
	return ready, nil
}

// passOver moves on past facts that were parked: they can never come.
func (h *history) passOver(parked []journal.Parked) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for moved := true; moved; {
		moved = false
		for _, p := range parked {
			if p.Event == nil {
				continue
			}
			if n, numbered := factNumber(*p.Event); !numbered || n != h.facts.number+1 {
				continue
			}
			if err := h.facts.learn(*p.Event); err != nil {
				return err
			}
			moved = true
		}
	}
	return nil
}

// awaitTurn asks to see a fact again that is too early. Facts overtake each other only when one of them had to be
// delivered twice, so the pause is short at first.
func (r *Runtime) awaitTurn(ctx context.Context, h *history, d journal.Delivery, why error) error {
	if d.Attempt >= 3 {
		parked, err := r.store.Parked(ctx, d.Cluster)
		if err != nil {
			return err
		}
		if err := h.passOver(parked); err != nil {
			return err
		}
		r.log.Warn("a fact of the node is missing", "cluster", d.Cluster, "event_id", d.Event.ID(), "detail", why.Error())
	}
	return &journal.Later{After: min(time.Duration(d.Attempt)*50*time.Millisecond, 5*time.Second)}
}
