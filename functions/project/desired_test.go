package project_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/functions/project"
	"github.com/reroot-dev/reroot/test/golden"
)

// TestProject tells every scenario of the fold and compares what the resource would show after each event.
func TestProject(t *testing.T) { golden.Scripts(t, "../../events/upgrade/testdata", perform) }

func perform(t *testing.T, script string) string {
	var out bytes.Buffer
	s, y := upgrade.New(upgradetest.Cluster), &upgradetest.Story{Upgrade: "up-1"}
	said := ""
	for line := range strings.Lines(script) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != ">" {
			continue
		}
		e := y.Say(s, words[1:])
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
