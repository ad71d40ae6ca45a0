package solo_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/node-executor/cmd/reroot-node/solo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait.
const limit = 30 * time.Second

// tell writes a history up to the node's first command and returns its head.
func tell(t *testing.T, log journal.Log) journal.Head {
	t.Helper()
	story, state := &upgradetest.Story{Upgrade: "up-1"}, upgrade.New(upgradetest.Cluster)
	for _, kind := range []events.Type{events.TypeUpgradeRequested, events.TypePrepStarted, events.TypePrepValidated, events.TypeSeedpullRequested} {
		head := journal.Head{Sequence: state.Sequence, Hash: state.Hash}
		rs, err := log.Append(t.Context(), upgradetest.Cluster, head, story.Tell(state, kind, nil))
		if err != nil {
			t.Fatal(err)
		}
		if state, err = state.Apply(rs[0].Event, rs[0].Hash); err != nil {
			t.Fatal(err)
		}
	}
	return journal.Head{Sequence: state.Sequence, Hash: state.Hash}
}

func TestCheck(t *testing.T) {
	restart := events.New(events.TypeJournalRestarted, "restart", upgradetest.Cluster, "runtime", "up-1", events.JournalRestarted{Quarantined: "old", Message: "damaged"})
	for name, c := range map[string]struct {
		change func(t *testing.T, log journal.Log, seen *journal.Head)
		want   string // in the error, "" for none
	}{
		"as it was seen":    {func(*testing.T, journal.Log, *journal.Head) {}, ""},
		"nothing was seen":  {func(_ *testing.T, _ journal.Log, seen *journal.Head) { *seen = journal.Head{} }, ""},
		"less was seen":     {func(t *testing.T, log journal.Log, seen *journal.Head) { *seen = first(t, log) }, ""},
		"another one":       {func(_ *testing.T, _ journal.Log, seen *journal.Head) { seen.Hash = strings.Repeat("0", 64) }, "is not the one"},
		"its end is gone":   {func(_ *testing.T, _ journal.Log, seen *journal.Head) { seen.Sequence++ }, "ends at event 4, but the node has seen event 5"},
		"begun anew":        {func(t *testing.T, log journal.Log, _ *journal.Head) { mustRestart(t, log, restart) }, ""},
		"an impossible end": {impossible, "cannot fold event 5"},
	} {
		t.Run(name, func(t *testing.T) {
			log := journal.NewMemory(nil)
			seen := tell(t, log)
			c.change(t, log, &seen)
			err := solo.Check(t.Context(), log, upgradetest.Cluster, seen)
			if c.want == "" && err != nil {
				t.Errorf("it is damaged: %v", err)
			}
			var damage *solo.DamageError
			if c.want != "" && (!errors.As(err, &damage) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want damage: %s", err, c.want)
			}
		})
	}
}

func first(t *testing.T, log journal.Log) journal.Head {
	for r, err := range log.Read(t.Context(), upgradetest.Cluster, 1) {
		if err != nil {
			t.Fatal(err)
		}
		return r.Head()
	}
	t.Fatal("there is no history")
	return journal.Head{}
}

func mustRestart(t *testing.T, log journal.Log, e event.Event) {
	if _, err := log.Restart(t.Context(), upgradetest.Cluster, e); err != nil {
		t.Fatal(err)
	}
}

// impossible appends what no state allows.
func impossible(t *testing.T, log journal.Log, seen *journal.Head) {
	e := events.New(events.TypeUpgradeCompleted, "never", upgradetest.Cluster, "functions/restore", "up-1", events.UpgradeCompleted{Booted: upgradetest.NewRoot})
	if _, err := log.Append(t.Context(), upgradetest.Cluster, *seen, e); err != nil {
		t.Fatal(err)
	}
}

// served is a host with functions that only say whether they run.
type served struct {
	*solo.Host
	t       *testing.T
	store   chan journal.Store // of the functions that run
	command chan event.Event   // what the executor received
	log     *log
}

