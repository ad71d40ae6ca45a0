package table_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events/cmd/reroot/reasons"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/table"
)

func TestREADMEIsGenerated(t *testing.T) {
	have, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := table.Fill(string(have))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), want); diff != "" {
		t.Errorf("README.md is stale; run go generate (-have +want):\n%s", diff)
	}
}

const empty = "# Title\n\n<!-- table:reactions -->\n<!-- /table -->\n\ntext\n\n<!-- table:reasons -->\nold\n<!-- /table -->\nend\n"

func TestFill(t *testing.T) {
	full, err := table.Fill(empty)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := table.Fill(full); err != nil || again != full {
		t.Errorf("filled again it differs: %v\n%s", err, cmp.Diff(full, again))
	}
	if !strings.HasPrefix(full, "# Title\n\n<!-- table:reactions -->\n| function ") || !strings.HasSuffix(full, "\n<!-- /table -->\nend\n") || strings.Contains(full, "old\n") {
		t.Errorf("filled:\n%s", full)
	}
	for _, r := range upgrade.Reactions {
		if line := "| `" + r.On.Short() + "` | `" + r.Emits[0].Short() + "`"; !strings.Contains(full, line) {
			t.Errorf("no line for %s on %s: %s", r.Function, r.On.Short(), line)
		}
		if n := strings.Count(full, "| **"+r.Function+"** |"); n != 1 {
			t.Errorf("%s is named %d times", r.Function, n)
		}
	}
	for _, e := range reasons.Table {
		if n := strings.Count(full, "| `"+e.Reason+"` |"); n != 1 {
			t.Errorf("%d lines for reason %s", n, e.Reason)
		}
	}
}

func TestFillRefuses(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no place":    {"<!-- table:reasons -->\n", "", `has no line "<!-- table:reasons -->"`},
		"two places":  {"text\n", "<!-- table:reactions -->\n<!-- /table -->\n", "more than one line"},
		"no end":      {"old\n<!-- /table -->\n", "", `no "<!-- /table -->" follows`},
		"a later end": {"<!-- /table -->\n\ntext", "text", `no "<!-- /table -->" follows`},
	} {
		t.Run(name, func(t *testing.T) {
			document := strings.Replace(empty, c.old, c.new, 1)
			if filled, err := table.Fill(document); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, filled:\n%s", err, filled)
			}
		})
	}
}
