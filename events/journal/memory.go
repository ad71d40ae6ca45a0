package journal

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events"
)

// Memory is a [Store] that lives as long as the process. What was delivered and not acknowledged when a subscription
// ended is delivered again by the next one of the same name, as after a crash.
type Memory struct {
	clock func() time.Time

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at every change
	upgrades queue
	inbox    queue
	history  map[string][]int // cluster: indexes into upgrades
	parked   []Parked
	reports  []report
	number   int // of the newest report
	timers   map[string]*timer
}

type report struct {
	number  int
	cluster string
	subject string
	event   event.Event
}

type timer struct {
	at   time.Time
	busy bool
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store. Clock is asked for the recorded time; nil means [time.Now].
func NewMemory(clock func() time.Time) *Memory {
	if clock == nil {
		clock = time.Now
	}
	return &Memory{clock: clock, changed: make(chan struct{}), history: map[string][]int{}, timers: map[string]*timer{}}
}

// touch wakes whoever waits for a change. The caller holds the lock.
func (m *Memory) touch() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// Append implements [Log].
func (m *Memory) Append(ctx context.Context, cluster string, head Head, evs ...event.Event) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("cannot append to %s: %w", cluster, err)
	}
	records, err := stamp(cluster, head, m.clock(), evs)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.head(cluster)
	if err != nil {
		return nil, err
	}
	if now != head {
		return nil, ErrConflict
	}
	for _, r := range records {
		msg, err := historyMessage(cluster, r.Event)
		if err != nil {
			return nil, err
		}
		m.put(cluster, msg)
	}
	m.touch()
	return records, nil
}

// Restart implements [Log].
func (m *Memory) Restart(_ context.Context, cluster string, e event.Event) (Record, error) {
	r, err := stampRestart(cluster, m.clock(), e)
	if err != nil {
		return r, err
	}
	msg, err := historyMessage(cluster, r.Event)
	if err != nil {
		return r, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.history[cluster]) == 0 {
		return r, fmt.Errorf("cannot find the history of %s", cluster)
	}
	m.history[cluster] = nil
	m.put(cluster, msg)
	m.touch()
	return r, nil
}

// put adds a message to a history as it is. The caller holds the lock.
func (m *Memory) put(cluster string, msg *nats.Msg) {
	m.history[cluster] = append(m.history[cluster], m.upgrades.push(msg))
}

func (m *Memory) head(cluster string) (Head, error) {
	h := m.history[cluster]
	if len(h) == 0 {
		return Head{}, nil
	}
	msg := m.upgrades.messages[h[len(h)-1]]
	e, err := Decode(msg.Header, msg.Data)
	if err != nil {
		return Head{}, err
	}
	hash, err := events.Hash(e)
	return Head{events.Sequence(e), hash}, err
}

// Read implements [Log].
func (m *Memory) Read(ctx context.Context, cluster string, from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		m.mu.Lock()
		until := len(m.history[cluster])
		m.mu.Unlock()
		if from > uint64(until)+1 {
			yield(Record{}, restartedBefore(cluster, from))
			return
		}
		m.read(ctx, cluster, from, until, yield)
	}
}

// Watch implements [Log].
func (m *Memory) Watch(ctx context.Context, cluster string, from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) { m.read(ctx, cluster, from, -1, yield) }
}

// read yields the first until records of a history, but from ordinal from; until -1 means for ever.
func (m *Memory) read(ctx context.Context, cluster string, from uint64, until int, yield func(Record, error) bool) {
	var links chain
	for i := 0; i != until; i++ {
		msg, err := m.await(ctx, cluster, i)
		if err != nil {
			yield(Record{}, err)
			return
		}
		e, err := Decode(msg.Header, msg.Data)
		if err != nil {
			yield(Record{}, damaged(links, err))
			return
		}
		r, err := links.next(e)
		if err != nil {
			yield(Record{}, err)
			return
		}
		if links.head.Sequence >= from && !yield(r, nil) {
			return
		}
	}
}

// await waits for message i of a history.
func (m *Memory) await(ctx context.Context, cluster string, i int) (*nats.Msg, error) {
	for {
		m.mu.Lock()
		h, changed := m.history[cluster], m.changed
		if i < len(h) {
			defer m.mu.Unlock()
			return m.upgrades.messages[h[i]], nil
		}
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot read %s: %w", historyFilter(cluster), ctx.Err())
		}
	}
}

// Clusters implements [Log].
func (m *Memory) Clusters(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.history)), nil
}

// Submit implements [Inbox].
func (m *Memory) Submit(_ context.Context, origin string, e event.Event) error {
	subject, err := inboxSubject(origin, e)
	if err != nil {
		return err
	}
	msg, err := message(subject, e)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inbox.push(msg)
	m.touch()
	return nil
}

// Park implements [Dead].
func (m *Memory) Park(_ context.Context, p Parked) error {
	p, _, err := p.fill(m.clock())
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unpark(p.ID)
	m.parked = append(m.parked, p)
	return nil
}

func (m *Memory) unpark(id string) {
	m.parked = slices.DeleteFunc(m.parked, func(p Parked) bool { return p.ID == id })
}