// serve runs a host on a directory until the test ends, or stop is called.
func serve(t *testing.T, dir string, seen journal.Head) (s served, stop func()) {
	t.Helper()
	s = served{t: t, store: make(chan journal.Store, 8), command: make(chan event.Event, 8), log: &log{grown: make(chan struct{}, 1)}}
	s.Host = &solo.Host{
		Cluster: upgradetest.Cluster, Dir: dir, Pause: 10 * time.Millisecond,
		Seen: func() journal.Head { return seen },
		Functions: func(ctx context.Context, store journal.Store) error {
			s.store <- store
			<-ctx.Done()
			return nil
		},
		Log: slog.New(slog.NewTextHandler(s.log, nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	running.Go(func() {
		_ = s.Receive(ctx, func(_ context.Context, e event.Event, _ string) error { s.command <- e; return nil })
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Logf("log:\n%s", s.log)
		}
	})
	return s, stop
}

func TestServed(t *testing.T) {
	dir := t.TempDir()
	s, stop := serve(t, dir, journal.Head{})
	seen := tell(t, await(s, s.store, "functions"))
	if e := await(s, s.command, "a command"); events.TypeOf(e) != events.TypeSeedpullRequested {
		t.Errorf("the executor gets %s", e.Type())
	}
	if err := s.Submit(t.Context(), fact()); err != nil {
		t.Errorf("the fact is not taken: %v", err)
	}
	stop()
	// What the node has seen is there when the process starts again.
	s, _ = serve(t, dir, seen)
	await(s, s.store, "functions")
}

// TestHeld: on a journal that is not what the ledger says it was, no function runs and no fact is taken; the executor
// is left to its ledger.
func TestHeld(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"lost": func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		},
		"end cut off": func(t *testing.T, dir string) {
			file, b := block(t, dir)
			write(t, file, b[:len(b)-8])
		},
		"changed in the middle": func(t *testing.T, dir string) {
			file, b := block(t, dir)
			write(t, file, append(b[:len(b)/2:len(b)/2], append([]byte("damage"), b[len(b)/2+6:]...)...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "journal")
			s, stop := serve(t, dir, journal.Head{})
			seen := tell(t, await(s, s.store, "functions"))
			stop()
			spoil(t, dir)
			s, _ = serve(t, dir, seen)
			s.says("reason=JournalCorrupt")
			if err := s.Submit(t.Context(), fact()); !errors.Is(err, solo.ErrAway) {
				t.Errorf("the fact is taken: %v", err)
			}
			if n := len(s.store) + len(s.command); n != 0 {
				t.Errorf("functions or commands came %d times", n)
			}
		})
	}
}

// block is the file that holds the history of a journal in dir, and its content. Without the index beside it, which is
// removed, the server goes by what is in it.
func block(t *testing.T, dir string) (file string, content []byte) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "UPGRADES", "msgs", "*.blk"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the history is in %v: %v", found, err)
	}
	if err := os.Remove(filepath.Join(filepath.Dir(found[0]), "index.db")); err != nil {
		t.Fatal(err)
	}
	content, err = os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return found[0], content
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAway: what keeps a journal from being opened may pass.
func TestAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	write(t, dir, nil)
	s, _ := serve(t, dir, journal.Head{})
	s.says("storage directory is not a directory")
	if err := s.Report(t.Context(), fact()); !errors.Is(err, solo.ErrAway) {
		t.Errorf("a report is taken: %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	await(s, s.store, "functions")
}

// TestMovedWhileOpen: a journal whose files are taken away under it stores nothing that would be there after a crash.
func TestMovedWhileOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	s, _ := serve(t, dir, journal.Head{})
	await(s, s.store, "functions")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	s.says("the journal's files are not in")
	await(s, s.store, "functions on a new journal")
}

// TestFull fills the disk under a running journal and makes room again.
func TestFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system of its own")
	}
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s, stop := serve(t, filepath.Join(disk, "journal"), journal.Head{})
	defer stop()
	store := await(s, s.store, "functions")
	tell(t, store)
	await(s, s.command, "a command")
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for err := error(nil); err == nil; { // the last block of the file system may have room for some
		err = store.Submit(short, "users", fact())
	}
	s.says("reason=NoSpace")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for taken := errors.New("not yet"); taken != nil; { // it may have come up once more before there was room
		await(s, s.store, "functions on the journal with room")
		taken = s.Submit(t.Context(), fact())
	}
}

func fact() event.Event {
	return events.New(events.TypeSeedpullFailed, "fact", upgradetest.Cluster, "node", "up-1", nil)
}

func await[T any](s served, c <-chan T, what string) T {
	s.t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		s.t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// says waits until the log says something.
func (s served) says(want string) {
	s.t.Helper()
	for !strings.Contains(s.log.String(), want) {
		await(s, s.log.grown, fmt.Sprintf("%q in the log", want))
	}
}

// log keeps what is logged.
type log struct {
	mu    sync.Mutex
	text  strings.Builder
	grown chan struct{} // has an element when something was logged since it was emptied
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
