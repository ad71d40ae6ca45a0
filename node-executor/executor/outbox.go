package executor

import (
	"context"
	"time"

	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
)

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 30 * time.Second
	// submitLimit bounds one try; the connection below may have a longer view of things.
	submitLimit = 10 * time.Second
)

// sendAll sends facts in their order, each again and again until the journal's inbox has stored it.
func (x *Executor) sendAll(ctx context.Context) error {
	pause := firstPause
	for {
		s := x.Ledger.State()
		if len(s.Outbox) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-x.outbox:
			}
			continue
		}
		if err := x.send(ctx, s); err == nil {
			pause = firstPause
			if _, err := x.Ledger.Append(ledger.Entry{Kind: ledger.Sent, Sequence: s.FirstUnsent()}); err != nil {
				return err
			}
			continue
		} else if ctx.Err() == nil {
			x.Log.Warn("cannot send a fact yet", "event_id", s.Outbox[0].ID(), "error", err, "again_in", pause.String())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

func (x *Executor) send(ctx context.Context, s ledger.State) error {
	ctx, cancel := context.WithTimeout(ctx, submitLimit)
	defer cancel()
	return x.Facts.Submit(ctx, s.Outbox[0])
}
