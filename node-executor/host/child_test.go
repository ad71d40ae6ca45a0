package host_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/host"
)

func start(t *testing.T, script string) *host.Child {
	t.Helper()
	child, err := host.StartChild(host.Cmd{Name: "/bin/sh", Args: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	return child
}

func TestChildStops(t *testing.T) {
	for name, script := range map[string]string{
		"by the signal":      "exec sleep 60",
		"has ended already":  "exit 0",
		"prints a great lot": "seq 100000 >&2; exec sleep 60",
	} {
		t.Run(name, func(t *testing.T) {
			child := start(t, script)
			if name == "has ended already" {
				<-child.Exited()
			}
			if err := child.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			<-child.Exited()
		})
	}
}

func TestChildEndsBadly(t *testing.T) {
	child := start(t, "echo no room >&2; exit 3")
	<-child.Exited()
	if err := child.Stop(t.Context()); err == nil || !strings.Contains(err.Error(), "exit code 3: no room") {
		t.Errorf("got error %v", err)
	}
}

func TestChildIsKilled(t *testing.T) {
	child := start(t, "trap '' TERM; while :; do sleep 0.01; done")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := child.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	<-child.Exited()
}

func TestChildThatIsNotThere(t *testing.T) {
	if _, err := host.StartChild(host.Cmd{Name: "/none"}); err == nil || !strings.Contains(err.Error(), `cannot start "/none"`) {
		t.Errorf("got error %v", err)
	}
}
