package crash_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/host/hosttest"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
	"github.com/reroot-dev/reroot/test/crash"
	"github.com/reroot-dev/reroot/test/lab/build"
)

// limit bounds a life, many times over: it takes a second or two.
const limit = 2 * time.Minute

// Actions of a fault plan.
const (
	fails  = "error"
	killed = "kill"
	reset  = "reboot"
)

// row is one fault of one life.
type row struct {
	story  crash.Story
	point  string
	action string
}

// rows are the matrix: every point of every plan, and those within the regeneration of keys, in each of the three ways,
// in the story that comes by there.
func rows() []row {
	points := step.All(step.Node{}).Points()
	for _, p := range crash.CryptoPoints {
		points = append(points, crash.CryptoPoint(p))
	}
	slices.Sort(points)
	var all []row
	for _, p := range points {
		story := crash.Upgrade
		if strings.HasPrefix(p, "rollback.") {
			story = crash.Rollback
		}
		for _, action := range []string{fails, killed, reset} {
			all = append(all, row{story, p, action})
		}
	}
	return all
}

// confirmed says whether the life ends on the new root. A crash changes nothing about where a story ends. A step that
// fails brings the node back to the old root, unless it is of cleaning up, which is asked for again.
func (r row) confirmed() bool {
	cleaning := strings.HasPrefix(r.point, "cleanup.")
	// The machine goes down already: nobody is left to care about the error.
	late := r.point == "pivot.after-"+step.Reboot
	return r.story == crash.Upgrade && (r.action != fails || cleaning || late)
}

// TestMatrix lives one life for each row.
func TestMatrix(t *testing.T) {
	lab := newLab(t)
	for _, r := range rows() {
		t.Run(r.point+" "+r.action, func(t *testing.T) {
			t.Parallel()
			n := lab.node(t, r.story)
			n.live(r.point+" "+r.action+"\n", r.action == reset)
			n.endsOn(r.confirmed())
		})
	}
}

// TestKilledEverywhere kills the executor at every point of one life.
func TestKilledEverywhere(t *testing.T) {
	lab := newLab(t)
	for _, story := range []crash.Story{crash.Upgrade, crash.Rollback} {
		t.Run(string(story), func(t *testing.T) {
			t.Parallel()
			var plan strings.Builder
			for _, r := range rows() {
				if r.action == killed && r.on(story) {
					plan.WriteString(r.point + " kill\n")
				}
			}
			n := lab.node(t, story)
			n.live(plan.String(), false)
			n.endsOn(story == crash.Upgrade)
		})
	}
}

// on says whether a story comes by a row's point.
func (r row) on(story crash.Story) bool {
	switch {
	case story == crash.Upgrade:
		return !strings.HasPrefix(r.point, "rollback.")
	default:
		return !strings.HasPrefix(r.point, "confirm.")
	}
}

// lab is what all lives share: the program, and a disk to begin with.
type lab struct {
	program  string
	template string
	config   crash.Config
}

var program = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	out := filepath.Join(cache, "reroot", "own", "crash-node")
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return "", err
	}
	return out, build.Program(context.Background(), build.ModulePath+"/test/crash/cmd/crash-node", out, "faultinject")
})

func newLab(t *testing.T) *lab {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	dir := hosttest.Dir(t)
	disk := filepath.Join(dir, "sysroot")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	sysroot := hosttest.NewIn(t, disk)
	first := sysroot.MustDeploy(t, "rhcos_4.17.0", sysroot.Commit(t, "4.17.0", nil))
	seed := sysroot.Commit(t, "4.18.0", nil)
	return &lab{program: path, template: disk, config: crash.Config{
		Ostree: sysroot.Ostree,
		Old:    events.Deployment{Stateroot: first.Stateroot, Commit: first.Commit, Serial: first.Serial},
		New:    events.Deployment{Stateroot: "rhcos_4.18.0", Commit: seed},
	}}
}

// node is one node and its life.
type node struct {
	*testing.T
	crash.Dir
	config  crash.Config
	program string
}

func (l *lab) node(t *testing.T, story crash.Story) *node {
	t.Helper()
	n := &node{T: t, Dir: crash.Dir(hosttest.Dir(t)), config: l.config, program: l.program}
	n.config.Story = story
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", l.template, string(n.Dir)).CombinedOutput(); err != nil {
		t.Fatalf("cannot copy the disk: %v %s", err, out)
	}
	if err := n.Make(n.config); err != nil {
		t.Fatal(err)
	}
	return n
}

