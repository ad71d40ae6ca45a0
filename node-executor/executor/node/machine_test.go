package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// TestPivotOnAMachine takes a node with real boots and our real units into the new root and lets it stay there.
func TestPivotOnAMachine(t *testing.T) {
	l := newLab(t)
	l.ready(1)
	sum := filepath.Join(l.machine.Sysroot, "reroot/bin/reroot-node.sha256")
	if err := os.Remove(sum); err != nil {
		t.Fatal(err)
	}
	if out, code := l.node(node.StateDir+"/bin/reroot-node", "install"); code != 0 {
		t.Errorf("install on the running node, whose /sysroot is read-only: %s", out)
	}
	if _, err := os.Stat(sum); err != nil {
		t.Error(err)
	}
	if out, code := l.node(node.StateDir+"/bin/reroot-node", "status"); code != 0 {
		t.Errorf("status: %s", out)
	}
	l.pivot(10 * time.Minute)
	first := fact[events.PivotCompleted](l, 1, events.TypePivotCompleted)
	if first.Booted != l.new || first.From != l.old {
		t.Errorf("pivot.completed: %+v", first)
	}
	fact[events.CryptoregenCompleted](l, 2, events.TypeCryptoregenCompleted)
	fact[events.ReconfigureCompleted](l, 3, events.TypeReconfigureCompleted)
	l.ready(2)
	if out, code := l.node(node.StateDir+"/bin/reroot-node", "status"); code != 0 {
		t.Errorf("status: %s", out)
	}
	if out, code := l.node("systemctl", "is-active", "reroot-watchdog.service", "kubelet.service", "var-lib-reroot.mount"); code != 0 {
		t.Errorf("units: %s", out)
	}
	if out, _ := l.node("cat", "/etc/lab-site"); out != "edge-1" {
		t.Errorf("the site's file says %q", out)
	}

	// Everything of ours dies, power included, and comes back by itself.
	l.node("pkill", "-KILL", "-f", "bin/reroot-node")
	if err := sandbox.PowerCut(t.Context(), l.machine.Socket); err != nil {
		t.Fatal(err)
	}
	l.ready(3)
	l.command(l.event(events.TypeConfirmRequested, events.ConfirmRequested{Command: l.base(l.new)}))
	fact[events.ConfirmCompleted](l, 4, events.TypeConfirmCompleted)
	if s := l.status(); s.Watchdog == nil || s.Watchdog.Phase != watchdog.Confirmed || s.Watchdog.Boots != 2 {
		t.Errorf("watchdog: %+v", s.Watchdog)
	}

	l.command(l.event(events.TypeCleanupRequested, events.CleanupRequested{Command: l.base(l.new), Remove: []string{l.old.Stateroot}}))
	fact[events.CleanupCompleted](l, 5, events.TypeCleanupCompleted)
	if _, err := os.Stat(filepath.Join(l.machine.Sysroot, "ostree/deploy", l.old.Stateroot)); !os.IsNotExist(err) {
		t.Errorf("the old stateroot: %v", err)
	}
	if s := l.status(); s.Watchdog != nil || len(s.Ledger.Jobs) != 0 {
		t.Errorf("status: %+v", s)
	}
	if err := sandbox.PowerCut(t.Context(), l.machine.Socket); err != nil {
		t.Fatal(err)
	}
	l.ready(4)
	if out, code := l.node("systemctl", "is-active", "kubelet.service", "reroot-node.service"); code != 0 {
		t.Errorf("units without a gate: %s", out)
	}
	if out, _ := l.node("systemctl", "is-active", "reroot-watchdog.service"); out != "inactive" {
		t.Errorf("the watchdog is %s", out)
	}
}

// TestWatchdogOnAMachine: nobody confirms the new root.
func TestWatchdogOnAMachine(t *testing.T) {
	l := newLab(t)
	l.ready(1)
	l.pivot(8 * time.Second)
	fact[events.PivotCompleted](l, 1, events.TypePivotCompleted)
	fact[events.CryptoregenCompleted](l, 2, events.TypeCryptoregenCompleted)
	fact[events.ReconfigureCompleted](l, 3, events.TypeReconfigureCompleted)
	back := fact[events.NodeRollbackCompleted](l, 4, events.TypeNodeRollbackCompleted)
	if back.Trigger != events.TriggerWatchdog || back.Booted != l.old || back.Failure == nil || !strings.Contains(back.Failure.Message, "8s") {
		t.Errorf("rollback.completed: %+v, %+v", back, back.Failure)
	}
	l.ready(3)
	l.command(l.event(events.TypeCleanupRequested, events.CleanupRequested{Command: l.base(l.old), Remove: []string{l.new.Stateroot}}))
	fact[events.CleanupCompleted](l, 5, events.TypeCleanupCompleted)
}

// TestFailureOnAMachine: what fails in the new root brings the old one back by itself, before any of the cluster ran.
func TestFailureOnAMachine(t *testing.T) {
	l := newLab(t)
	l.ready(1)
	if err := os.WriteFile(filepath.Join(l.machine.Sysroot, "reroot/fail-crypto"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.pivot(10 * time.Minute)
	fact[events.PivotCompleted](l, 1, events.TypePivotCompleted)
	failed := fact[events.NodeFailure](l, 2, events.TypeCryptoregenFailed)
	if failed.Reason != events.ReasonCryptoFailed || failed.Untouched || failed.Message != "step regenerate: told to fail" {
		t.Errorf("cryptoregen.failed: %+v", failed)
	}
	back := fact[events.NodeRollbackCompleted](l, 3, events.TypeNodeRollbackCompleted)
	if back.Trigger != events.TriggerFailure || back.Booted != l.old || back.Failure == nil || *back.Failure != failed.Failure {
		t.Errorf("rollback.completed: %+v", back)
	}
}
