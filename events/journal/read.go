package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/reroot-dev/reroot/events"
)

// Read implements [Log].
func (j *JetStream) Read(ctx context.Context, cluster string, from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		last, err := j.end(ctx, cluster)
		if err != nil {
			yield(Record{}, err)
			return
		}
		if from > last.head.Sequence+1 {
			yield(Record{}, restartedBefore(cluster, from))
			return
		}
		if last.head.Sequence < max(from, 1) {
			return
		}
		j.history(ctx, cluster, from, last.position, yield)
	}
}

// Watch implements [Log].
func (j *JetStream) Watch(ctx context.Context, cluster string, from uint64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) { j.history(ctx, cluster, from, 0, yield) }
}

// history yields the records from ordinal from to stream position until (0: for ever) and checks the chain. What is
// known about the end of the history saves reading what comes before it again.
func (j *JetStream) history(ctx context.Context, cluster string, from, until uint64, yield func(Record, error) bool) {
	j.mu.Lock()
	known := j.ends[cluster]
	j.mu.Unlock()
	start := known.position + 1
	if known.head.Sequence >= max(from, 1) || known.position == 0 {
		var err error
		if start, err = j.beginning(ctx, cluster); err != nil {
			yield(Record{}, err)
			return
		}
		known = end{}
	}
	links := chain{known.head}
	for msg, err := range j.messages(ctx, j.upgrades, historyFilter(cluster), start, until) {
		if err != nil {
			yield(Record{}, err)
			return
		}
		e, err := Decode(msg.Headers(), msg.Data())
		if err != nil {
			yield(Record{}, damaged(links, err))
			return
		}
		r, err := links.next(e)
		if err != nil {
			yield(Record{}, err)
			return
		}
		if meta, err := msg.Metadata(); err == nil {
			j.note(cluster, end{links.head, meta.Sequence.Stream})
		}
		if links.head.Sequence >= from && !yield(r, nil) {
			return
		}
	}
}

// beginning is the stream position from which a history has to be read: the last restart, if there was one.
func (j *JetStream) beginning(ctx context.Context, cluster string) (uint64, error) {
	restart, err := j.upgrades.GetLastMsgForSubject(ctx, restartFilter(cluster))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 1, nil
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the beginning of the history of %s: %w", cluster, err)
	}
	return restart.Sequence, nil
}

func restartedBefore(cluster string, from uint64) error {
	return fmt.Errorf("cannot read event %d of %s: %w", from, cluster, ErrRestarted)
}

// damaged says that a record of a history is not an event any more.
func damaged(links chain, err error) error {
	return errors.Join(&events.ChainError{Sequence: links.head.Sequence + 1, Want: links.head.Hash}, err)
}

// messages yields a stream's messages that match filter, from position start to position until; 0 means for ever.
func (j *JetStream) messages(ctx context.Context, stream jetstream.Stream, filter string, start, until uint64) iter.Seq2[jetstream.Msg, error] {
	return func(yield func(jetstream.Msg, error) bool) {
		consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
			FilterSubjects:    []string{filter},
			DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:       max(start, 1),
			InactiveThreshold: 30 * time.Second,
		})
		if err != nil {
			yield(nil, fmt.Errorf("cannot read %s: %w", filter, err))
			return
		}
		msgs, err := consumer.Messages(jetstream.PullMaxMessages(1000))
		if err != nil {
			yield(nil, fmt.Errorf("cannot read %s: %w", filter, err))
			return
		}
		defer msgs.Stop()
		for {
			msg, err := msgs.Next(jetstream.NextContext(ctx))
			if err != nil {
				yield(nil, fmt.Errorf("cannot read %s: %w", filter, err))
				return
			}
			meta, err := msg.Metadata()
			if err != nil {
				yield(nil, fmt.Errorf("cannot read %s: %w", filter, err))
				return
			}
			if !yield(msg, nil) || (until > 0 && meta.Sequence.Stream >= until) {
				return
			}
		}
	}
}

// Report implements [Progress].
func (j *JetStream) Report(ctx context.Context, e event.Event) error {
	subject, err := progressSubject(e)
	if err != nil {
		return err
	}
	msg, err := message(subject, e)
	if err != nil {
		return err
	}
	_, err = j.request(ctx, msg)
	return err
}

// progressSubject is one subject per step, so that the stream keeps the last report of each.
func progressSubject(e event.Event) (string, error) {
	cluster := events.Cluster(e)
	if err := checkAddress(cluster, e); err != nil {
		return "", err
	}
	p, err := events.Decode[events.StepProgressed](e)
	if err != nil {
		return "", err
	}
	return rootProgress + "." + cluster + "." + tokenOf(p.Of) + "." + tokenOf(p.Step), nil
}

// Reports implements [Progress].
func (j *JetStream) Reports(ctx context.Context, cluster string) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		for msg, err := range j.messages(ctx, j.progress, rootProgress+"."+cluster+".>", 1, 0) {
			if err != nil {
				yield(event.Event{}, err)
				return
			}
			if e, err := Decode(msg.Headers(), msg.Data()); !yield(e, err) {
				return
			}
		}
	}
}
