package host

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
)

// Child is a program that runs beside this process, and not longer.
type Child struct {
	cmd    *exec.Cmd
	name   Cmd
	stderr *tailBuffer
	exited chan struct{}
	err    error // set before exited is closed
}

// StartChild starts a program. What it prints on stdout is dropped. Whoever starts it has to stop it.
func StartChild(c Cmd) (*Child, error) {
	child := &Child{cmd: exec.Command(c.Name, c.Args...), name: c, stderr: &tailBuffer{max: maxStderr}, exited: make(chan struct{})}
	child.cmd.Stdin, child.cmd.Stderr, child.cmd.Dir, child.cmd.Env = c.Stdin, child.stderr, c.Dir, c.Env
	child.cmd.WaitDelay = waitDelay
	child.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // see Run
		defer runtime.UnlockOSThread()
		err := child.cmd.Start()
		started <- err
		if err == nil {
			child.err = child.cmd.Wait()
			close(child.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("cannot start %q: %w", c, err)
	}
	return child, nil
}

// Exited is closed when the program has ended.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// Stop asks the program to end and waits until it has. The error says that it ended badly, or that it had to be killed
// because ctx ended.
func (c *Child) Stop(ctx context.Context) error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // fails when it has ended already, which Wait tells
	select {
	case <-c.exited:
	case <-ctx.Done():
		_ = c.cmd.Process.Kill()
		<-c.exited
		return fmt.Errorf("cannot stop %q but by force: %w", c.name, ctx.Err())
	}
	var exit *exec.ExitError
	if !errors.As(c.err, &exit) {
		return c.err
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGTERM {
		return nil // it took no notice of being asked, and ended all the same
	}
	return exitError(c.name, exit, c.stderr.tail())
}
