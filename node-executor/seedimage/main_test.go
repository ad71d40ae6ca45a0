package seedimage_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events"
	access "github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
)

// childVariable makes the test binary a process that imports, to be killed.
const childVariable = "REROOT_TEST_IMPORT"

// childOptions is what crosses the process boundary.
type childOptions struct {
	Sysroot, Image, Dir string
	Ostree              []string
}

func TestMain(m *testing.M) {
	if text, ok := os.LookupEnv(childVariable); ok {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child imports and says which step it is at.
func child(text string) error {
	var o childOptions
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	_, err := seedimage.Import(context.Background(), seedimage.ImportOptions{
		Image: o.Image, Access: access.Access{Insecure: true}, Version: "4.17.0", Stateroot: "rhcos_4.17.0",
		Host: host.New(host.Options{Sysroot: o.Sysroot, Ostree: o.Ostree}), Dir: o.Dir,
		Progress: func(p seedimage.Progress) { fmt.Println(p.Step, p.Done) },
	})
	return err
}

// importAndDie runs an import in a process of its own and kills it some time after it has reached a step.
func importAndDie(t *testing.T, n *target, step string, after time.Duration) {
	t.Helper()
	text, err := json.Marshal(childOptions{Sysroot: n.Dir, Image: n.o.Image, Dir: n.o.Dir, Ostree: n.Ostree})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), step+" ") {
			break
		}
	}
	time.AfterFunc(after, func() { cmd.Process.Kill() })
	for lines.Scan() { // until the pipe breaks
	}
	if err := cmd.Wait(); err == nil {
		t.Logf("the import ended before it was killed")
	}
}

// Killed at any moment, an import leaves the old root the default; what it left can be removed, and the next import
// completes.
func TestImportAfterKill(t *testing.T) {
	reg := startRegistry(t)
	n := newTarget(t, bigSeed(t, reg))
	kill := func(t *testing.T, step string, after time.Duration) {
		t.Helper()
		importAndDie(t, n, step, after)
		list, err := n.Status(t.Context())
		if err != nil || !list[0].Is(n.old.Stateroot, n.old.Commit, n.old.Serial) {
			t.Fatalf("after the kill: %v, %v", list, err)
		}
	}
	remove := func(t *testing.T) {
		t.Helper()
		if err := seedimage.Remove(t.Context(), n.Host, n.o.Dir, n.o.Stateroot); err != nil {
			t.Fatal(err)
		}
		n.untouched(t)
	}
	for _, step := range seedimage.Steps() {
		t.Run(step+", then removed", func(t *testing.T) {
			kill(t, step, 0)
			remove(t)
		})
		t.Run(step+", then the registry is gone", func(t *testing.T) {
			kill(t, step, 0)
			o := n.o
			o.Image = "reroot.invalid/okd/seed@sha256:" + strings.Repeat("0", 64)
			_, err := seedimage.Import(t.Context(), o)
			wantReason(t, err, events.ReasonSeedUnreachable)
			n.untouched(t)
		})
		after := time.Duration(rand.Int64N(int64(120 * time.Millisecond)))
		t.Run(fmt.Sprintf("%v after %s, then imported", after, step), func(t *testing.T) {
			kill(t, step, after)
			r, err := seedimage.Import(t.Context(), n.o)
			if err != nil {
				t.Fatal(err)
			}
			n.complete(t, r)
			remove(t)
		})
	}
}
