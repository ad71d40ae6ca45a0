package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxOutput bounds what a command inside the node may write to each of its outputs.
const maxOutput = 4 << 20

// ErrTooMuchOutput says that a command inside the node was ended because it wrote too much.
var ErrTooMuchOutput = errors.New("more output than the control socket carries")

// result is a command's result.
type result struct {
	Stdout []byte `json:"stdout"`
	Stderr []byte `json:"stderr"`
	// Code is the exit code, or 128 and the number of the signal that has ended the command.
	Code int `json:"code"`
}

// run runs a command in all of the node's namespaces. It ends with the node at the latest.
func (n *node) run(ctx context.Context, argv []string, stdin []byte) (r result, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		onSpentThread(func() { r, err = n.enter(ctx, argv, stdin) })
	}()
	<-done
	return r, err
}

// onSpentThread calls f on a thread that Go ends together with the calling goroutine, which therefore must end next.
// That is never the program's first thread: it would stay for good, and keep the namespaces that it has entered.
func onSpentThread(f func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		f()
		return
	}
	// As long as this goroutine holds the first thread, another one runs elsewhere.
	done := make(chan struct{})
	go func() {
		defer close(done)
		onSpentThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}

// enter moves the calling thread into the node's namespaces and runs the command from there.
func (n *node) enter(ctx context.Context, argv []string, stdin []byte) (result, error) {
	// A mount namespace can be entered only by a thread that shares its root directory with no other.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return result{}, fmt.Errorf("cannot unshare root directory: %w", err)
	}
	spaces := unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	if err := n.use(func(pidfd int) error { return unix.Setns(pidfd, spaces) }); err != nil {
		return result{}, fmt.Errorf("cannot enter node: %w", err)
	}
	program, err := lookPath(argv[0])
	if err != nil {
		return result{}, err
	}
	var stdout, stderr limited
	cmd := exec.CommandContext(ctx, program, argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Env = []string{"PATH=" + initPath, "HOME=/root", "LC_ALL=C.UTF-8"}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	err = cmd.Run()
	if stdout.full || stderr.full {
		err = ErrTooMuchOutput
	} else if cmd.ProcessState != nil {
		err = nil
	}
	if err != nil {
		return result{}, fmt.Errorf("cannot run %s in node: %w", argv[0], err)
	}
	code := cmd.ProcessState.ExitCode()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return result{Stdout: stdout.data, Stderr: stderr.data, Code: code}, nil
}

// lookPath finds a program on the node's search path. exec.LookPath would take the supervisor's, which has none.
func lookPath(name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(initPath) {
		program := filepath.Join(dir, name)
		if info, err := os.Stat(program); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return program, nil
		}
	}
	return "", fmt.Errorf("cannot find %s in node: %w", name, exec.ErrNotFound)
}

// limited is a buffer that refuses to grow beyond maxOutput.
type limited struct {
	data []byte
	// full says that it has refused.
	full bool
}

func (l *limited) Write(data []byte) (int, error) {
	if len(l.data)+len(data) > maxOutput {
		l.full = true
		return 0, ErrTooMuchOutput
	}
	l.data = append(l.data, data...)
	return len(data), nil
}