// live lives the life, with faults that all have to happen.
func (n *node) live(plan string, resets bool) {
	n.Helper()
	if err := os.WriteFile(n.Plan(), []byte(plan), 0o600); err != nil {
		n.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(n.Context(), limit)
	defer cancel()
	var log bytes.Buffer
	err := crash.Life{Dir: n.Dir, Program: n.program, Log: &locked{w: &log}, Resets: resets}.Run(ctx)
	n.Cleanup(func() {
		if n.Failed() {
			n.Logf("what happened:\n%s", log.Bytes())
		}
	})
	if err != nil {
		n.Fatalf("the story does not end: %v", err)
	}
	text, err := os.ReadFile(n.Plan())
	if err != nil {
		n.Fatal(err)
	}
	// A rollback that was decided on is the watchdog's business, too: when it is first, the executor does not come by
	// the rest of its steps.
	overtaken := bytes.Contains(log.Bytes(), []byte("going back to the old root"))
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !(overtaken && strings.HasPrefix(line, "rollback.")) {
			n.Errorf("did not happen: %s", line)
		}
	}
}

// endsOn checks what is promised.
func (n *node) endsOn(confirmed bool) {
	n.Helper()
	root := n.config.Old
	if confirmed {
		root = n.config.New
	}
	boot, err := n.Boot()
	if err != nil || boot.Booted != root {
		n.Errorf("booted is %+v, want %+v (%v)", boot.Booted, root, err)
	}
	list, err := n.Host(n.config).Status(n.Context())
	if err != nil || len(list) != 1 || list[0].Stateroot != root.Stateroot || list[0].Commit != root.Commit {
		n.Errorf("deployments are %+v, want only %+v (%v)", list, root, err)
	}
	stateroots, err := filepath.Glob(filepath.Join(n.Disk(), "ostree", "deploy", "*"))
	if diff := cmp.Diff([]string{filepath.Join(n.Disk(), "ostree", "deploy", root.Stateroot)}, stateroots); err != nil || diff != "" {
		n.Errorf("stateroots: %v\n%s", err, diff)
	}
	if _, err := n.Watchdog().Read(); !errors.Is(err, watchdog.ErrUnarmed) {
		n.Errorf("the watchdog is armed: %v", err)
	}
	s, err := ledger.Read(n.Ledger())
	if err != nil || slices.ContainsFunc(s.Jobs, ledger.Job.Open) {
		n.Errorf("jobs are open: %+v %v", s.Jobs, err)
	}
	n.told(confirmed)
}

// told checks the facts: valid, in one chain, unchanged when they were sent again, and true.
func (n *node) told(confirmed bool) {
	n.Helper()
	facts, err := n.Hub(n.config).Facts()
	if err != nil {
		n.Fatal(err)
	}
	var names []string
	prev := ""
	for _, f := range facts {
		names = append(names, events.TypeOf(f).Short())
		if p := events.Validate(f); p != nil {
			n.Errorf("%s is not valid: %v", f.Type(), p)
		}
		if got, _ := f.Extensions()[events.ExtNodePrevHash].(string); got != prev {
			n.Errorf("%s follows %q, want %q", f.Type(), got, prev)
		}
		if prev, err = events.Hash(f); err != nil {
			n.Error(err)
		}
	}
	changed, err := n.Hub(n.config).Changed()
	if err != nil || len(changed) > 0 {
		n.Errorf("facts have changed when they were sent again: %v %v", changed, err)
	}
	has := func(t events.Type) bool { return slices.Contains(names, t.Short()) }
	if confirmed != (has(events.TypeConfirmCompleted) && !has(events.TypeNodeRollbackCompleted)) {
		n.Errorf("facts are %v; confirmed: %t", names, confirmed)
	}
	if !confirmed && has(events.TypePivotCompleted) && !has(events.TypeNodeRollbackCompleted) {
		n.Errorf("the node came back and did not say so: %v", names)
	}
	n.Logf("facts: %v", names)
}

// locked lets several write.
type locked struct {
	mu sync.Mutex
	w  *bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}
