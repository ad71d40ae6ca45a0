package e2e_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/test/lab/world"
)

// TestSolo upgrades a cluster whose node is all there is: journal and functions run in the executor's process, before
// and after the pivot, and nobody runs them in between. The process is killed, and the power is cut, where a decision
// is under way; then the way back is asked for.
func TestSolo(t *testing.T) {
	l := newLab(t, world.Options{Solo: true})
	l.connect()
	if _, err := os.Stat(filepath.Join(l.w.Dir, "journal")); !os.IsNotExist(err) {
		t.Fatalf("there is a journal outside of the node: %v", err)
	}
	status, stateroots, old := l.inside("ostree", "admin", "status"), l.stateroots(), l.booted()
	l.request("solo", l.w.Spec(), events.StageUpgrade)
	l.suffer(nil, []harm{
		{after: events.TypeSeedpullRequested, delay: 300 * time.Millisecond, victim: "executor"},
		{after: events.TypeReconfigureRequested, victim: "executor"},
		{after: events.TypePivotCompleted, victim: "executor"},
		{after: events.TypeCryptoregenCompleted, victim: power}, // not during a Restore: Velero gives one up that it finds begun
		{after: events.TypeManifestsApplied, delay: 100 * time.Millisecond, victim: "executor"},
		{after: events.TypeConfirmRequested, victim: "executor"},
	})
	if l.state.Phase != upgrade.Upgraded {
		t.Fatalf("the upgrade ended in phase %s: %+v", l.state.Phase, l.state.Failure)
	}
	l.verify()
	if got := l.booted(); got != *l.state.New {
		t.Errorf("booted is %+v, want %+v", got, *l.state.New)
	}
	l.told("Upgraded")

	l.ask(events.StageRollback)
	if p := l.settle(upgrade.RolledBack, upgrade.RollbackFailed); p != upgrade.RolledBack {
		t.Fatalf("the way back failed: %+v", l.state.Failure)
	}
	if l.state.Trigger != events.TriggerUser {
		t.Errorf("it was rolled back by %s, not by the user", l.state.Trigger)
	}
	l.verify()
	if got := l.booted(); got != old {
		t.Errorf("booted is %+v, want %+v", got, old)
	}
	l.told("RolledBack")

	l.ask(events.StageIdle)
	if p := l.settle(upgrade.Idle, upgrade.CleanupFailed); p != upgrade.Idle {
		t.Fatalf("cleaning up failed: %+v", l.state.Failure)
	}
	l.condition(v1.Idle, v1.ReasonIdle)
	if got := l.stateroots(); !slices.Equal(got, stateroots) {
		t.Errorf("stateroots are %v, were %v", got, stateroots)
	}
	if got := l.inside("ostree", "admin", "status"); got != status {
		t.Errorf("ostree says\n%s\nand said\n%s", got, status)
	}
	l.sound()
	l.keep("solo")
}

// TestSoloLostJournal takes the journal away when the node has its orders: nobody will confirm the new root. The node
// goes on by its ledger, its watchdog goes back to the old root, and nothing is decided by the empty journal that is
// there instead. When the journal is put back, the history goes on with everything that happened meanwhile.
func TestSoloLostJournal(t *testing.T) {
	l := newLab(t, world.Options{Solo: true})
	l.connect()
	old := l.booted()
	spec := l.w.Spec()
	spec.InitMonitorTimeoutSeconds = 20
	l.request("lost", spec, events.StageUpgrade)
	l.await(events.TypeReconfigureRequested)
	l.eventually("the node has its orders", func(ctx context.Context) error {
		return l.says(ctx, string(events.TypeReconfigureRequested), world.RerootNode, "status")
	})
	dir := filepath.Join(l.w.Target.Sysroot, "reroot", "journal")
	lost := dir + ".lost"
	move(t, dir, lost)

	l.eventually("the node is back in its old root", func(ctx context.Context) error {
		return l.says(ctx, string(events.TypeNodeRollbackCompleted), world.RerootNode, "status")
	})
	l.eventually("it holds the journal", func(ctx context.Context) error {
		return l.says(ctx, "reason="+string(events.ReasonJournalCorrupt), "journalctl", "--boot", "--unit=reroot-node", "--no-pager")
	})
	if got := l.booted(); got != old {
		t.Errorf("booted is %+v, want %+v", got, old)
	}

	l.inside("systemctl", "stop", "reroot-node.service")
	move(t, dir, dir+".empty")
	move(t, lost, dir)
	l.inside("systemctl", "start", "reroot-node.service")
	if p := l.settle(upgrade.RolledBack, upgrade.RollbackFailed, upgrade.Upgraded); p != upgrade.RolledBack {
		t.Fatalf("the upgrade ended in phase %s: %+v", p, l.state.Failure)
	}
	if l.state.Trigger != events.TriggerWatchdog {
		t.Errorf("it was rolled back by %s, not by the watchdog", l.state.Trigger)
	}
	l.verify()
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// says looks for a text in what a program on the node prints.
func (l *lab) says(ctx context.Context, want string, argv ...string) error {
	stdout, stderr, code, err := sandbox.Exec(ctx, l.w.Sandbox, argv, nil)
	if err == nil && !strings.Contains(string(stdout), want) {
		err = fmt.Errorf("code %d, no %s in what it prints: %s%s", code, want, stdout, stderr)
	}
	return err
}

// told asks the command line on the node how the upgrade stands.
func (l *lab) told(want string) {
	l.Helper()
	out := l.inside(world.Reroot, "--server", l.w.JournalURL, "timeline")
	l.Log(out)
	if !strings.Contains(out, want) {
		l.Errorf("the node's own reroot does not say %s", want)
	}
}
