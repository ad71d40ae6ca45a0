package e2e_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/test/lab/world"
)

var (
	moments  = flag.Int("moments", 3, "how many times TestCrash does harm")
	upgrades = flag.Int("upgrades", 1, "how many upgrades the moments are spread over")
	seedFlag = flag.Uint64("seed", 0, "of TestCrash's moments, as a failed run printed it; 0 draws one")
)

// hostOf names the environment variable by which this test's program, started once more, is the process that hosts
// journal and pipeline of a world.
const hostOf = "REROOT_E2E_HOST"

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
	return world.Host(ctx, r, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

// harm is what is done at one moment. It does not ask whether it hits anything: a victim that does not run then is a
// moment like any other.
type harm struct {
	after  events.Type // in the history
	delay  time.Duration
	victim string
}

// Victims, and how they are killed on the node; the power is cut by killing its PID 1.
const (
	power    = "power"
	pipeline = "pipeline" // with the journal
)

var victims = map[string][]string{
	"executor":                 {"pkill", "-KILL", "-f", "bin/reroot-node run"},
	"watchdog":                 {"pkill", "-KILL", "-f", "bin/reroot-node watchdog"},
	"executor and watchdog":    {"pkill", "-KILL", "-f", "bin/reroot-node"},
	"kubelet with its cluster": {"pkill", "-KILL", "-f", "lab-kubelet"},
	power:                      nil,
	pipeline:                   nil,
}

// anchors are the events after which harm is done, in the order of a good upgrade: before the pivot, on the way, in
// the new root, during projection there.
var anchors = []events.Type{
	events.TypePrepStarted, events.TypeSeedpullRequested, events.TypeSeedpullCompleted, events.TypePrecacheCompleted,
	events.TypeUpgradeStarted, events.TypeBackupCompleted, events.TypeReconfigureRequested, events.TypePivotCompleted,
	events.TypeCryptoregenCompleted, events.TypeReconfigureCompleted, events.TypeManifestsApplied,
	events.TypeRestoreCompleted, events.TypeConfirmRequested, events.TypeConfirmCompleted,
}

// longestDelay is longer than what most events take to be followed by the next; what takes longer begins with harm.
const longestDelay = 3 * time.Second

// draw draws n harms for each upgrade: all anchors have their turn before one comes again.
func draw(r *rand.Rand, upgrades, n int) [][]harm {
	names := slices.Sorted(maps.Keys(victims))
	var turns []int
	all := make([][]harm, upgrades)
	for i := range n {
		if len(turns) == 0 {
			turns = r.Perm(len(anchors))
		}
		h := harm{anchors[turns[0]], time.Duration(r.Int64N(int64(longestDelay))), names[r.IntN(len(names))]}
		turns = turns[1:]
		all[i%upgrades] = append(all[i%upgrades], h)
	}
	return all
}

// TestCrash kills processes of the node and of the pipeline, and cuts the power, at random moments of upgrades. Nobody
// helps afterwards: the node's own units start what they start. Each upgrade ends confirmed on the new root, or with a
// healthy old one.
func TestCrash(t *testing.T) {
	seed := *seedFlag
	for seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("to have the same moments again: go test ./test/e2e -run TestCrash -moments %d -upgrades %d -seed %d", *moments, *upgrades, seed)
	l := newLab(t, world.Options{})
	if err := l.w.Store.Close(); err != nil {
		t.Fatal(err)
	}
	p := l.host()
	l.connect()
	start := l.booted()
	outcomes := map[upgrade.Phase]int{}
	for i, harms := range draw(rand.New(rand.NewPCG(seed, 0)), *upgrades, *moments) {
		l.request(fmt.Sprintf("crash-%d", i), l.w.Spec(), events.StageUpgrade)
		end := l.suffer(p, harms)
		outcomes[end]++
		want := start
		if end == upgrade.Upgraded {
			want = *l.state.New
		}
		l.verify()
		if got := l.booted(); got != want {
			t.Fatalf("upgrade %d ended in phase %s on %+v, want %+v", i, end, got, want)
		}
		l.keep(fmt.Sprintf("crash-%d", i))
		if i < *upgrades-1 {
			l.back()
		}
	}
	t.Logf("%d moments: %v", *moments, outcomes)
}

// suffer follows the upgrade to its end and does harm on the way.
func (l *lab) suffer(p *process, harms []harm) upgrade.Phase {
	l.Helper()
	ends := []upgrade.Phase{upgrade.Upgraded, upgrade.RolledBack, upgrade.UpgradeFailed, upgrade.PrepFailed, upgrade.RollbackFailed}
	l.follow("to end", func(s upgrade.State, r journal.Record) bool {
		for _, h := range harms {
			if h.after == events.TypeOf(r.Event) {
				l.hurt(p, h)
			}
		}
		return slices.Contains(ends, s.Phase)
	})
	if l.state.Phase == upgrade.RollbackFailed {
		l.Fatalf("the way back failed: %+v", l.state.Failure)
	}
	return l.state.Phase
}

// hurt does harm.
func (l *lab) hurt(p *process, h harm) {
	l.Helper()
	select {
	case <-l.Context().Done():
		return
	case <-time.After(h.delay):
	}
	code, err := 0, error(nil)
	switch h.victim {
	case pipeline:
		p.kill()
		p.start()
	case power:
		err = sandbox.PowerCut(l.Context(), l.w.Sandbox)
	default:
		_, _, code, err = sandbox.Exec(l.Context(), l.w.Sandbox, victims[h.victim], nil)
	}
	// An error or a code means that the node was between two boots, or the victim did not run.
	l.Logf("--- %s after %s: killed %s: code %d %v", h.delay.Round(time.Millisecond), h.after.Short(), h.victim, code, err)
}

// back returns from wherever the upgrade ended to Idle on the old root.
func (l *lab) back() {
	l.Helper()
	if l.state.Phase == upgrade.Upgraded {
		l.ask(events.StageRollback)
		if p := l.settle(upgrade.RolledBack, upgrade.RollbackFailed); p != upgrade.RolledBack {
			l.Fatalf("the way back failed: %+v", l.state.Failure)
		}
		l.verify()
	}
	l.ask(events.StageIdle)
	if p := l.settle(upgrade.Idle, upgrade.CleanupFailed); p != upgrade.Idle {
		l.Fatalf("cleaning up failed: %+v", l.state.Failure)
	}
	l.condition(v1.Idle, v1.ReasonIdle)
}

// process hosts journal and pipeline.
type process struct {
	l   *lab
	cmd *exec.Cmd
}

// host starts the process; it ends with the test.
func (l *lab) host() *process {
	l.Helper()
	p := &process{l: l}
	p.start()
	l.Cleanup(p.kill)
	return p
}

func (p *process) start() {
	p.l.Helper()
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), hostOf+"="+p.l.w.Dir)
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
