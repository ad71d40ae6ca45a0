package node_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
)

// TestKillsOnAMachine kills the executor and the watchdog, and cuts the power, at random moments of a pivot. Whatever
// is hit: the node ends confirmed on the new root or on the old one, and says which.
func TestKillsOnAMachine(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := newLab(t)
	l.ready(1)
	l.pivot(10 * time.Minute)

	ctx, stop := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	killer.Go(func() { l.kill(ctx, rand.New(rand.NewPCG(seed, 0)), 20) })
	defer killer.Wait()
	defer stop()

	for n := 1; ; n++ {
		switch got := l.next(n); got {
		case events.TypePivotCompleted, events.TypeCryptoregenCompleted, events.TypeCryptoregenFailed, events.TypeReconfigureFailed:
		case events.TypeReconfigureCompleted:
			l.command(l.event(events.TypeConfirmRequested, events.ConfirmRequested{Command: l.base(l.new)}))
		case events.TypeConfirmFailed: // the watchdog was first
		case events.TypeConfirmCompleted:
			stop()
			killer.Wait()
			l.endsIn(l.new)
			return
		case events.TypeNodeRollbackCompleted, events.TypePivotFailed:
			stop()
			killer.Wait()
			l.endsIn(l.old)
			return
		default:
			t.Fatalf("fact %d is %s", n, got.Short())
		}
	}
}

// kill harms the node up to n times.
func (l *lab) kill(ctx context.Context, r *rand.Rand, n int) {
	for range n {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(r.IntN(800)) * time.Millisecond):
		}
		var err error
		if r.IntN(8) == 0 {
			err = sandbox.PowerCut(ctx, l.machine.Socket)
		} else {
			_, _, _, err = sandbox.Exec(ctx, l.machine.Socket, []string{"pkill", "-KILL", "-f", "bin/reroot-node"}, nil)
		}
		if err != nil && !errors.Is(err, sandbox.ErrDown) && ctx.Err() == nil {
			l.t.Logf("cannot harm the node: %v", err) // it is between two boots
		}
	}
}

// next waits for the n-th fact.
func (l *lab) next(n int) events.Type {
	l.t.Helper()
	deadline := time.After(limit)
	for {
		l.mu.Lock()
		facts := l.facts
		l.mu.Unlock()
		if len(facts) >= n {
			l.t.Logf("fact %d: %s %s", n, facts[n-1].Type(), facts[n-1].Data())
			return events.TypeOf(facts[n-1])
		}
		select {
		case <-l.news:
		case <-deadline:
			l.t.Fatalf("fact %d does not come; status: %+v", n, l.status())
		}
	}
}

// endsIn checks where the node is and that it stays there over a boot.
func (l *lab) endsIn(want events.Deployment) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	for range 2 {
		s, err := sandbox.WaitReady(ctx, l.machine.Socket, 0)
		if err != nil {
			l.t.Fatal(err)
		}
		if dir := "ostree/deploy/" + want.Stateroot + "/deploy/" + want.Commit + ".0"; s.Deployment != dir {
			l.t.Errorf("boot %d is of %s, want %s", s.Number, s.Deployment, dir)
		}
		if err := sandbox.PowerCut(ctx, l.machine.Socket); err != nil {
			l.t.Fatal(err)
		}
		if _, err := sandbox.WaitReady(ctx, l.machine.Socket, s.Number+1); err != nil {
			l.t.Fatal(err)
		}
	}
}
