package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
func (n *node) run(ctx context.Context, argv []string, stdin []byte) (result, error) {
	type ended struct {
		result result
		err    error
	}
	done := make(chan ended)
	go func() {
		// The thread enters the namespaces and is never given back: Go ends it together with this goroutine.
		runtime.LockOSThread()
		var e ended
		e.result, e.err = n.runOnThread(ctx, argv, stdin)
		done <- e
	}()
	e := <-done
	return e.result, e.err
}

func (n *node) runOnThread(ctx context.Context, argv []string, stdin []byte) (result, error) {
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
	// A command that does not read its input is not at fault.
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil || errors.Is(err, ErrTooMuchOutput) {
		return result{}, fmt.Errorf("cannot run %s in node: %w", argv[0], err)
	}
	code := cmd.ProcessState.ExitCode()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	return result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: code}, nil
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
	bytes.Buffer
}

func (l *limited) Write(data []byte) (int, error) {
	if l.Len()+len(data) > maxOutput {
		return 0, ErrTooMuchOutput
	}
	return l.Buffer.Write(data)
}

// ReadFrom hides bytes.Buffer's, which would read without a bound.
func (l *limited) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(writer{l}, r)
}

// writer shows only the Write method.
type writer struct{ io.Writer }
