package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
)

// moment is when harm is done, and to whom.
type moment struct {
	anchor
	fraction float64 // of the time between the anchor and the next event
	victim   string
}

// harm is what is done at a moment. It does not ask whether it hits anything: a victim that does not run then is a moment
// like any other.
type harm struct {
	after  events.Type   // in the history
	sight  sight         // that is waited for then, "" for none
	delay  time.Duration // after that
	victim string
}

func (h harm) String() string {
	after := h.after.Short()
	if h.sight != "" {
		after = string(h.sight)
	}
	return fmt.Sprintf("%s, %s after %s", h.victim, h.delay.Round(time.Millisecond), after)
}

// anchor is an event of the history and, where that is not enough to say when, what is to be seen on the API after it.
type anchor struct {
	after events.Type
	sight sight
}

// sight is something that shows on the cluster's API and in no history.
type sight string

const (
	newAPI       sight = "the new root's API answers"
	madeAgain    sight = "the resource was made again"
	sightPause         = 20 * time.Millisecond
	sightLimit         = 2 * time.Minute
	afterSight         = 300 * time.Millisecond // what projecting takes on an idle machine
	afterTheLast       = time.Second            // likewise, of what no event follows
)

// at are anchors without a sight.
func at(all ...events.Type) []anchor {
	var as []anchor
	for _, t := range all {
		as = append(as, anchor{after: t})
	}
	return as
}

// anchors are those of each part of an upgrade's life, in the order in which they come. There is a moment at one of each
// list: in an upgrade, one before the pivot and one after it.
var anchors = map[part][][]anchor{
	upgrading: {
		at(events.TypePrepStarted, events.TypeSeedpullRequested, events.TypeSeedpullCompleted, events.TypePrecacheCompleted,
			events.TypeUpgradeStarted, events.TypeBackupCompleted, events.TypeReconfigureRequested),
		append(at(events.TypePivotCompleted, events.TypeCryptoregenCompleted, events.TypeReconfigureCompleted, events.TypeManifestsApplied,
			events.TypeRestoreCompleted, events.TypeConfirmRequested, events.TypeConfirmCompleted, events.TypeUpgradeCompleted),
			anchor{events.TypeCryptoregenCompleted, newAPI}, anchor{events.TypeCryptoregenCompleted, madeAgain}),
	},
	failing: {at(events.TypeRestoreFailed, events.TypeUpgradeFailed, events.TypeRollbackStarted, events.TypeNodeRollbackRequested,
		events.TypeNodeRollbackCompleted, events.TypeRollbackCompleted)},
	goingBack: {at(events.TypeStageRequested, events.TypeRollbackStarted, events.TypeNodeRollbackRequested,
		events.TypeNodeRollbackCompleted, events.TypeRollbackCompleted)},
	cleaning: {at(events.TypeStageRequested, events.TypeFinalizeStarted, events.TypeCleanupRequested, events.TypeCleanupCompleted,
		events.TypeIdleReached)},
	aborting: {at(events.TypeStageRequested, events.TypeAbortStarted, events.TypeCleanupRequested, events.TypeCleanupCompleted)},
	keeping:  {at(events.TypeFinalizeStarted, events.TypeCleanupRequested, events.TypeCleanupCompleted)},
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

// round is one upgrade with its moments.
type round struct {
	life    life
	moments map[part][]moment
}

// draw draws what happens in n rounds: a moment for each list of anchors of each part. All anchors of a list have their
// turn before one comes again.
func draw(r *rand.Rand, n int) []round {
	names := slices.Sorted(maps.Keys(victims))
	decks := map[part][][]anchor{}
	for p, lists := range anchors {
		decks[p] = make([][]anchor, len(lists))
	}
	var all []round
	for i := range n {
		next := round{life: lives(i, n), moments: map[part][]moment{}}
		for _, p := range next.life {
			for i, deck := range decks[p] {
				if len(deck) == 0 {
					deck = slices.Clone(anchors[p][i])
					r.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
				}
				next.moments[p] = append(next.moments[p], moment{anchor: deck[0], fraction: r.Float64(), victim: names[r.IntN(len(names))]})
				decks[p][i] = deck[1:]
			}
		}
		all = append(all, next)
	}
	return all
}

// pace is how long it took, each time, from an event of a type to the next event.
type pace map[events.Type][]time.Duration

// recorded is the pace of the histories that package replay has of this lab. A run goes on with its own: see suffer.
func recorded(t *testing.T) pace {
	t.Helper()
	p := pace{}
	for _, name := range []string{"rollback", "finalize"} {
		file, err := os.Open(filepath.Join("..", "replay", "testdata", "v0", name+".ndjson"))
		if err != nil {
			t.Fatal(err)
		}
		log, err := journal.Import(file)
		if err = file.Close(); err != nil || log == nil {
			t.Fatalf("cannot read the recorded %s: %v", name, err)
		}
		clusters, err := log.Clusters(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range clusters {
			var before journal.Record
			for r, err := range log.Read(t.Context(), c, 1) {
				if err != nil {
					t.Fatal(err)
				}
				p.learn(before, r)
				before = r
			}
		}
	}
	return p
}

// learn adds how long it took between two records; the first is zero where there was none. How long a user takes is
// nobody's pace.
func (p pace) learn(before, r journal.Record) {
	asked := []events.Type{events.TypeUpgradeRequested, events.TypeStageRequested}
	if p != nil && before.Hash != "" && !slices.Contains(asked, events.TypeOf(r.Event)) {
		t := events.TypeOf(before.Event)
		p[t] = append(p[t], events.Recorded(r.Event).Sub(events.Recorded(before.Event)))
	}
}

// harm is what is done at a moment at this pace: the median, since now and then the node was still coming up.
func (p pace) harm(m moment) harm {
	whole := afterTheLast
	if took := slices.Sorted(slices.Values(p[m.after])); len(took) > 0 {
		whole = took[len(took)/2]
	}
	if m.sight != "" {
		whole = afterSight
	}
	return harm{after: m.after, sight: m.sight, delay: time.Duration(m.fraction * float64(whole)), victim: m.victim}
}

// hurt does harm, now that its event has come.
func (l *lab) hurt(p *process, h harm) {
	l.Helper()
	if h.sight != "" && !l.seen(h.sight) {
		l.Logf("--- %s: not seen", h.sight)
	}
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
	l.Logf("--- killed: %s: code %d %v", h, code, err)
}

// seen waits for a sight and says whether it came.
func (l *lab) seen(s sight) bool {
	ctx, cancel := context.WithTimeout(l.Context(), sightLimit)
	defer cancel()
	for {
		if l.look(ctx, s) == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(sightPause):
		}
	}
}

// look succeeds when the sight is there.
func (l *lab) look(ctx context.Context, s sight) error {
	now, err := l.w.API.Incarnation(ctx)
	if err != nil {
		return err
	}
	if now == l.incarnation {
		return fmt.Errorf("it is still %s", now)
	}
	if s == newAPI {
		return nil
	}
	u, err := l.resource(ctx)
	if err == nil && u.Annotations[v1.AnnotationUpgrade] != l.state.Upgrade {
		err = fmt.Errorf("it shows upgrade %q", u.Annotations[v1.AnnotationUpgrade])
	}
	return err
}
