package sandbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// bootDeadline bounds a boot on a machine that is busy with other tests.
const bootDeadline = 2 * time.Minute

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
	build := exec.CommandContext(t.Context(), "go", "build", "-o", l.program, "github.com/reroot-dev/reroot/node-executor/cmd/reroot-sandbox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build sandbox: %v: %s", err, out)
	}
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
		<-ended.Done()
	})
}

// within returns a context for something that the running supervisor is asked for.
func (l *lab) within() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(l.t.Context(), bootDeadline)
	stop := context.AfterFunc(l.ended, cancel)
	return ctx, func() { stop(); cancel() }
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

func TestReboot(t *testing.T) {
	l := newLab(t)
	l.start()
	first := l.ready(1)
	t.Log(l.node("ostree", "admin", "status"))
	t.Log(l.node("systemctl", "list-units", "--no-pager", "--no-legend"))
	t.Log(l.node("systemctl", "--failed", "--no-pager", "--no-legend"))
	t.Log(l.node("ps", "axfo", "pid,rss,args"))
	t.Log(l.node("findmnt", "-o", "TARGET,SOURCE,FSTYPE,OPTIONS"))
	t.Log(first)
}