// Parked implements [Dead].
func (m *Memory) Parked(_ context.Context, cluster string) ([]Parked, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Parked
	for _, p := range m.parked {
		if cluster == "" || p.Cluster == cluster {
			all = append(all, p)
		}
	}
	return all, nil
}

// Redrive implements [Dead].
func (m *Memory) Redrive(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.parked, func(p Parked) bool { return p.ID == id })
	if i < 0 {
		return fmt.Errorf("cannot redrive %s: %w", id, ErrNotParked)
	}
	msg, err := redriven(m.parked[i])
	if err != nil {
		return err
	}
	m.inbox.push(msg)
	m.unpark(id)
	m.touch()
	return nil
}

// Report implements [Progress].
func (m *Memory) Report(_ context.Context, e event.Event) error {
	subject, err := progressSubject(e)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reports = slices.DeleteFunc(m.reports, func(r report) bool { return r.subject == subject })
	m.number++
	m.reports = append(m.reports, report{m.number, events.Cluster(e), subject, e.Clone()})
	m.touch()
	return nil
}

// Reports implements [Progress].
func (m *Memory) Reports(ctx context.Context, cluster string) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		seen := 0
		for {
			m.mu.Lock()
			fresh, changed := slices.Clone(m.reports), m.changed
			m.mu.Unlock()
			for _, r := range fresh {
				if r.number <= seen || r.cluster != cluster {
					continue
				}
				if seen = r.number; !yield(r.event.Clone(), nil) {
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				yield(event.Event{}, fmt.Errorf("cannot read the progress of %s: %w", cluster, ctx.Err()))
				return
			}
		}
	}
}

// Set implements [Deadlines].
func (m *Memory) Set(_ context.Context, cluster string, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.timers[cluster] = &timer{at: at}
	m.touch()
	return nil
}

// Due implements [Deadlines].
func (m *Memory) Due(ctx context.Context, handle func(ctx context.Context, cluster string) error) error {
	lanes := newLanes()
	defer lanes.wg.Wait()
	for {
		m.mu.Lock()
		cluster, t, next := m.nextTimer()
		changed := m.changed
		m.mu.Unlock()
		if t == nil {
			if err := sleep(ctx, changed, next); err != nil {
				return err
			}
			continue
		}
		lanes.room <- struct{}{}
		lanes.add(cluster, func() {
			err := handle(ctx, cluster)
			m.mu.Lock()
			defer m.mu.Unlock()
			t.busy = false
			if err != nil && ctx.Err() == nil {
				t.at = time.Now().Add(pause(err, 1))
			}
			if err == nil && m.timers[cluster] == t {
				delete(m.timers, cluster)
			}
			m.touch()
		})
	}
}

// nextTimer claims a timer that is due, or says when the next one will be. The caller holds the lock.
func (m *Memory) nextTimer() (cluster string, due *timer, next time.Time) {
	now := time.Now()
	for c, t := range m.timers {
		switch {
		case t.busy:
		case !t.at.After(now):
			t.busy = true
			return c, t, time.Time{}
		case next.IsZero() || t.at.Before(next):
			next = t.at
		}
	}
	return "", nil, next
}

// sleep waits until something changed, it is next (the zero time: never), or ctx ends.
func sleep(ctx context.Context, changed <-chan struct{}, next time.Time) error {
	var alarm <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		alarm = t.C
	}
	select {
	case <-changed:
	case <-alarm:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Subscribe implements [Subscriber].
func (m *Memory) Subscribe(ctx context.Context, name string, types []events.Type, handle Handle) error {
	short := map[string]bool{}
	for _, t := range types {
		short[t.Short()] = true
	}
	match := func(subject string) bool { return len(short) == 0 || short[shortOf(subject)] }
	return m.consume(ctx, &m.upgrades, name, match, func(ctx context.Context, d Delivery, _ string) error {
		if d.Err == nil {
			if d.Hash, d.Err = events.Hash(d.Event); d.Err != nil {
				return d.Err
			}
		}
		return handle(ctx, d)
	})
}

// Receive implements [Subscriber].
func (m *Memory) Receive(ctx context.Context, name string, handle Handle) error {
	everything := func(string) bool { return true }
	return m.consume(ctx, &m.inbox, name, everything, func(ctx context.Context, d Delivery, subject string) error {
		d.Origin = originOf(subject)
		return handle(ctx, d)
	})
}

func (m *Memory) consume(ctx context.Context, q *queue, name string, match func(string) bool, handle func(context.Context, Delivery, string) error) error {
	m.mu.Lock()
	c := q.consumer(name)
	m.mu.Unlock()
	lanes := newLanes()
	defer lanes.wg.Wait()
	for {
		m.mu.Lock()
		p, next := c.take(q, match, time.Now())
		changed := m.changed
		m.mu.Unlock()
		if p == nil {
			if err := sleep(ctx, changed, next); err != nil {
				return err
			}
			continue
		}
		lanes.room <- struct{}{}
		lanes.add(clusterOf(p.msg.Subject), func() {
			err := ctx.Err()
			if err == nil {
				err = handle(ctx, p.delivery(), p.msg.Subject)
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			c.settle(p, err, ctx.Err() != nil, time.Now())
			m.touch()
		})
	}
}
