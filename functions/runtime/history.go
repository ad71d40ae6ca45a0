package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// recent is for how many of the newest events the state is kept. A function usually reacts within a few.
const recent = 64

// history is what this process knows of one cluster's history: folded once, then kept up to date.
type history struct {
	cluster string
	log     journal.Log

	mu     sync.Mutex
	state  upgrade.State
	states [recent]upgrade.State // by ordinal modulo recent
	index  map[identity]uint64   // ordinals of the events
	facts  outbox
	first  string    // hash of the first record
	broken error     // the chain does not hold, or the history cannot be folded; until it is restarted
	timer  time.Time // what the cluster's timer was last set to by this process
}

// crowdPause is when to try again where the store cannot take an append just now.
const crowdPause = 50 * time.Millisecond

// identity is what makes an event the same event, as CloudEvents has it.
type identity struct{ source, id string }

func identify(e event.Event) identity { return identity{e.Source(), e.ID()} }

// outbox is how far the node's own chain of facts has got.
type outbox struct {
	number uint64
	hash   string
	reset  bool // nothing is known yet, and numbers may begin anywhere: the history was restarted
}

// errLost says that the state does not allow a decision any more.
type errLost struct{ *upgrade.GuardError }

// errBroken says that a history is damaged.
type errBroken struct{ err error }

func (e *errBroken) Error() string { return e.err.Error() }
func (e *errBroken) Unwrap() error { return e.err }

func newHistory(cluster string, log journal.Log) *history {
	return &history{cluster: cluster, log: log, state: upgrade.New(cluster), index: map[identity]uint64{}}
}

// refresh reads what others have appended and says whether there was anything. The caller holds the lock.
func (h *history) refresh(ctx context.Context) (grown bool, err error) {
	if h.broken != nil {
		if restarted, err := h.reopen(ctx); err != nil || !restarted {
			return false, errors.Join(&errBroken{h.broken}, err)
		}
	}
	for r, err := range h.log.Read(ctx, h.cluster, h.state.Sequence+1) {
		if errors.Is(err, journal.ErrRestarted) {
			h.forget()
			return h.refresh(ctx)
		}
		if chain := (*events.ChainError)(nil); errors.As(err, &chain) {
			h.broken = err
			return grown, &errBroken{err}
		}
		if err != nil {
			return grown, err
		}
		if err := h.learn(r); err != nil {
			return grown, err
		}
		grown = true
	}
	return grown, nil
}

// reopen begins anew if the history has been restarted since it was first read, and says whether it has.
func (h *history) reopen(ctx context.Context) (restarted bool, err error) {
	for r, err := range h.log.Read(ctx, h.cluster, 1) {
		if err != nil {
			return false, err
		}
		if restarted = r.Hash != h.first; restarted {
			h.forget()
		}
		break
	}
	return restarted, nil
}

// forget drops all that was read.
func (h *history) forget() {
	h.state, h.states, h.index = upgrade.New(h.cluster), [recent]upgrade.State{}, map[identity]uint64{}
	h.facts, h.timer, h.first, h.broken = outbox{}, time.Time{}, "", nil
}

// learn takes the next record of the history.
func (h *history) learn(r journal.Record) error {
	state, err := h.state.Apply(r.Event, r.Hash)
	if err != nil {
		h.broken = fmt.Errorf("cannot fold event %d of %s: %w", h.state.Sequence+1, h.cluster, err)
		return &errBroken{h.broken}
	}
	if err := h.facts.learn(r.Event); err != nil {
		return err
	}
	if state.Sequence == 1 {
		h.first = r.Hash
	}
	h.state = state
	h.states[state.Sequence%recent] = state
	h.index[identify(r.Event)] = state.Sequence
	return nil
}

// at is the state up to and including event number n.
func (h *history) at(ctx context.Context, n uint64) (upgrade.State, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n > h.state.Sequence || h.broken != nil {
		if _, err := h.refresh(ctx); err != nil {
			return upgrade.State{}, err
		}
	}
	switch s := h.states[n%recent]; {
	case n == 0 || n > h.state.Sequence:
		return upgrade.State{}, fmt.Errorf("cannot find event %d of %s: the history ends at %d", n, h.cluster, h.state.Sequence)
	case s.Sequence == n:
		return s, nil
	}
	return journal.Fold(ctx, h.log, h.cluster, n)
}

// event is event number n as the journal has it.
func (h *history) event(ctx context.Context, n uint64) (event.Event, error) {
	for r, err := range h.log.Read(ctx, h.cluster, n) {
		return r.Event, err
	}
	return event.Event{}, fmt.Errorf("cannot find event %d of %s", n, h.cluster)
}

// ordinal is the number of an event in the history, 0 when it is not there.
func (h *history) ordinal(e event.Event) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.index[identify(e)]
}

// head is the newest state.
func (h *history) head(ctx context.Context) (upgrade.State, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.refresh(ctx)
	return h.state, err
}

// known is the newest state as far as this process has read.
func (h *history) known() upgrade.State {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state
}

// append adds what is new among the events, all or none. It returns [journal.ErrConflict] when the history has grown
// meanwhile (and has then read on), and errLost when the state does not allow the events.
func (h *history) append(ctx context.Context, evs []event.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken != nil {
		return &errBroken{h.broken}
	}
	fresh := make([]event.Event, 0, len(evs))
	for _, e := range evs {
		if h.index[identify(e)] == 0 {
			fresh = append(fresh, e)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if err := h.try(fresh); err != nil {
		return h.again(ctx, err)
	}
	head := journal.Head{Sequence: h.state.Sequence, Hash: h.state.Hash}
	records, err := h.log.Append(ctx, h.cluster, head, fresh...)
	if errors.Is(err, journal.ErrConflict) {
		return h.again(ctx, err)
	}
	if err != nil {
		return err
	}
	for _, r := range records {
		if err := h.learn(r); err != nil {
			return err
		}
	}
	return nil
}

// try says whether the newest state allows the events, one after the other.
func (h *history) try(evs []event.Event) error {
	s := h.state
	for _, e := range evs {
		d, _ := events.Lookup(events.TypeOf(e))
		if d.Kind == events.Decision && e.Subject() != s.Upgrade {
			return errLost{&upgrade.GuardError{Type: d.Type, Phase: s.Phase, Reason: events.ReasonIllegalTransition,
				Detail: fmt.Sprintf("it is about upgrade %s, the newest is %s", e.Subject(), s.Upgrade)}}
		}
		next, err := s.Apply(e, "")
		if guard := (*upgrade.GuardError)(nil); errors.As(err, &guard) {
			return errLost{guard}
		}
		if err != nil {
			return err
		}
		s = next
	}
	return nil
}

// again turns an answer that was given on an old head into a conflict, after reading on.
func (h *history) again(ctx context.Context, err error) error {
	grown, failed := h.refresh(ctx)
	switch {
	case failed != nil:
		return failed
	case grown:
		return journal.ErrConflict
	case errors.Is(err, journal.ErrConflict):
		return &journal.Later{After: crowdPause} // the store is busy with other writers
	}
	return err
}
