package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	maxStdout = 8 << 20  // more than any program that is run here prints
	maxStderr = 16 << 10 // the end of it is kept
	waitDelay = 5 * time.Second
)

// Cmd is a program to run. Only Name is required.
type Cmd struct {
	Name  string // looked up in /usr/sbin:/usr/bin:/sbin:/bin unless it holds a slash
	Args  []string
	Stdin io.Reader
	Env   []string // KEY=value, added to a minimal environment
	Dir   string
}

// String is the command for messages; it is not quoted for any shell.
func (c Cmd) String() string { return strings.Join(append([]string{c.Name}, c.Args...), " ") }

// ErrNoProgram says that a program is in none of the directories that are searched for it.
var ErrNoProgram = exec.ErrNotFound

// ExitError says that a program ended unsuccessfully.
type ExitError struct {
	Cmd    string
	Code   int    // exit code; -1 when a signal ended it
	Signal string // name of that signal
	Stderr string // the last lines it printed there
}

// Error implements error.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit code %d", e.Code)
	if e.Signal != "" {
		how = "ended by signal " + e.Signal
	}
	if e.Stderr != "" {
		how += ": " + e.Stderr
	}
	return fmt.Sprintf("cannot run %q: %s", e.Cmd, how)
}

// Run runs a program to its end and returns what it printed. The program is killed when ctx ends and when the calling
// process dies. The error is an [*ExitError] when the program ran and failed, and [ErrNoProgram] when there is none of its name.
func (h *Host) Run(ctx context.Context, c Cmd) ([]byte, error) {
	const path = "/usr/sbin:/usr/bin:/sbin:/bin"
	stdout, stderr := &limitedBuffer{max: maxStdout}, &tailBuffer{max: maxStderr}
	cmd := exec.CommandContext(ctx, lookPath(c.Name, path), c.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Dir = c.Stdin, stdout, stderr, c.Dir
	cmd.Env = append([]string{"PATH=" + path, "LC_ALL=C.UTF-8", "HOME=/root"}, c.Env...)
	cmd.WaitDelay = waitDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}

	// The kernel sends the parent-death signal when the *thread* that forked ends, so that thread must outlive the
	// program.
	runtime.LockOSThread()
	err := cmd.Run()
	runtime.UnlockOSThread()

	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("cannot run %q to its end: %w", c, context.Cause(ctx))
	case errors.As(err, &exit):
		return stdout.data, exitError(c, exit, stderr.tail())
	case err != nil:
		return nil, fmt.Errorf("cannot run %q: %w", c, err)
	case stdout.overflow:
		return nil, fmt.Errorf("cannot run %q: it printed more than %d bytes", c, maxStdout)
	}
	return stdout.data, nil
}

func exitError(c Cmd, exit *exec.ExitError, stderr string) *ExitError {
	e := &ExitError{Cmd: c.String(), Code: exit.ExitCode(), Stderr: stderr}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Signal = ws.Signal().String()
	}
	return e
}

// lookPath finds name in the executor's own search path: the environment that it was started with is not trusted.
func lookPath(name, path string) string {
	if strings.Contains(name, "/") {
		return name
	}
	for dir := range strings.SplitSeq(path, ":") {
		full := dir + "/" + name
		if st, err := os.Stat(full); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return full
		}
	}
	return name
}

// limitedBuffer keeps the first max bytes and remembers whether there were more.
type limitedBuffer struct {
	max      int
	data     []byte
	overflow bool
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	room := b.max - len(b.data)
	if len(p) > room {
		b.overflow = true
		b.data = append(b.data, p[:room]...)
	} else {
		b.data = append(b.data, p...)
	}
	return len(p), nil
}

// tailBuffer keeps the last max bytes.
type tailBuffer struct {
	max  int
	data []byte
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	if over := len(b.data) - b.max; over > 0 {
		b.data = append(b.data[:0], b.data[over:]...)
	}
	return len(p), nil
}

// tail returns the last three lines as one.
func (b *tailBuffer) tail() string {
	lines := strings.Split(strings.TrimSpace(string(b.data)), "\n")
	if len(lines) > 3 {
		lines = lines[len(lines)-3:]
	}
	return strings.Join(lines, "; ")
}
