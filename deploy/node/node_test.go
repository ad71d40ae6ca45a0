package node_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/deploy/node"
)

func TestWantedBy(t *testing.T) {
	for unit, want := range map[string][]string{
		node.Mount:    {"local-fs.target"},
		node.Executor: {"multi-user.target"},
		node.Watchdog: {"sysinit.target"},
		node.Identity: nil, // the gate asks for it
	} {
		if got := node.WantedBy(unit); !slices.Equal(got, want) {
			t.Errorf("%s is wanted by %v, want %v", unit, got, want)
		}
	}
}

// TestOneProgram: what the units run is the program that is pinned in the state directory, nothing of the root's own.
func TestOneProgram(t *testing.T) {
	for _, unit := range []string{node.Executor, node.Watchdog, node.Identity} {
		for line := range strings.Lines(string(node.Unit(unit))) {
			if program, ok := strings.CutPrefix(line, "ExecStart="); ok && !strings.HasPrefix(program, "/var/lib/reroot/bin/reroot-node ") {
				t.Errorf("%s runs %s", unit, program)
			}
		}
	}
	if !strings.Contains(string(node.Gate()), "Requires="+node.Identity) {
		t.Errorf("the gate does not require %s", node.Identity)
	}
}

// The executor holds the private keys of a whole cluster while it regenerates them.
func TestNoCoreDumps(t *testing.T) {
	if !strings.Contains(string(node.Unit(node.Executor)), "\nLimitCORE=0\n") {
		t.Errorf("%s may leave a core dump", node.Executor)
	}
}
