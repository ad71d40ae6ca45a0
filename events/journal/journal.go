package journal

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
)

// Record is an event of a history with its own hash. Its ordinal is its sequence extension.
type Record struct {
	Event event.Event
	Hash  string
}

// Head is the newest event of a history; the zero value is the head of an empty one.
type Head struct {
	Sequence uint64
	Hash     string
}

// Errors that callers ask for.
var (
	// ErrConflict: the history has grown since the head that the caller saw. Read on, fold, decide again.
	ErrConflict = errors.New("the history has grown meanwhile")
	// ErrRestarted: the history ends before where the reader has got to: it has been restarted.
	ErrRestarted = errors.New("the history has been restarted")
	// ErrNotDurable: the server acknowledges before it has synced; a power cut could lose a decision.
	ErrNotDurable = errors.New("the server does not sync every write")
	// ErrNoSpace: the file system of the store is full.
	ErrNoSpace = errors.New("there is no space left for the journal")
	// ErrNoJournal: the server has no journal, or not all of its streams.
	ErrNoJournal = errors.New("there is no journal on this server")
)

// Log is the journal: one append-only history per cluster. Implementations: [JetStream] and [Memory].
type Log interface {
	// Append adds the events right after head, all or none, and returns them as they stand in the history: sequence,
	// recordedtime, prevhash (and time, where it was unset) are stamped. It returns [ErrConflict] when head is not
	// the newest any more.
	Append(ctx context.Context, cluster string, head Head, evs ...event.Event) ([]Record, error)
	// Read yields the history from ordinal from (1 is the first) to the end that it has when reading begins. It yields
	// [ErrRestarted] when the event before from is not there. Each
	// record's chain link is checked; a broken one is yielded as an error (an [events.ChainError]) and ends it.
	Read(ctx context.Context, cluster string, from uint64) iter.Seq2[Record, error]
	// Watch is Read that goes on with what is appended until ctx ends.
	Watch(ctx context.Context, cluster string, from uint64) iter.Seq2[Record, error]
	// Restart begins a new history with e, a journal.restarted event, after the old one was found damaged. The old
	// records stay in the store, but are not read any more.
	Restart(ctx context.Context, cluster string, e event.Event) (Record, error)
	// Clusters names the clusters that have a history, sorted.
	Clusters(ctx context.Context) ([]string, error)
}

// Delivery is one message of a durable subscription.
type Delivery struct {
	Cluster string // by the subject, which the server's permissions guard; the event may claim another
	Event   event.Event
	Hash    string // of journal events; "" for inbox events
	Origin  string // of inbox events: "users", "source", "node", "runtime"
	Raw     []byte // as received, header lines first, when it could not be decoded as a CloudEvent (Err says why)
	Err     error
	Attempt int // 1 for the first delivery
}

// Handle processes a delivery. nil acknowledges it; a [Later] delivers it again after a pause; any other error
// delivers it again with back-off. It is extended for as long as Handle runs.
type Handle func(ctx context.Context, d Delivery) error

// Later asks for redelivery after a pause.
type Later struct{ After time.Duration }

func (l *Later) Error() string { return "again in " + l.After.String() }

// Subscriber delivers at least once, in order, to a durable named consumer: what was not acknowledged before a crash
// is delivered again. Both calls block until ctx ends and every running handler has returned.
type Subscriber interface {
	// Subscribe delivers journal events of the given types, of every cluster, from the beginning of the journal. No
	// types means every type.
	Subscribe(ctx context.Context, name string, types []events.Type, handle Handle) error
	// Receive delivers what came into the inbox, which is then no longer there. All receivers share one name.
	Receive(ctx context.Context, name string, handle Handle) error
}

// Inbox takes what comes from outside. Submit returns when the event is durably stored, not yet admitted.
type Inbox interface {
	Submit(ctx context.Context, origin string, e event.Event) error
}

// Parked is an event that was not admitted or whose handling failed for good: kept, listed, and replayable.
type Parked struct {
	ID      string        `json:"id"` // of the parked message; Park derives it where it is unset
	Cluster string        `json:"cluster"`
	Origin  string        `json:"origin"` // inbox origin, or the function's name
	Reason  events.Reason `json:"reason"`
	Detail  string        `json:"detail"`
	At      time.Time     `json:"at"`              // Park sets it where it is unset
	Event   *event.Event  `json:"event,omitempty"` // nil when it was not even a CloudEvent
	Raw     []byte        `json:"raw,omitempty"`
}

// Dead keeps parked events.
type Dead interface {
	Park(ctx context.Context, p Parked) error
	Parked(ctx context.Context, cluster string) ([]Parked, error) // oldest first; cluster "" means all
	// Redrive submits a parked event to the inbox again, by its origin, and removes it from the dead. It returns
	// [ErrNotParked] when there is none with this id.
	Redrive(ctx context.Context, id string) error
}

// Progress keeps the last report of each step of each cluster. Reports are not history: a lost one is harmless.
type Progress interface {
	Report(ctx context.Context, e event.Event) error
	Reports(ctx context.Context, cluster string) iter.Seq2[event.Event, error] // the last ones, then as they come
}

// Deadlines keeps at most one timer per cluster. Setting it replaces the one before. When it fires, cluster is handed
// to Due's handler, at least once, also when the time passed while nothing ran.
type Deadlines interface {
	Set(ctx context.Context, cluster string, at time.Time) error
	Due(ctx context.Context, handle func(ctx context.Context, cluster string) error) error
}

// Store is everything that one event store offers.
type Store interface {
	Log
	Subscriber
	Inbox
	Dead
	Progress
	Deadlines
}
