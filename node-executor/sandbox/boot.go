package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxStatus bounds what an initramfs can say about its failure.
const maxStatus = 64 << 10

// outcome is how a boot has ended.
type outcome string

const (
	rebooted   outcome = "reboot"
	poweredOff outcome = "poweroff"
	killed     outcome = "kill"
)

// choice is what the boot loader has found.
type choice struct {
	entry Entry
	// deployment is the deployment's directory, relative to the sysroot.
	deployment, stateroot string
}

// choose asks the boot loader and checks that what it has chosen could be loaded.
func choose(loader BootLoader, sysroot string) (choice, error) {
	entry, err := loader.Next(sysroot)
	if err != nil {
		return choice{}, err
	}
	root, err := os.OpenRoot(sysroot)
	if err != nil {
		return choice{}, fmt.Errorf("cannot open sysroot: %w", err)
	}
	defer root.Close()
	for _, name := range []string{entry.Kernel, entry.Initrd} {
		info, err := root.Stat(path.Join("boot", name))
		if err == nil && !info.Mode().IsRegular() {
			err = errors.New("not a file")
		}
		if err != nil {
			return choice{}, fmt.Errorf("cannot load %s of boot entry %s: %w", name, entry.ID, err)
		}
	}
	link, stateroot, err := bootLink(entry.Options)
	if err != nil {
		return choice{}, fmt.Errorf("cannot boot entry %s: %w", entry.ID, err)
	}
	disk, err := filepath.EvalSymlinks(sysroot)
	if err != nil {
		return choice{}, fmt.Errorf("cannot find sysroot: %w", err)
	}
	target, err := filepath.EvalSymlinks(filepath.Join(disk, link))
	if err != nil {
		return choice{}, fmt.Errorf("cannot find deployment of boot entry %s: %w", entry.ID, err)
	}
	deployment, err := filepath.Rel(disk, target)
	if err != nil || !filepath.IsLocal(deployment) {
		return choice{}, fmt.Errorf("cannot boot entry %s: deployment %s is not on the disk", entry.ID, target)
	}
	return choice{entry: entry, deployment: deployment, stateroot: stateroot}, nil
}

// node is a running boot.
type node struct {
	cmd    *exec.Cmd
	cgroup cgroup
	notify *net.UnixConn

	mu sync.Mutex
	// pidfd is PID 1; -1 when the boot is over.
	pidfd int
}

// use calls f with the node's PID 1, which does not become another process meanwhile.
func (n *node) use(f func(pidfd int) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pidfd < 0 {
		return ErrDown
	}
	return f(n.pidfd)
}

// release gives up the hold on PID 1.
func (n *node) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = unix.Close(n.pidfd)
	n.pidfd = -1
}

// start creates the namespaces and returns when the deployment's init is running. The calling goroutine must keep to
// its thread until wait has returned: the kernel kills the node when the thread that started it ends.
func (m *machine) start(ctx context.Context, c choice, bootID string, console *console) (*node, error) {
	groupDir, err := m.cgroup.create()
	if err != nil {
		return nil, err
	}
	defer groupDir.Close()
	address := &net.UnixAddr{Name: "@reroot-sandbox/" + bootID, Net: "unixgram"}
	notify, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot listen for the node: %w", err), m.cgroup.remove())
	}
	p := plan{
		Sysroot: m.config.Sysroot, Deployment: c.deployment, Stateroot: c.stateroot, Options: c.entry.Options,
		BootID: bootID, Hostname: m.config.Hostname, Binds: m.config.Binds, Scratch: m.scratch(),
		Console: console.slave.Name(), Notify: address.Name,
	}
	n := &node{pidfd: -1, cgroup: m.cgroup, notify: notify}
	n.cmd = exec.CommandContext(ctx, "/proc/self/exe", InitramfsCommand)
	n.cmd.Env, n.cmd.Dir = []string{}, "/"
	n.cmd.Stdout, n.cmd.Stderr = console.slave, console.slave
	n.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		Pdeathsig:   unix.SIGKILL,
		Setsid:      true,
		UseCgroupFD: true,
		CgroupFD:    int(groupDir.Fd()),
		PidFD:       &n.pidfd,
	}
	if err := n.handOver(p); err != nil {
		_ = notify.Close()
		return nil, errors.Join(err, m.cgroup.remove())
	}
	return n, nil
}

// handOver starts PID 1 with the plan and waits until it has executed init.
func (n *node) handOver(p plan) error {
	planRead, planWrite, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot create pipe: %w", err)
	}
	defer planWrite.Close()
	statusRead, statusWrite, err := os.Pipe()
	if err != nil {
		_ = planRead.Close()
		return fmt.Errorf("cannot create pipe: %w", err)
	}
	defer statusRead.Close()
	n.cmd.ExtraFiles = []*os.File{planRead, statusWrite}
	err = n.cmd.Start()
	_, _ = planRead.Close(), statusWrite.Close()
	if err != nil {
		return fmt.Errorf("cannot start node: %w", err)
	}
	err = json.NewEncoder(planWrite).Encode(p)
	var problem []byte
	if err == nil {
		problem, err = io.ReadAll(io.LimitReader(statusRead, maxStatus))
	}
	if err == nil && len(problem) == 0 {
		return nil
	}
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
	n.release()
	if err != nil {
		return fmt.Errorf("cannot talk to initramfs: %w", err)
	}
	return errors.New(string(problem))
}

// listen reads systemd's messages (sd_notify(3)) until the boot is over and calls ready at the first that says that
// it is. It reads them all: systemd would block on a full socket, for ever.
func (n *node) listen(ready func()) {
	message := make([]byte, 4<<10)
	for told := false; ; {
		length, err := n.notify.Read(message)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(message[:length])) {
			if strings.TrimSpace(line) == "READY=1" && !told {
				told = true
				ready()
			}
		}
	}
}

// wait returns how the boot has ended. By then the kernel has ended every process of the node and its mounts are
// gone with them.
func (n *node) wait() (outcome, error) {
	err := n.cmd.Wait()
	_ = n.notify.Close()
	n.release()
	if removeErr := n.cgroup.remove(); removeErr != nil {
		return "", removeErr
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", fmt.Errorf("cannot wait for node: %w", err)
	}
	status, ok := n.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() {
		return "", fmt.Errorf("init of the node has ended: %s", n.cmd.ProcessState)
	}
	// For init of a PID namespace reboot(2) becomes a signal: SIGHUP for a restart, SIGINT for halt and power off.
	switch status.Signal() {
	case unix.SIGHUP:
		return rebooted, nil
	case unix.SIGINT:
		return poweredOff, nil
	default:
		return killed, nil
	}
}

// onOneThread calls run on a thread that lives as long as the call.
func onOneThread(run func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return run()
}
