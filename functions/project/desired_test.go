package project_test

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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions/project"
)

var rewrite = flag.Bool("rewrite", false, "write what is projected now into testdata; commit it only if you understand the difference")

// TestProject tells every scenario of the fold and compares what the resource would show after each event.
func TestProject(t *testing.T) {
	const scenarios = "../../events/upgrade/testdata"
	files, err := filepath.Glob(scenarios + "/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, golden := perform(t, string(script)), filepath.Join("testdata", filepath.Base(file))
			if *rewrite {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("it is projected differently (-want +got):\n%s", diff)
			}
		})
	}
}

func perform(t *testing.T, script string) string {
	var out bytes.Buffer
	s, y := upgrade.New(upgradetest.Cluster), &upgradetest.Story{Upgrade: "up-1"}
	said := ""
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != ">" {
			continue
		}
		over := map[string]any{}
		for _, w := range words[2:] {
			k, v, _ := strings.Cut(w, "=")
			var value any
			if err := json.Unmarshal([]byte(v), &value); err != nil {
				value = v
			}
			over[k] = value
		}
		if id, ok := over["upgrade"].(string); ok {
			y.Upgrade = id
			delete(over, "upgrade")
		}
		e := y.Tell(s, events.Expand(words[1]), over)
		next, err := s.Apply(e, "h"+e.ID())
		if refused := (*upgrade.GuardError)(nil); errors.As(err, &refused) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s = next
		fmt.Fprintln(&out, "> "+words[1])
		if says := describe(project.Project(s)); says != said {
			fmt.Fprint(&out, says)
			said = says
		}
	}
	return out.String()
}

// describe shows what is projected: times as minutes since the story began.
func describe(d project.Desired) string {
	var out bytes.Buffer
	fmt.Fprintf(&out, "    stage %s, next %v\n", d.Stage, d.ValidNextStages)
	for _, c := range d.Conditions {
		fmt.Fprintf(&out, "    %s=%s %s %q since %s\n", c.Type, c.Status, c.Reason, c.Message, c.LastTransitionTime.Sub(upgradetest.Epoch))
	}
	for _, h := range d.History {
		fmt.Fprintf(&out, "    %s: %s", h.Stage, span(h.StartTime, h.CompletionTime))
		for _, p := range h.Phases {
			fmt.Fprintf(&out, ", %s %s", p.Phase, span(p.StartTime, p.CompletionTime))
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}

func span(start, end *metav1.Time) string {
	if end == nil {
		return fmt.Sprintf("%s-", start.Sub(upgradetest.Epoch))
	}
	return fmt.Sprintf("%s-%s", start.Sub(upgradetest.Epoch), end.Sub(upgradetest.Epoch))
}
