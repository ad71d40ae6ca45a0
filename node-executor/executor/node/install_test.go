package node_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
)

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	o := node.InstallOptions{Etc: filepath.Join(dir, "etc"), State: filepath.Join(dir, "state"), Config: filepath.Join(dir, "new.yaml")}
	if err := os.Mkdir(o.Etc, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Config, []byte(least), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := node.Install(o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := node.Load(filepath.Join(o.State, node.ConfigFile)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(o.Etc, "systemd/system/multi-user.target.wants/reroot-node.service")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(o.Etc, "systemd/system/reroot-watchdog.service")); !os.IsNotExist(err) {
		t.Errorf("the watchdog is only for new roots: %v", err)
	}
	if err := node.CheckProgram(o.State); err != nil {
		t.Error(err)
	}

	installed := filepath.Join(o.State, "bin/reroot-node")
	if err := os.WriteFile(installed, []byte("another program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := node.CheckProgram(o.State); err == nil {
		t.Error("another program passes for the pinned one")
	}
	l, err := ledger.Open(ledger.File(filepath.Join(o.State, node.Ledger)))
	if err != nil {
		t.Fatal(err)
	}
	cause := events.New(events.TypePivotRequested, "p", "edge-1", "functions/pivot", "u1", struct{}{})
	if _, err := l.Append(ledger.Entry{Kind: ledger.Accepted, Job: "p", Accept: &ledger.Job{ID: "p", Cause: cause}}); err != nil {
		t.Fatal(err)
	}
	if err := node.Install(o); err == nil || !strings.Contains(err.Error(), "upgrade u1 is not cleaned up") {
		t.Errorf("install during an upgrade: %v", err)
	}
}

func TestInstallRefusesABadConfiguration(t *testing.T) {
	dir := t.TempDir()
	o := node.InstallOptions{Etc: dir, State: filepath.Join(dir, "state"), Config: filepath.Join(dir, "new.yaml")}
	if err := os.WriteFile(o.Config, []byte("cluster: x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := node.Install(o); err == nil {
		t.Error("it was installed")
	}
	if _, err := os.Stat(filepath.Join(o.State, node.ConfigFile)); !os.IsNotExist(err) {
		t.Errorf("configuration: %v", err)
	}
}
