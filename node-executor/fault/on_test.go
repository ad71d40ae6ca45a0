//go:build faultinject

package fault_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/fault"
)

func TestErrorHappensOnce(t *testing.T) {
	plan(t, "pivot.reboot kill\npivot.set-default error\n")
	if err := fault.Maybe("pivot.collect-site"); err != nil {
		t.Errorf("a point that is not planned: %v", err)
	}
	if err := fault.Maybe("pivot.set-default"); !errors.Is(err, fault.ErrInjected) {
		t.Errorf("the planned point: %v, want %v", err, fault.ErrInjected)
	}
	if err := fault.Maybe("pivot.set-default"); err != nil {
		t.Errorf("the second time: %v", err)
	}
}

func TestUnknownAction(t *testing.T) {
	plan(t, "pivot.reboot explode\n")
	if err := fault.Maybe("pivot.reboot"); err == nil {
		t.Error("an unknown action went unnoticed")
	}
}

func TestKill(t *testing.T) {
	if os.Getenv("FAULT_TEST_CHILD") != "" {
		_ = fault.Maybe("pivot.reboot")
		os.Exit(0)
	}
	plan(t, "pivot.reboot kill\n")
	for i, want := range []bool{true, false} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), "FAULT_TEST_CHILD=1")
		err := cmd.Run()
		var exit *exec.ExitError
		killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if killed != want {
			t.Errorf("run %d: killed %t (%v), want %t", i, killed, err, want)
		}
	}
}

func plan(t *testing.T, text string) {
	path := filepath.Join(t.TempDir(), "plan")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("REROOT_FAULT_PLAN", path)
}
