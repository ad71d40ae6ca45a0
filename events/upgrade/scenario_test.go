package upgrade_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/test/golden"
)

// TestScenarios tells each history in testdata and compares what the fold says after every event. A file holds
// comments (#), events ("> type field=value …", value as JSON) and, below each event, the fold's answer.
func TestScenarios(t *testing.T) { golden.Scripts(t, "testdata", perform) }

func perform(t *testing.T, script string) string {
	var out bytes.Buffer
	s, y := upgrade.New(upgradetest.Cluster), &upgradetest.Story{Upgrade: "up-1"}
	for line := range strings.Lines(script) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&out, line)
			var answer string
			s, answer = take(t, s, y, strings.Fields(line[2:]))
			fmt.Fprintln(&out, "    "+answer)
		case line == "" || strings.HasPrefix(line, "#"):
			fmt.Fprintln(&out, line)
		case !strings.HasPrefix(line, "    "):
			t.Fatalf("cannot read the line %q", line)
		}
	}
	return out.String()
}

func take(t *testing.T, s upgrade.State, y *upgradetest.Story, words []string) (upgrade.State, string) {
	e := y.Say(s, words)
	if p := events.Validate(e); p != nil {
		t.Fatalf("%v: the scenario's event is invalid: %v", words, p)
	}
	next, err := s.Apply(e, "h"+e.ID())
	var refused *upgrade.GuardError
	switch {
	case errors.As(err, &refused):
		return s, fmt.Sprintf("refused %s: %s", refused.Reason, refused.Detail)
	case err != nil:
		t.Fatalf("%v: %v", words, err)
	}
	return next, describe(next)
}

func describe(s upgrade.State) string {
	parts := []string{string(s.Phase), fmt.Sprintf("next=%v", s.Phase.ValidNextStages())}
	for _, w := range s.Waits() {
		kind := "deadline"
		if w.Alert {
			kind = "alert"
		}
		parts = append(parts, fmt.Sprintf("%s=+%s", kind, w.Until.Sub(s.PhaseSince)))
	}
	if s.Booted != nil {
		parts = append(parts, "booted="+s.Booted.Stateroot)
	}
	if s.Confirmed {
		parts = append(parts, "confirmed")
	}
	if s.Overdue {
		parts = append(parts, "overdue")
	}
	if s.Failure != nil {
		parts = append(parts, "failure="+string(s.Failure.Reason))
	}
	if s.Trigger != "" {
		parts = append(parts, "trigger="+string(s.Trigger))
	}
	return strings.Join(parts, "  ")
}
