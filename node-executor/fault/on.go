//go:build faultinject

package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	planVariable = "REROOT_FAULT_PLAN"
	planFile     = "/var/lib/reroot/fault-plan"
)

// ErrInjected is the error of a point that is planned to fail.
var ErrInjected = errors.New("injected fault")

var mu sync.Mutex

// Maybe does what the plan says about the point, once: it returns [ErrInjected] ("error"), kills this process ("kill")
// or resets the machine without any shutdown ("reboot").
func Maybe(point string) error {
	mu.Lock()
	defer mu.Unlock()
	action, err := take(point)
	if err != nil {
		return fmt.Errorf("cannot follow the fault plan: %w", err)
	}
	switch action {
	case "":
		return nil
	case "error":
		return fmt.Errorf("%s: %w", point, ErrInjected)
	case "kill":
		return unix.Kill(os.Getpid(), unix.SIGKILL)
	case "reboot":
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	}
	return fmt.Errorf("cannot follow the fault plan: unknown action %q at %s", action, point)
}

// take removes the point's first line from the plan and returns its action, or "" when there is none.
func take(point string) (string, error) {
	path := os.Getenv(planVariable)
	if path == "" {
		path = planFile
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		if f := strings.Fields(line); len(f) == 2 && f[0] == point {
			return f[1], rewrite(path, slices.Delete(lines, i, i+1))
		}
	}
	return "", nil
}

// rewrite replaces the plan durably: a line that came back after a reset would break the machine for ever.
func rewrite(path string, lines []string) error {
	tmp := path + ".new"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(lines, "\n"))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
