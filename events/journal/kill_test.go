package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// killEnv tells this test binary to be the victim of TestKill.
const killEnv = "REROOT_TEST_APPEND_IN"

// appendUntilKilled appends to a store of its own and says what was acknowledged, until it is killed.
func appendUntilKilled() {
	dir := os.Getenv(killEnv)
	if dir == "" {
		return
	}
	ctx := context.Background()
	e, err := journal.OpenEmbedded(ctx, dir, journal.EmbeddedOptions{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var head journal.Head
	for {
		n := head.Sequence + 1
		one := events.New(events.TypeStageRequested, fmt.Sprintf("id-%d", n), "edge-1", "users/alice", "u1", events.StageRequested{Stage: events.StageIdle})
		evs := []event.Event{one}
		if n%5 == 0 { // now and then a batch
			two := one.Clone()
			two.SetID(one.ID() + "b")
			evs = append(evs, two)
		}
		rs, err := e.Append(ctx, "edge-1", head, evs...)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		head = rs[len(rs)-1].Head()
		fmt.Println(head.Sequence, head.Hash)
	}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		victim := exec.CommandContext(t.Context(), self)
		victim.Env = append(os.Environ(), killEnv+"="+dir+strconv.Itoa(round))
		out, err := victim.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := victim.Start(); err != nil {
			t.Fatal(err)
		}
		var acked string
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			acked = lines.Text()
			if n == 100+50*round {
				_ = victim.Process.Kill()
			}
		}
		_ = victim.Wait()
		found := false
		last := ""
		for r, err := range openEmbedded(t, dir+strconv.Itoa(round)).Read(t.Context(), "edge-1", 1) {
			if err != nil {
				t.Fatal(err)
			}
			last = fmt.Sprint(r.Head().Sequence, " ", r.Head().Hash)
			found = found || last == acked
		}
		if !found {
			t.Errorf("acknowledged %q is lost; the history ends with %q", acked, last)
		}
	}
}
