package crash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/reroot-dev/reroot/node-executor/step"
)

const (
	// mostStarts bounds how often the executor is started in one boot, mostBoots how often the machine boots in one life.
	mostStarts = 100
	mostBoots  = 10
	// restartPause is how long its unit waits.
	restartPause = 20 * time.Millisecond
	// kubeletPause is how long the cluster takes to be up after a boot.
	kubeletPause = 100 * time.Millisecond
)

// Life runs a node from its power-on until the hub has the last fact: it starts the executor, again whenever it ends,
// boots, and runs the watchdog where the new root is booted.
type Life struct {
	Dir
	Program string    // crash-node
	Log     io.Writer // what happens, for a person
	// Resets says that the fault plan resets machines: the executor then runs as PID 1 of a PID namespace, which is what
	// the kernel resets.
	Resets bool
}

// Run returns when the story is over.
func (l Life) Run(ctx context.Context) error {
	if err := l.Next(ctx); err != nil {
		return err
	}
	for range mostBoots {
		over, err := l.boot(ctx)
		if err != nil || over {
			return err
		}
		if err := l.Next(ctx); err != nil {
			return err
		}
	}
	return fmt.Errorf("the node was booted %d times", mostBoots)
}

// boot is one boot. It returns when the machine has gone down, or the story is over.
func (l Life) boot(ctx context.Context) (over bool, err error) {
	b, err := l.Boot()
	if err != nil {
		return false, err
	}
	c, err := l.Config()
	if err != nil {
		return false, err
	}
	fmt.Fprintf(l.Log, "boot %d of %s\n", b.Number, b.Booted.Stateroot)
	ctx, powerOff := context.WithCancel(ctx)
	var units sync.WaitGroup
	defer units.Wait()
	defer powerOff()
	if b.Booted == c.New {
		units.Go(func() { l.watch(ctx, c, powerOff) })
	}
	units.Go(func() { l.bringUp(ctx, b, c) })
	for range mostStarts {
		reset, err := l.start(ctx)
		switch {
		case reset || l.GoesDown():
			return false, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		}
		if over, err := l.over(c); over || err != nil {
			return over, err
		}
		fmt.Fprintf(l.Log, "the executor has ended: %v\n", err)
		if err := pause(ctx, restartPause); err != nil && !l.GoesDown() {
			return false, err
		}
	}
	return false, fmt.Errorf("the executor was started %d times in one boot", mostStarts)
}

// start runs the executor once and says whether the machine was reset.
func (l Life) start(ctx context.Context) (reset bool, err error) {
	cmd := exec.CommandContext(ctx, l.Program, string(l.Dir))
	cmd.Env = append(os.Environ(), "REROOT_FAULT_PLAN="+l.Plan())
	cmd.Stdout, cmd.Stderr = l.Log, l.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if l.Resets {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		// reboot(2): the first process of a PID namespace that is reset ends by SIGHUP.
		status, ok := exit.Sys().(syscall.WaitStatus)
		reset = ok && l.Resets && status.Signaled() && status.Signal() == syscall.SIGHUP
	}
	return reset, err
}

// watch runs the watchdog, which may take the machine down.
func (l Life) watch(ctx context.Context, c Config, powerOff func()) {
	m := Machine{Host: l.Host(c), Dir: l.Dir, Down: powerOff}
	if err := l.Watchdog().Watch(ctx, m, slog.New(slog.NewTextHandler(l.Log, nil))); err != nil && ctx.Err() == nil {
		fmt.Fprintf(l.Log, "the watchdog has ended: %v\n", err)
	}
}

// bringUp starts the kubelet some time after the boot; in the new root only if that has the site's identity.
func (l Life) bringUp(ctx context.Context, b Boot, c Config) {
	has, err := step.StateDir(l.State()).HasIdentity(c.New)
	if b.Booted == c.New && (err != nil || !has) || pause(ctx, kubeletPause) != nil {
		return
	}
	if err := os.WriteFile(filepath.Join(l.run(), kubeletFile), nil, 0o600); err != nil {
		fmt.Fprintf(l.Log, "the kubelet does not start: %v\n", err)
	}
}

// over says whether the hub has the last fact.
func (l Life) over(c Config) (bool, error) {
	facts, err := l.Hub(c).Facts()
	return slices.ContainsFunc(facts, last), err
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
