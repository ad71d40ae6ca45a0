package cli_test

import (
	"context"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

// TestOutage restarts the event store under commands that follow it, as a pivot does with a node's own.
func TestOutage(t *testing.T) {
	w := &world{t: t, heads: map[string]upgrade.State{}}
	dir, port := t.TempDir(), -1
	open := func() {
		var err error
		if w.store, err = journal.OpenEmbedded(t.Context(), dir, journal.EmbeddedOptions{Port: port}); err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(w.store.URL())
		if err != nil {
			t.Fatal(err)
		}
		if port, err = strconv.Atoi(u.Port()); err != nil {
			t.Fatal(err)
		}
	}
	open()
	t.Cleanup(func() { _ = w.store.Close() })
	w.tell(edge, upID, upgradetest.Until(events.TypeReconfigureRequested)...)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()

	before, after := make(chan struct{}), make(chan struct{})
	out := &watched{want: "node.reconfigure.requested", seen: once(before)}
	done := make(chan result)
	server := w.store.URL()
	go func() {
		done <- (&world{t: t}).do(ctx, call{args: []string{"events", "-f", "--server", server}, out: out})
	}()
	<-before
	out.expect("node.pivot.completed", once(after))
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	open()
	w.tell(edge, upID, events.TypePivotCompleted)
	select {
	case <-after:
	case <-ctx.Done():
		t.Error("what happened after the outage is not shown")
	}
	stop()
	if r := <-done; r.code != 130 {
		t.Errorf("%s", r)
	}
}
