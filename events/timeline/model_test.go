package timeline_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/timeline"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/test/golden"
)

// TestTimelines plays each script in testdata. A script holds comments (#), events ("> type field=value"), reports
// ("~ of step state fraction detail"), notes ("! text") and frames ("= seconds since the last event"); below each
// stands what the model says: its line, or the block.
func TestTimelines(t *testing.T) {
	golden.Scripts(t, "testdata", func(t *testing.T, script string) string {
		p := player{t: t, model: timeline.New(upgradetest.Cluster), story: &upgradetest.Story{Upgrade: "up-1"}}
		return p.play(script)
	})
}

// width of the frames.
const width = 78

type player struct {
	t     *testing.T
	model *timeline.Model
	story *upgradetest.Story
	now   time.Time
	out   bytes.Buffer
}

func (p *player) play(script string) string {
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		words := strings.Fields(line)
		if line == "" || strings.HasPrefix(line, "    ") {
			continue
		}
		if p.out.Len() > 0 && words[0] != ">" {
			p.out.WriteByte('\n')
		}
		fmt.Fprintln(&p.out, line)
		switch words[0] {
		case ">":
			p.event(words[1:])
			p.show(p.model.Line())
		case "~":
			p.report(words[1:])
			p.show(p.model.Line())
		case "!":
			p.model.Note(line[2:])
			p.show(p.model.Line())
		case "=":
			after, err := time.ParseDuration(words[1])
			if err != nil {
				p.t.Fatal(err)
			}
			p.show(p.model.Render(width, p.now.Add(after))...)
		}
	}
	return p.out.String()
}

func (p *player) show(lines ...string) {
	for _, line := range lines {
		fmt.Fprintln(&p.out, "    "+line)
	}
}

func (p *player) event(words []string) {
	e := p.story.Say(p.model.State(), words)
	if err := p.model.Event(journal.Record{Event: e, Hash: "h" + e.ID()}); err != nil {
		p.t.Fatal(err)
	}
	p.now = events.Recorded(e)
}

func (p *player) report(words []string) {
	r := events.StepProgressed{Of: words[0], Step: strings.ReplaceAll(words[1], "_", " "), State: events.StepState(words[2])}
	if _, err := fmt.Sscan(words[3], &r.Fraction); err != nil {
		p.t.Fatal(err)
	}
	r.Detail = strings.Join(words[4:], " ")
	p.model.Progress(events.New(events.TypeStepProgressed, "r", upgradetest.Cluster, "node", p.story.Upgrade, r))
}

func TestHostileText(t *testing.T) {
	m, y := timeline.New(upgradetest.Cluster), &upgradetest.Story{Upgrade: "up-1"}
	tell := func(typ events.Type, over map[string]any) {
		e := y.Tell(m.State(), typ, over)
		if err := m.Event(journal.Record{Event: e, Hash: "h"}); err != nil {
			t.Fatal(err)
		}
	}
	const evil = "\x1b]0;owned\x07\r\x1b[2J\u009b31m\u202e"
	tell(events.TypeUpgradeRequested, nil)
	tell(events.TypePrepStarted, nil)
	m.Progress(events.New(events.TypeStepProgressed, "r", upgradetest.Cluster, "runtime", "up-1",
		events.StepProgressed{Of: "validate", Step: "prep.started", State: events.StepWaiting, Detail: evil}))
	lines := append(m.Render(0, upgradetest.Epoch), m.Line())
	tell(events.TypePrepFailed, map[string]any{"message": evil, "next": evil})
	lines = append(append(lines, m.Line()), m.Render(0, upgradetest.Epoch)...)
	for _, line := range lines {
		if strings.ContainsAny(line, "\x1b\x07\r\n\u009b\u202e") {
			t.Errorf("a terminal would obey %q", line)
		}
	}
}

func TestForeignReports(t *testing.T) {
	m, y := timeline.New(upgradetest.Cluster), &upgradetest.Story{Upgrade: "up-1"}
	for _, typ := range upgradetest.Until(events.TypeSeedpullRequested) {
		e := y.Tell(m.State(), typ, nil)
		if err := m.Event(journal.Record{Event: e, Hash: "h"}); err != nil {
			t.Fatal(err)
		}
	}
	step := events.StepProgressed{Of: "node.seedpull.requested", Step: "fetch", State: events.StepRunning, Fraction: 0.5}
	line := m.Line()
	for name, e := range map[string]events.StepProgressed{
		"of another phase": {Of: "node.cleanup.requested", Step: "fetch", State: events.StepRunning},
		"of a function that waited for something before": {Of: "validate", Step: "prep.started", State: events.StepWaiting},
	} {
		m.Progress(events.New(events.TypeStepProgressed, "r", upgradetest.Cluster, "node", "up-1", e))
		if m.Line() != line {
			t.Errorf("%s: the line is %q", name, m.Line())
		}
	}
	m.Progress(events.New(events.TypeStepProgressed, "r", upgradetest.Cluster, "node", "up-0", step))
	m.Progress(events.New(events.TypeClusterChanged, "r", upgradetest.Cluster, "source", "up-1", events.ClusterChanged{Object: "a/b/c"}))
	if m.Line() != line {
		t.Errorf("of another upgrade, or no report: the line is %q", m.Line())
	}
	m.Progress(events.New(events.TypeStepProgressed, "r", upgradetest.Cluster, "node", "up-1", step))
	if !strings.Contains(m.Line(), "fetch") {
		t.Errorf("of this command: the line is %q", m.Line())
	}
}

func TestColor(t *testing.T) {
	m, y := timeline.New(upgradetest.Cluster), &upgradetest.Story{Upgrade: "up-1"}
	for _, typ := range upgradetest.GoodPath {
		e := y.Tell(m.State(), typ, nil)
		if err := m.Event(journal.Record{Event: e, Hash: "h"}); err != nil {
			t.Fatal(err)
		}
	}
	now := events.Recorded(y.Tell(m.State(), events.TypeIdleReached, nil))
	bare := m.Render(width, now)
	m.Color = true
	painted := m.Render(width, now)
	if got := strings.Join(painted, "\n"); !strings.Contains(got, "\x1b[32moutcome: upgraded") {
		t.Errorf("success is not green: %q", got)
	}
	strip := strings.NewReplacer("\x1b[31m", "", "\x1b[32m", "", "\x1b[33m", "", "\x1b[0m", "")
	if diff := cmp.Diff(bare, strings.Split(strip.Replace(strings.Join(painted, "\n")), "\n")); diff != "" {
		t.Errorf("colour changes the text: %s", diff)
	}
}

func TestElapsed(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0.0s"},
		{400 * time.Millisecond, "0.4s"},
		{59940 * time.Millisecond, "59.9s"},
		{59960 * time.Millisecond, "1m00s"},
		{123 * time.Second, "2m03s"},
		{59*time.Minute + 59*time.Second, "59m59s"},
		{time.Hour + 5*time.Minute, "1h05m"},
		{76 * time.Hour, "3d04h"},
	} {
		if got := timeline.Elapsed(tt.d); got != tt.want {
			t.Errorf("Elapsed(%s) = %s, want %s", tt.d, got, tt.want)
		}
	}
}
