package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/reroot-dev/reroot/events"
)

// ErrNotParked: no parked event has this id.
var ErrNotParked = errors.New("no such parked event")

// parkedID makes parking the same event twice, before and after a crash, leave one.
func parkedID(p Parked) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", p.Cluster, p.Origin)
	if p.Event != nil {
		fmt.Fprintf(h, "%s\n%s", p.Event.Source(), p.Event.ID())
	}
	h.Write(p.Raw)
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// maxParked bounds a parked event as it is stored, in bytes; the server takes no message of more than 1 MiB.
const maxParked = 768 << 10

// fill sets what the caller left out, and gives p as it is stored. What has to be parked may be broken in any way, and
// an event that cannot be parked would be delivered for ever: one that cannot be written as JSON is kept as the message
// that it came in, and of one that is too large only the reason is kept.
func (p Parked) fill(now time.Time) (filled Parked, stored []byte, err error) {
	if !events.ValidCluster(p.Cluster) || !token.MatchString(p.Origin) {
		return p, nil, fmt.Errorf("cannot park an event of cluster %q and origin %q: not names", p.Cluster, p.Origin)
	}
	if p.ID == "" {
		p.ID = parkedID(p)
	}
	if p.At.IsZero() {
		p.At = now.UTC()
	}
	stored, err = json.Marshal(p)
	if err != nil && p.Event != nil {
		header, body, unencoded := Encode(*p.Event)
		if unencoded != nil {
			return p, nil, unencoded
		}
		p.Event, p.Raw = nil, raw(header, body)
		stored, err = json.Marshal(p)
	}
	if len(stored) > maxParked {
		p.Event, p.Raw, p.Detail = nil, nil, p.Detail+" (too large to be kept)"
		stored, err = json.Marshal(p)
	}
	if err != nil {
		return p, nil, fmt.Errorf("cannot encode a parked event: %w", err)
	}
	return p, stored, nil
}

// raw is a message that is not an event in the form in which NATS transmits it: header lines, an empty line, body.
func raw(h nats.Header, body []byte) []byte {
	b := []byte("NATS/1.0\r\n")
	for name, values := range h {
		for _, v := range values {
			b = fmt.Appendf(b, "%s: %s\r\n", name, v)
		}
	}
	return append(append(b, "\r\n"...), body...)
}

// unraw is the inverse of raw.
func unraw(b []byte) (nats.Header, []byte) {
	for i := 3; i < len(b); i++ {
		if string(b[i-3:i+1]) == "\r\n\r\n" {
			if h, err := nats.DecodeHeadersMsg(b[:i+1]); err == nil {
				return h, b[i+1:]
			}
		}
	}
	return nil, b
}

// redriven is the message that brings a parked event into the inbox again.
func redriven(p Parked) (*nats.Msg, error) {
	if p.Event != nil {
		subject, err := inboxSubject(p.Origin, *p.Event)
		if err == nil {
			return message(subject, *p.Event)
		}
	}
	msg := nats.NewMsg(rootInbox + "." + p.Cluster + "." + p.Origin + ".unknown")
	msg.Header, msg.Data = unraw(p.Raw)
	if p.Event != nil {
		var err error
		if msg.Header, msg.Data, err = Encode(*p.Event); err != nil {
			return nil, err
		}
	}
	return msg, nil
}

// Park implements [Dead].
func (j *JetStream) Park(ctx context.Context, p Parked) error {
	p, stored, err := p.fill(j.opts.Clock())
	if err != nil {
		return err
	}
	_, err = j.request(ctx, &nats.Msg{Subject: rootDead + "." + p.Cluster + "." + p.ID, Data: stored})
	return err
}

// Parked implements [Dead].
func (j *JetStream) Parked(ctx context.Context, cluster string) ([]Parked, error) {
	filter := rootDead + ".>"
	if cluster != "" {
		filter = rootDead + "." + cluster + ".>"
	}
	last, err := j.dead.GetLastMsgForSubject(ctx, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the parked events: %w", err)
	}
	var all []Parked
	for msg, err := range j.messages(ctx, j.dead, filter, 1, last.Sequence) {
		if err != nil {
			return nil, err
		}
		var p Parked
		if err := json.Unmarshal(msg.Data(), &p); err != nil {
			return nil, fmt.Errorf("cannot decode parked event %s: %w", msg.Subject(), err)
		}
		all = append(all, p)
	}
	return all, nil
}

// Redrive implements [Dead].
func (j *JetStream) Redrive(ctx context.Context, id string) error {
	if !token.MatchString(id) {
		return fmt.Errorf("cannot redrive %q: %w", id, ErrNotParked)
	}
	stored, err := j.dead.GetLastMsgForSubject(ctx, rootDead+".*."+id)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return fmt.Errorf("cannot redrive %s: %w", id, ErrNotParked)
	}
	if err != nil {
		return fmt.Errorf("cannot redrive %s: %w", id, err)
	}
	var p Parked
	if err := json.Unmarshal(stored.Data, &p); err != nil {
		return fmt.Errorf("cannot decode parked event %s: %w", id, err)
	}
	msg, err := redriven(p)
	if err != nil {
		return err
	}
	if _, err := j.request(ctx, msg); err != nil {
		return err
	}
	// Submitted first, removed second: a crash between the two leaves it in both places, which is harmless.
	if err := j.dead.DeleteMsg(ctx, stored.Sequence); err != nil {
		return fmt.Errorf("cannot remove parked event %s: %w", id, err)
	}
	return nil
}
