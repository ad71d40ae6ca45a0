package sandbox_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// TestMain lets the test's own program be PID 1 of a node, so that machines can be run inside the test, too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == sandbox.InitramfsCommand {
		_, _ = os.Stderr.WriteString(sandbox.Initramfs().Error() + "\n")
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// bootDeadline bounds a boot on a machine that is busy with other tests.
const bootDeadline = 20 * time.Second

// testUnit is a service that must come back when it is killed.
const testUnit = `[Service]
Type=exec
ExecStart=/usr/bin/sleep infinity
Restart=always
RestartSec=50ms
`

// lab is a machine whose supervisor is a process of its own.
type lab struct {
	t       *testing.T
	program string
	config  sandbox.Config
	stderr  bytes.Buffer
	process *exec.Cmd
	// ended is done when the supervisor has ended.
	ended context.Context
}

// newLab makes a sysroot with two stateroots, of which "old" boots first.
func newLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("namespaces and ostree need root")
	}
	dir, err := os.MkdirTemp("", "reroot-sandbox-")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, program: filepath.Join(dir, "reroot-sandbox"), config: sandbox.Config{
		Name: "lab", Sysroot: filepath.Join(dir, "sysroot"), State: filepath.Join(dir, "state"), Hostname: "lab-node",
		Console: filepath.Join(dir, "console.log"), Socket: filepath.Join(dir, "control"), OnKill: sandbox.OnKillBoot,
		Binds: []sandbox.Bind{
			{Source: filepath.Join(dir, "device"), Target: "/var/lib/containers"},
			{Source: filepath.Join(dir, "device"), Target: "/usr/libexec/lab", ReadOnly: true},
		},
	}}
	t.Cleanup(func() {
		if t.Failed() {
			console, _ := os.ReadFile(l.config.Console)
			t.Logf("supervisor:\n%s\nconsole:\n%s", l.stderr.String(), console)
		}
		if err := ostree.RemoveSysroot(l.config.Sysroot); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Mkdir(filepath.Join(dir, "device"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "device", "mark"), []byte("device"), 0o644); err != nil {
		t.Fatal(err)
	}
	sysroot, err := ostree.NewSysroot(t.Context(), t.Output(), l.config.Sysroot)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []ostree.DeployOptions{
		{Stateroot: "new", Tree: ostree.Tree{Version: "4.17.0", Kernel: "new", Files: map[string][]byte{"usr/lib/systemd/system/lab-test.service": []byte(testUnit)}},
			Kargs: []string{"root=LABEL=root", "rw", "ibu=4.17.0"}},
		{Stateroot: "old", Tree: ostree.Tree{Version: "4.16.0", Files: map[string][]byte{"usr/lib/systemd/system/lab-test.service": []byte(testUnit)}},
			Kargs: []string{"root=LABEL=root", "rw"}},
	} {
		if _, err := sysroot.Deploy(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// build builds the supervisor's program.
func (l *lab) build() {
	l.t.Helper()
	build := exec.CommandContext(l.t.Context(), "go", "build", "-o", l.program, "github.com/reroot-dev/reroot/node-executor/cmd/reroot-sandbox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		l.t.Fatalf("cannot build sandbox: %v: %s", err, out)
	}
}

// start starts the supervisor.
func (l *lab) start() {
	l.t.Helper()
	data, err := json.Marshal(l.config)
	if err != nil {
		l.t.Fatal(err)
	}
	config := filepath.Join(filepath.Dir(l.program), "node.json")
	if err := os.WriteFile(config, data, 0o600); err != nil {
		l.t.Fatal(err)
	}
	l.process = exec.Command(l.program, "run", "--config", config)
	l.process.Stderr = &l.stderr
	if err := l.process.Start(); err != nil {
		l.t.Fatal(err)
	}
	process := l.process
	ended, end := context.WithCancel(context.Background())
	go func() {
		_ = process.Wait()
		end()
	}()
	l.ended = ended
	l.t.Cleanup(func() {
		_ = process.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended.Done():
		case <-time.After(bootDeadline):
			l.t.Error("the supervisor does not end on SIGTERM")
			_ = process.Process.Signal(syscall.SIGQUIT)
			<-ended.Done()
		}
	})
}

// within returns a context for something that the running supervisor is asked for.
func (l *lab) within() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(l.t.Context(), bootDeadline)
	stop := context.AfterFunc(l.ended, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// ready waits for the boot with this number.
func (l *lab) ready(number int) sandbox.Status {
	l.t.Helper()
	ctx, cancel := l.within()
	defer cancel()
	status, err := sandbox.WaitReady(ctx, l.config.Socket, number)
	if err != nil {
		l.t.Fatal(err)
	}
	if status.Number != number {
		l.t.Fatalf("want boot %d, got %+v", number, status)
	}
	l.t.Logf("boot %d ready after %s: %s", number, status.ReadyAfter.Round(time.Millisecond), status.Deployment)
	return status
}

// node runs a command on the node and returns its trimmed output.
func (l *lab) node(argv ...string) string {
	l.t.Helper()
	ctx, cancel := l.within()
	defer cancel()
	stdout, stderr, code, err := sandbox.Exec(ctx, l.config.Socket, argv, nil)
	if err != nil || code != 0 {
		l.t.Fatalf("%s: code %d, %v: %s%s", strings.Join(argv, " "), code, err, stdout, stderr)
	}
	return strings.TrimSpace(string(stdout))
}

// booted returns the stateroot that libostree calls booted.
func (l *lab) booted() string {
	l.t.Helper()
	for line := range strings.Lines(l.node("ostree", "admin", "status")) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "*" {
			return fields[1]
		}
	}
	l.t.Fatal("no deployment is booted")
	return ""
}

// eventually asks until the answer is yes.
func (l *lab) eventually(what string, yes func() bool) {
	l.t.Helper()
	ctx, cancel := l.within()
	defer cancel()
	for ticker := time.NewTicker(20 * time.Millisecond); !yes(); {
		select {
		case <-ctx.Done():
			l.t.Fatalf("%s: not within %s", what, bootDeadline)
		case <-ticker.C:
		}
	}
}

// leftovers returns the processes that are in the machine's cgroup or have a mount of its files.
func (l *lab) leftovers() []string {
	l.t.Helper()
	dir := filepath.Dir(l.program)
	var found []string
	for _, pattern := range []struct{ glob, text string }{
		{"/proc/[0-9]*/cgroup", "/reroot-sandbox-" + l.config.Name + "-"},
		{"/proc/[0-9]*/mountinfo", dir},
	} {
		names, err := filepath.Glob(pattern.glob)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, name := range names {
			if data, err := os.ReadFile(name); err == nil && strings.Contains(string(data), pattern.text) {
				found = append(found, name)
			}
		}
	}
	return found
}

// cgroups returns the cgroups of machines of the lab's name and state.
func (l *lab) cgroups() []string {
	l.t.Helper()
	var found []string
	sum := sha256.Sum256([]byte(l.config.State))
	name := fmt.Sprintf("reroot-sandbox-%s-%x", l.config.Name, sum[:4])
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/unified/"} {
		names, err := filepath.Glob(pattern + name)
		if err != nil {
			l.t.Fatal(err)
		}
		found = append(found, names...)
	}
	return found
}

// rss returns the resident memory of all of the node's processes in MiB.
func (l *lab) rss() float64 {
	l.t.Helper()
	sum := 0
	for _, field := range strings.Fields(l.node("ps", "-eo", "rss=")) {
		kib, err := strconv.Atoi(field)
		if err != nil {
			l.t.Fatal(err)
		}
		sum += kib
	}
	return float64(sum) / 1024
}
