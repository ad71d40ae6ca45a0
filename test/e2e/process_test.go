package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/reroot-dev/reroot/test/lab/world"
)

// Environment variables by which this test's program, started once more, is the process that hosts journal and pipeline
// of a world: the world's directory, and what is to fail, as in [world.Options].
const (
	hostOf  = "REROOT_E2E_HOST"
	hostBad = "REROOT_E2E_FAIL"
)

func TestMain(m *testing.M) {
	dir, is := os.LookupEnv(hostOf)
	if !is {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := host(ctx, dir)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// host hosts journal and pipeline of the world in dir.
func host(ctx context.Context, dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "world.json"))
	if err != nil {
		return err
	}
	var r world.Record
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	return world.Host(ctx, r, os.Getenv(hostBad), slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// process hosts journal and pipeline: what can be killed without the world that it serves.
type process struct {
	l    *lab
	fail string // what is to fail, "" for nothing
	cmd  *exec.Cmd
}

// newHostedLab makes a world whose journal and pipeline are a process of their own, which runs.
func newHostedLab(t *testing.T) (*lab, *process) {
	t.Helper()
	l := newLab(t, world.Options{})
	if err := l.w.Store.Close(); err != nil {
		t.Fatal(err)
	}
	p := &process{l: l}
	p.start()
	l.Cleanup(p.kill)
	l.connect()
	return l, p
}

func (p *process) start() {
	p.l.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), hostOf+"="+p.l.w.Dir, hostBad+"="+p.fail)
	p.cmd.Stdout, p.cmd.Stderr = p.l.Output(), p.l.Output()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		p.l.Fatal(err)
	}
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// failing has the process run with something that is to fail, "" for nothing.
func (p *process) failing(what string) {
	p.l.Helper()
	if p.fail == what {
		return
	}
	p.kill()
	p.fail = what
	p.start()
}
