package runtime_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
)

// goodPath are the types of a whole upgrade in the order in which events/doc.go tells them.
var goodPath = []string{
	"upgrade.requested", "prep.started", "prep.validated", "node.seedpull.requested", "node.seedpull.completed",
	"node.precache.requested", "node.precache.completed", "prep.completed", "upgrade.started", "backup.completed",
	"node.pivot.requested", "node.cryptoregen.requested", "node.reconfigure.requested", "node.pivot.completed",
	"node.cryptoregen.completed", "node.reconfigure.completed", "manifests.applied", "restore.completed",
	"node.confirm.requested", "node.confirm.completed", "upgrade.completed", "finalize.started",
	"node.cleanup.requested", "node.cleanup.completed", "idle.reached",
}

// reference is the story of an upgrade that nothing disturbed.
func reference(t *testing.T) (told []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		stop := start(t, newRuntime(m, goodHandlers()).Run, newNode(m).run)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		told = story(until(t, m, events.TypeIdleReached))
		stop()
	})
	return told
}

func TestPipeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := journal.NewMemory(nil)
		stop := start(t, newRuntime(m, goodHandlers()).Run, newNode(m).run)
		submit(t, m, "users", requested(upID, events.StageFinalize))
		history := until(t, m, events.TypeIdleReached)
		synctest.Wait()
		stop()
		var types []string
		for _, e := range history {
			types = append(types, events.TypeOf(e).Short())
		}
		if !slices.Equal(types, goodPath) {
			t.Errorf("history is %v", types)
		}
		if dead, err := m.Parked(t.Context(), ""); err != nil || len(dead) != 0 {
			t.Errorf("parked: %v, %v", dead, err)
		}
		state, err := journal.Fold(t.Context(), m, cluster, 0)
		if err != nil || state.Phase != upgrade.Idle {
			t.Errorf("phase %s, %v", state.Phase, err)
		}
	})
}

// TestPipelineOnDisk runs upgrade after upgrade on a server that syncs every write.
func TestPipelineOnDisk(t *testing.T) {
	store := embedded(t)
	stop := start(t, newRuntime(store, goodHandlers()).Run, newNode(store).run)
	var took []time.Duration
	for _, id := range []string{"u1", "u2", "u3", "u4", "u5"} {
		began := time.Now()
		submit(t, store, "users", requested(id, events.StageFinalize))
		for r, err := range store.Watch(t.Context(), cluster, 1) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Event.Subject() == id && events.TypeOf(r.Event) == events.TypeUpgradeCompleted {
				took = append(took, time.Since(began))
			}
			if r.Event.Subject() == id && events.TypeOf(r.Event) == events.TypeIdleReached {
				break
			}
		}
	}
	stop()
	slices.Sort(took)
	t.Logf("requested to completed, 20 hops, sync always: median %s of %v", took[len(took)/2], took)
	if dead, err := store.Parked(t.Context(), ""); err != nil || len(dead) != 0 {
		t.Errorf("parked: %v, %v", dead, err)
	}
}

func embedded(t testing.TB) *journal.Embedded {
	t.Helper()
	e, err := journal.OpenEmbedded(t.Context(), t.TempDir(), journal.EmbeddedOptions{Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// forge appends a record to the history whose predecessor is not the one before it.
func forge(t *testing.T, e *journal.Embedded) {
	t.Helper()
	bad := requested("forged", events.StagePrep)
	bad.SetExtension(events.ExtSequence, "00000000000000000099")
	bad.SetExtension(events.ExtPrevHash, "00")
	header, body, err := journal.Encode(bad)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.RequestMsg(&nats.Msg{Subject: "reroot." + cluster + ".forged.upgrade.requested", Header: header, Data: body}, 5*time.Second); err != nil {
		t.Fatal(err)
	}
}
