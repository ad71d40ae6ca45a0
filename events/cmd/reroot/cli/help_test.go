package cli_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

// commands are all commands, the root first.
var commands = []string{
	"", "start", "stage", "get", "events", "timeline", "replay", "wait", "dead", "dead list", "dead redrive", "export",
	"explain", "version", "completion",
}

// examplesOf are the examples that a command's help gives, and the commands that it lists below.
func examplesOf(help string) (examples, below []string) {
	section := ""
	for line := range strings.Lines(help) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "" || !strings.HasPrefix(line, "  "):
			section = line
		case section == "Examples:":
			examples = append(examples, strings.TrimSpace(line))
		case section == "Available Commands:":
			below = append(below, strings.Fields(line)[0])
		}
	}
	return examples, below
}

// TestExamples runs every example of every --help, as it stands there.
func TestExamples(t *testing.T) {
	w := &world{t: t}
	read := newWorld(t, minutes()).tell(edge, upID, upgradetest.GoodPath...).tell(edge, upID, finalization...)
	if err := read.store.Park(t.Context(), journal.Parked{ID: "3f2a6c01", Cluster: edge, Origin: "users", Reason: events.ReasonInvalidEvent, Detail: "no JSON", Raw: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		help := w.reroot(command + " --help")
		examples, below := examplesOf(help.out)
		if len(examples) != 3 || help.code != 0 {
			t.Errorf("reroot %s --help has %d examples, want 3: %s", command, len(examples), help)
		}
		for _, name := range below {
			if full := strings.TrimSpace(command + " " + name); !slices.Contains(commands, full) {
				t.Errorf("%q is not in the list of this test", full)
			}
		}
		for _, line := range examples {
			t.Run(line, func(t *testing.T) { runExample(t, read, line) })
		}
	}
}

func runExample(t *testing.T, read *world, line string) {
	words := strings.Fields(line)
	w := read
	w.t = t
	switch {
	case words[1] == "start":
		w = newWorld(t, nil).run(nil)
	case words[1] == "stage" && words[3] == "Upgrade":
		w = newWorld(t, nil)
		w.through = events.StagePrep
		w.tell(edge, upID, upgradetest.Until(events.TypePrepCompleted)...).run(nil)
	case words[1] == "stage":
		w = newWorld(t, nil).tell(edge, upID, upgradetest.GoodPath...).run(nil)
	case words[1] == "dead" && words[2] == "redrive":
		w = newWorld(t, nil)
		if err := w.store.Park(t.Context(), journal.Parked{ID: "3f2a6c01", Cluster: edge, Origin: "users", Reason: events.ReasonInvalidEvent, Raw: []byte("{")}); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir("testdata")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, code := call{args: words[1:]}, 0
	if slices.Contains(words, "-f") && words[1] == "events" { // it has no end
		c.out, code = &watched{want: "idle.reached", seen: cancel}, 130
		c.now = w.heads[edge].PhaseSince
	}
	if r := w.do(ctx, c); r.code != code {
		t.Errorf("want exit code %d: %s", code, r)
	}
}

// TestFlagsAreDocumented finds a sentence for each flag of each command.
func TestFlagsAreDocumented(t *testing.T) {
	w := &world{t: t}
	for _, command := range commands {
		for line := range strings.Lines(w.reroot(command + " --help").out) {
			if _, flag, isFlag := strings.Cut(line, "--"); isFlag && strings.HasPrefix(strings.TrimSpace(line), "-") {
				if words := strings.Fields(flag); len(words) < 4 {
					t.Errorf("reroot %s: --%s is not documented", command, words[0])
				}
			}
		}
	}
}

func TestPlugin(t *testing.T) {
	w := &world{t: t}
	for name, want := range map[string]string{
		"kubectl-reroot":              "kubectl reroot get edge-1 -o yaml",
		"/usr/local/bin/oc-reroot":    "oc reroot get edge-1 -o yaml",
		"/usr/local/bin/reroot":       "  reroot get edge-1 -o yaml",
		"/usr/local/bin/other-reroot": "other reroot get edge-1 -o yaml",
	} {
		r := w.do(t.Context(), call{name: name, args: []string{"get", "--help"}})
		if r.code != 0 || !strings.Contains(r.out, want) {
			t.Errorf("%s: the help does not say %q: %s", name, want, r)
		}
	}
}

func TestPluginAdvises(t *testing.T) {
	w := &world{t: t}
	for line, want := range map[string]string{
		"get --ouput json":    "do: kubectl reroot get --help\n",
		"explain reason Whim": "do: kubectl reroot explain reason\n",
	} {
		if r := w.do(t.Context(), call{name: "kubectl-reroot", args: strings.Fields(line)}); !strings.Contains(r.err, want) {
			t.Errorf("it does not say %q: %s", want, r)
		}
	}
}

func TestCompletion(t *testing.T) {
	w := newWorld(t, nil).tell(edge, "first", upgradetest.GoodPath...).tell(edge, "first", finalization...).
		tell(edge, upID, upgradetest.Until(events.TypePrepCompleted)...)
	for line, want := range map[string]string{
		"stage ":                  "first to-4-19-3",
		"stage to-4-19-3 ":        "Idle Upgrade",
		"stage to-4-19-3 Idle ":   "",
		"timeline ":               "first to-4-19-3",
		"get ":                    "edge-1",
		"events --cluster ":       "edge-1",
		"get -o ":                 "json yaml wide name",
		"start up --through ":     "Prep Upgrade Finalize",
		"wait up --for ":          "prepared upgraded rolled-back idle failed",
		"explain ":                "reason event stage exit-code",
		"explain stage ":          "Idle Prep Upgrade Rollback",
		"completion ":             "bash zsh fish powershell",
		"get --server nats://x/ ": "",
	} {
		t.Run(line, func(t *testing.T) {
			args := append([]string{"__complete"}, strings.Split(line, " ")...)
			r := w.do(t.Context(), call{args: args})
			words, _, _ := strings.Cut(r.out, ":")
			if got := strings.Join(strings.Fields(words), " "); got != want {
				t.Errorf("%q is offered, want %q: %s", got, want, r)
			}
		})
	}
}
