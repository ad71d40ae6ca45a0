package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

var slow = flag.Bool("slow", false, "run what takes minutes more, too: TestWatchdog")

// TestWatchdog has new roots that nobody confirms: the node goes back by itself, and says afterwards why.
func TestWatchdog(t *testing.T) {
	if !*slow {
		t.Skip("takes some minutes: -slow")
	}
	l, p := newHostedLab(t)
	home := l.booted()
	tests := []struct {
		name   string
		budget int                  // seconds
		leave  func(*lab, *process) // makes sure that nobody confirms
		why    string
	}{
		{"the executor is gone for good", 40, (*lab).stopExecutor, "it was not confirmed within 40s of powered-on time"},
		{"the new root does not stay up, and the hub is away", 300, (*lab).bootLoop, "it was booted 4 times without being confirmed"},
	}
	for i, tt := range tests {
		ok := t.Run(tt.name, func(t *testing.T) {
			l := l.of(t)
			id := fmt.Sprintf("unconfirmed-%d", i)
			spec := l.w.Spec()
			spec.InitMonitorTimeoutSeconds = tt.budget
			l.request(id, spec, events.StageUpgrade)
			tt.leave(l, p)
			if got := l.settle(upgrade.RolledBack, upgrade.Upgraded, upgrade.UpgradeFailed, upgrade.PrepFailed); got != upgrade.RolledBack {
				t.Fatalf("the upgrade ended in phase %s: %+v", got, l.state.Failure)
			}
			f := l.state.Failure
			if l.state.Trigger != events.TriggerWatchdog || f == nil || f.Reason != events.ReasonWatchdog || !strings.Contains(f.Message, tt.why) {
				t.Errorf("it was rolled back by %s because of %+v, want %s: %s", l.state.Trigger, f, events.TriggerWatchdog, tt.why)
			}
			if got := l.booted(); got != home {
				t.Errorf("booted is %+v, want %+v", got, home)
			}
			l.verify()
			u := l.condition(v1.UpgradeInProgress, v1.ReasonFailed)
			if !slices.ContainsFunc(u.Status.Conditions, func(c metav1.Condition) bool { return strings.Contains(c.Message, tt.why) }) {
				t.Errorf("no condition of the resource says %q: %+v", tt.why, u.Status.Conditions)
			}
			l.keep(id)
			l.idle()
			if got, want := l.stateroots(), []string{home.Stateroot}; !slices.Equal(got, want) {
				t.Errorf("stateroots are %v, want %v", got, want)
			}
		})
		if !ok {
			t.FailNow() // one node for all: it may still be at it
		}
	}
}

// stopExecutor stops the executor once it has said that it runs in the new root, so that it does not start again there.
func (l *lab) stopExecutor(*process) {
	l.Helper()
	came := l.follow("to leave the old root", func(_ upgrade.State, r journal.Record) bool {
		return slices.Contains([]events.Type{events.TypePivotCompleted, events.TypePivotFailed}, events.TypeOf(r.Event))
	})
	if events.TypeOf(came.Event) != events.TypePivotCompleted {
		l.Fatalf("there was no pivot: %s", came.Event.Data())
	}
	l.inside("systemctl", "mask", "--runtime", "--now", "reroot-node.service")
}

// bootLoop takes the hub away when the new root boots, cuts the power in every boot of it as soon as the watchdog has
// counted that, and brings the hub back when the old root runs.
func (l *lab) bootLoop(p *process) {
	l.Helper()
	l.await(events.TypeReconfigureRequested)
	l.eventually("the new root boots", l.runs(l.state.New.Stateroot))
	p.kill()
	dog := watchdog.Dir(filepath.Join(l.w.Target.Sysroot, "reroot"))
	cut := 0
	l.eventually("the watchdog gives the new root up", func(ctx context.Context) error {
		status, err := sandbox.State(ctx, l.w.Sandbox)
		if err != nil {
			return err
		}
		r, err := dog.Read()
		switch {
		case err != nil || r.Phase == watchdog.GivenUp:
			return err
		case r.Boots == cut+1 && r.BootID == status.BootID:
			cut++
			l.Logf("--- power cut in boot %d of the new root", r.Boots)
			err = sandbox.PowerCut(ctx, l.w.Sandbox)
		}
		return errors.Join(err, fmt.Errorf("it has counted %d boots", r.Boots))
	})
	if cut != watchdog.MaxBoots {
		l.Errorf("the power was cut %d times, want %d", cut, watchdog.MaxBoots)
	}
	l.eventually("the old root boots", l.runs(l.state.Old.Stateroot))
	p.start()
}

// runs tries to find that a stateroot's deployment runs.
func (l *lab) runs(stateroot string) func(context.Context) error {
	return func(ctx context.Context) error {
		s, err := sandbox.State(ctx, l.w.Sandbox)
		if err == nil && !(s.Ready && strings.HasPrefix(s.Deployment, "ostree/deploy/"+stateroot+"/")) {
			err = fmt.Errorf("boot %d, ready %t, is of %s", s.Number, s.Ready, s.Deployment)
		}
		return err
	}
}
