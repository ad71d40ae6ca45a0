package upgrade_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

var rewrite = flag.Bool("rewrite", false, "write what the scenarios say now into testdata; commit it only if you understand the difference")

// TestScenarios tells each history in testdata and compares what the fold says after every event. A file holds
// comments (#), events ("> type field=value …", value as JSON) and, below each event, the fold's answer.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := perform(t, string(want))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the fold answers differently (-want +got):\n%s", diff)
			}
		})
	}
}

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
	over := map[string]any{}
	for _, w := range words[1:] {
		k, v, _ := strings.Cut(w, "=")
		if k == "upgrade" {
			y.Upgrade = v
			continue
		}
		var value any
		if err := json.Unmarshal([]byte(v), &value); err != nil {
			value = v
		}
		over[k] = value
	}
	e := y.Tell(s, events.Expand(words[0]), over)
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
