package journal

import (
	"time"

	"github.com/nats-io/nats.go"
)

// queue is an ordered list of messages with durable consumers: what [Memory] has in place of a stream. Its user holds
// a lock.
type queue struct {
	messages  []*nats.Msg
	consumers map[string]*consumer
}

// consumer remembers what was delivered and not yet acknowledged.
type consumer struct {
	next    int // index of the first message that was never delivered
	pending []*pending
}

type pending struct {
	msg     *nats.Msg
	attempt int
	due     time.Time
	busy    bool
}

func (q *queue) push(msg *nats.Msg) int {
	q.messages = append(q.messages, msg)
	return len(q.messages) - 1
}

func (q *queue) consumer(name string) *consumer {
	if q.consumers == nil {
		q.consumers = map[string]*consumer{}
	}
	if q.consumers[name] == nil {
		q.consumers[name] = &consumer{}
	}
	return q.consumers[name]
}

// take claims the next delivery: one that is to be repeated now, else a new one. With none it says when the next
// repetition is due (the zero time: none is).
func (c *consumer) take(q *queue, match func(subject string) bool, now time.Time) (*pending, time.Time) {
	var next time.Time
	for _, p := range c.pending {
		switch {
		case p.busy:
		case !p.due.After(now):
			p.busy = true
			p.attempt++
			return p, time.Time{}
		case next.IsZero() || p.due.Before(next):
			next = p.due
		}
	}
	for c.next < len(q.messages) {
		i := c.next
		c.next++
		if match(q.messages[i].Subject) {
			p := &pending{msg: q.messages[i], attempt: 1, busy: true}
			c.pending = append(c.pending, p)
			return p, time.Time{}
		}
	}
	return nil, next
}

// settle acknowledges a delivery or makes it due again: at once when the subscription ended.
func (c *consumer) settle(p *pending, err error, ended bool, now time.Time) {
	p.busy = false
	switch {
	case err == nil:
		for i := range c.pending {
			if c.pending[i] == p {
				c.pending = append(c.pending[:i], c.pending[i+1:]...)
				return
			}
		}
	case ended:
		p.due = now
	default:
		p.due = now.Add(pause(err, p.attempt))
	}
}

func (p *pending) delivery() Delivery {
	d := Delivery{Cluster: clusterOf(p.msg.Subject), Attempt: p.attempt}
	if d.Event, d.Err = Decode(p.msg.Header, p.msg.Data); d.Err != nil {
		d.Raw = raw(p.msg.Header, p.msg.Data)
	}
	return d
}
