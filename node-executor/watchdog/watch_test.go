package watchdog_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// machine is a watchdog.Host whose clock is the bubble's.
type machine struct {
	boot    string
	started time.Time
	broken  int  // calls of SetDefault that fail
	hangs   bool // an orderly reboot does not come about
	cut     cut  // the power
	trace   []string
	down    context.CancelFunc
}

// cut is where the power is cut.
type cut int

const (
	nowhere cut = iota
	beforeDefault
	beforeReboot
)

func (m *machine) BootID() (string, error)          { return m.boot, nil }
func (m *machine) BootTime() (time.Duration, error) { return time.Since(m.started), nil }

func (m *machine) SetDefault(_ context.Context, stateroot, commit string, serial int) error {
	if m.cut == beforeDefault {
		m.down()
		return context.Canceled
	}
	if m.broken > 0 {
		m.broken--
		return errors.New("ostree is busy")
	}
	if len(m.trace) == 0 {
		m.trace = append(m.trace, fmt.Sprintf("default %s %s.%d", stateroot, commit, serial))
	}
	return nil
}

func (m *machine) Reboot(context.Context, string) error {
	if m.cut == beforeReboot {
		m.down()
		return context.Canceled
	}
	m.trace = append(m.trace, "reboot")
	if !m.hangs {
		m.down()
	}
	return nil
}

func (m *machine) Reset() error {
	m.trace = append(m.trace, "reset")
	m.down()
	return nil
}

func watch(t *testing.T, dir string, m *machine, until time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), until)
	defer cancel()
	m.down, m.started = cancel, time.Now()
	return watchdog.Dir(dir).Watch(ctx, m, slog.New(slog.DiscardHandler))
}

func TestWatch(t *testing.T) {
	back := "default rhcos a.0"
	for name, tc := range map[string]struct {
		machine machine
		want    []string
	}{
		"goes back":                            {machine{}, []string{back, "reboot"}},
		"keeps trying":                         {machine{broken: 10}, []string{back, "reboot"}},
		"resets when the reboot does not come": {machine{hangs: true}, []string{back, "reboot", "reset"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, m := armed(t), tc.machine
				m.boot = "b1"
				start := time.Now()
				if err := watch(t, dir, &m, time.Hour); !errors.Is(err, context.Canceled) {
					t.Errorf("watch: %v", err)
				}
				if diff := cmp.Diff(tc.want, m.trace); diff != "" {
					t.Error(diff)
				}
				if took := time.Since(start); took < time.Minute || took > 10*time.Minute {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

func TestWatchEndsWhenConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, m := armed(t), machine{boot: "b1"}
		time.AfterFunc(30*time.Second, func() {
			if err := watchdog.Dir(dir).Confirm(); err != nil {
				t.Error(err)
			}
		})
		if err := watch(t, dir, &m, time.Hour); err != nil || len(m.trace) > 0 {
			t.Errorf("watch: %v, %v", err, m.trace)
		}
	})
}

func TestWatchWithNothingToWatch(t *testing.T) {
	if err := watchdog.Dir(t.TempDir()).Watch(t.Context(), &machine{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

// TestBudgetIsSummedOverBoots: power cuts do not refill it.
func TestBudgetIsSummedOverBoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := armed(t) // a minute
		for _, boot := range []string{"b1", "b2"} {
			m := machine{boot: boot}
			if err := watch(t, dir, &m, 25*time.Second); !errors.Is(err, context.DeadlineExceeded) || len(m.trace) > 0 {
				t.Fatalf("%s: %v, %v", boot, err, m.trace)
			}
			time.Sleep(24 * time.Hour) // switched off
		}
		m, start := machine{boot: "b3"}, time.Now()
		if err := watch(t, dir, &m, time.Hour); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 8*time.Second || took > 16*time.Second {
			t.Errorf("the third boot had %s", took)
		}
	})
}

func TestFourthBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := armed(t)
		for _, boot := range []string{"b1", "b2", "b3"} {
			m := machine{boot: boot}
			if err := watch(t, dir, &m, time.Second); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		m, start := machine{boot: "b4"}, time.Now()
		if err := watch(t, dir, &m, time.Hour); !errors.Is(err, context.Canceled) || time.Since(start) > time.Second {
			t.Errorf("the fourth boot lasted %s: %v", time.Since(start), err)
		}
	})
}

// TestGoesBackAfterAPowerCut: what was given up stays given up, also when the new root boots once more because the power
// was cut on the way back.
func TestGoesBackAfterAPowerCut(t *testing.T) {
	for name, where := range map[string]cut{"before the old root is the default": beforeDefault, "before the reboot": beforeReboot} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := armed(t)
				if err := watch(t, dir, &machine{boot: "b1", cut: where}, time.Hour); !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				if got := phase(t, dir); got != watchdog.GivenUp {
					t.Errorf("after the power cut: phase %s", got)
				}
				if err := watchdog.Dir(dir).Confirm(); !errors.Is(err, watchdog.ErrGivenUp) {
					t.Errorf("confirming after the power cut: %v, want %v", err, watchdog.ErrGivenUp)
				}
				m, start := machine{boot: "b2"}, time.Now()
				if err := watch(t, dir, &m, time.Hour); !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				if diff := cmp.Diff([]string{"default rhcos a.0", "reboot"}, m.trace); diff != "" || time.Since(start) > time.Second {
					t.Errorf("the second boot lasted %s:\n%s", time.Since(start), diff)
				}
			})
		})
	}
}
