package watchdog_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

var (
	oldRoot = events.Deployment{Stateroot: "rhcos", Commit: "a"}
	newRoot = events.Deployment{Stateroot: "rhcos_4.17.0", Commit: "b", Serial: 1}
)

func armed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := watchdog.Dir(dir).Arm(oldRoot, newRoot, time.Minute); err != nil {
		t.Fatal(err)
	}
	return dir
}

func phase(t *testing.T, dir string) watchdog.Phase {
	t.Helper()
	r, err := watchdog.Dir(dir).Read()
	if err != nil {
		t.Fatal(err)
	}
	return r.Phase
}

func TestUnarmed(t *testing.T) {
	dir := t.TempDir()
	for name, f := range map[string]func() error{
		"read":    func() error { _, err := watchdog.Dir(dir).Read(); return err },
		"confirm": func() error { return watchdog.Dir(dir).Confirm() },
		"give up": func() error { _, err := watchdog.Dir(dir).GiveUp("x"); return err },
	} {
		if err := f(); !errors.Is(err, watchdog.ErrUnarmed) {
			t.Errorf("%s: %v, want %v", name, err, watchdog.ErrUnarmed)
		}
	}
	if err := watchdog.Dir(dir).Disarm(); err != nil {
		t.Error(err)
	}
}

func TestFirstWins(t *testing.T) {
	confirm := armed(t)
	if err := watchdog.Dir(confirm).Confirm(); err != nil {
		t.Fatal(err)
	}
	if r, err := watchdog.Dir(confirm).GiveUp("late"); err != nil || r.Phase != watchdog.Confirmed {
		t.Errorf("giving up a confirmed root: %+v, %v", r, err)
	}
	if err := watchdog.Dir(confirm).Confirm(); err != nil {
		t.Errorf("confirming again: %v", err)
	}
	giveUp := armed(t)
	if _, err := watchdog.Dir(giveUp).GiveUp("too late"); err != nil {
		t.Fatal(err)
	}
	if err := watchdog.Dir(giveUp).Confirm(); !errors.Is(err, watchdog.ErrGivenUp) {
		t.Errorf("confirming a root that was given up: %v, want %v", err, watchdog.ErrGivenUp)
	}
	if got := phase(t, giveUp); got != watchdog.GivenUp {
		t.Errorf("phase %s", got)
	}
}

func TestArmAgainKeepsWhatIsUsed(t *testing.T) {
	dir := armed(t)
	if _, err := watchdog.Dir(dir).GiveUp("x"); err != nil {
		t.Fatal(err)
	}
	if err := watchdog.Dir(dir).Arm(oldRoot, newRoot, time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := phase(t, dir); got != watchdog.Armed {
		t.Errorf("a new attempt is %s", got)
	}
	before, err := os.ReadFile(filepath.Join(dir, "watchdog.a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := watchdog.Dir(dir).Arm(oldRoot, newRoot, time.Hour); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(filepath.Join(dir, "watchdog.a"))
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("arming what is armed has changed the record (%v)", err)
	}
}

// TestEitherCopySurvives damages one copy in several ways: the record stays readable and the next write mends the copy.
func TestEitherCopySurvives(t *testing.T) {
	damage := map[string]func(path string) error{
		"lost":      os.Remove,
		"empty":     func(p string) error { return os.Truncate(p, 0) },
		"torn":      func(p string) error { return os.Truncate(p, 40) },
		"zeroed":    func(p string) error { return os.WriteFile(p, make([]byte, 4096), 0o600) },
		"one digit": func(p string) error { return flip(p, 30) },
	}
	for name, harm := range damage {
		for _, file := range []string{"watchdog.a", "watchdog.b"} {
			t.Run(name+" "+file, func(t *testing.T) {
				dir := armed(t)
				if err := harm(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
				if got := phase(t, dir); got != watchdog.Armed {
					t.Fatalf("phase %s", got)
				}
				if err := watchdog.Dir(dir).Confirm(); err != nil {
					t.Fatal(err)
				}
				other := map[string]string{"watchdog.a": "watchdog.b", "watchdog.b": "watchdog.a"}[file]
				if err := harm(filepath.Join(dir, other)); err != nil {
					t.Fatal(err)
				}
				if got := phase(t, dir); got != watchdog.Confirmed {
					t.Errorf("the mended copy says %s", got)
				}
			})
		}
	}
}

func TestBothCopiesDamaged(t *testing.T) {
	dir := armed(t)
	for _, file := range []string{"watchdog.a", "watchdog.b"} {
		if err := flip(filepath.Join(dir, file), 30); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := watchdog.Dir(dir).Read(); !errors.Is(err, watchdog.ErrDamaged) {
		t.Errorf("read: %v, want %v", err, watchdog.ErrDamaged)
	}
}

// TestTornWrite: the first copy of a newer record is cut off at every byte; the older one in the other copy counts.
func TestTornWrite(t *testing.T) {
	dir := armed(t)
	a := filepath.Join(dir, "watchdog.a")
	before, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := watchdog.Dir(dir).Confirm(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "watchdog.b"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	end := bytes.IndexByte(after, '\n')
	for n := range end + 1 {
		if err := os.WriteFile(a, append(bytes.Clone(after[:n]), before[n:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		want := watchdog.Armed
		if bytes.Equal(after[:end], append(bytes.Clone(after[:n]), before[n:]...)[:end]) {
			want = watchdog.Confirmed
		}
		if got := phase(t, dir); got != want {
			t.Fatalf("after %d bytes the phase is %s, want %s", n, got, want)
		}
	}
}

// TestRace has processes confirm and give up at the same time, again and again: exactly one of the two wins, and both
// know which.
func TestRace(t *testing.T) {
	if dir := os.Getenv("WATCHDOG_TEST_DIR"); dir != "" {
		os.Exit(race(dir, os.Getenv("WATCHDOG_TEST_ROLE")))
	}
	won := map[watchdog.Phase]int{}
	for range 8 {
		dir := armed(t)
		var wg sync.WaitGroup
		codes := map[string]int{}
		var mu sync.Mutex
		for _, role := range []string{"confirm", "give-up"} {
			wg.Go(func() {
				cmd := exec.Command(os.Args[0], "-test.run=^TestRace$")
				cmd.Env = append(os.Environ(), "WATCHDOG_TEST_DIR="+dir, "WATCHDOG_TEST_ROLE="+role)
				err := cmd.Run()
				mu.Lock()
				defer mu.Unlock()
				if codes[role] = cmd.ProcessState.ExitCode(); codes[role] > 1 {
					t.Errorf("%s: %v", role, err)
				}
			})
		}
		wg.Wait()
		p := phase(t, dir)
		won[p]++
		wantConfirm, wantGiveUp := 0, 1
		if p == watchdog.GivenUp {
			wantConfirm, wantGiveUp = 1, 0
		}
		if codes["confirm"] != wantConfirm || codes["give-up"] != wantGiveUp {
			t.Errorf("the record says %s; confirm ended with %d, giving up with %d", p, codes["confirm"], codes["give-up"])
		}
	}
	t.Logf("won: %v", won)
}

// race returns 0 when the role won, 1 when it lost, 2 when something else happened.
func race(dir, role string) int {
	if role == "confirm" {
		switch err := watchdog.Dir(dir).Confirm(); {
		case err == nil:
			return 0
		case errors.Is(err, watchdog.ErrGivenUp):
			return 1
		}
		return 2
	}
	r, err := watchdog.Dir(dir).GiveUp("test")
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 2
	case r.Phase == watchdog.GivenUp:
		return 0
	}
	return 1
}

func flip(path string, at int) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(path, b, 0o600)
}
