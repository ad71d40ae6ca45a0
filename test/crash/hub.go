package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
)

// Story is what the hub wants of the node.
type Story string

// Stories. Both begin with an upgrade and end with cleaning up.
const (
	Upgrade  Story = "upgrade"  // the new root is confirmed
	Rollback Story = "rollback" // the old root is asked for instead
)

const (
	clusterName = "edge-1"
	upgradeID   = "up-1"
	digest      = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// never is when commands expire; hash is that of every command in the journal, which nobody reads here.
var (
	never = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	hash  = strings.Repeat("0", 64)

	pullSecret = events.SecretRef{Name: "pull"}
)

// changed is the end of the name of a file with a fact that came again and was not the same.
const changed = ".changed"

// Hub is journal and pipeline as the node sees them: facts are files, and the commands follow from them alone, so that
// whoever opens it again, after whatever crash, delivers the same ones in the same order.
type Hub struct {
	Dir      string // of the facts
	Story    Story
	Old, New events.Deployment

	poke chan struct{}
	over func()
}

// Open gives the hub an end: over is called when the last fact is stored.
func (h Hub) Open(over func()) *Hub {
	h.poke, h.over = make(chan struct{}, 1), over
	return &h
}

// Facts are the facts that are stored, in their order.
func (h Hub) Facts() ([]event.Event, error) {
	files, err := filepath.Glob(filepath.Join(h.Dir, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []event.Event
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var e event.Event
		if err := json.Unmarshal(b, &e); err != nil {
			return nil, fmt.Errorf("cannot read fact %s: %w", file, err)
		}
		all = append(all, e)
	}
	return all, nil
}

// Changed are the files of facts that were not the same when they came again.
func (h Hub) Changed() ([]string, error) { return filepath.Glob(filepath.Join(h.Dir, "*"+changed)) }

// Submit implements executor.Facts. A fact that comes again is compared with what is stored.
func (h *Hub) Submit(_ context.Context, fact event.Event) error {
	b, err := json.Marshal(fact)
	if err != nil {
		return err
	}
	file := filepath.Join(h.Dir, fmt.Sprint(fact.Extensions()[events.ExtNodeSequence])+".json")
	switch before, err := os.ReadFile(file); {
	case err == nil && string(before) != string(b):
		return os.WriteFile(file+changed, b, 0o600)
	case errors.Is(err, os.ErrNotExist):
		if err := os.WriteFile(file+".new", b, 0o600); err != nil {
			return err
		}
		if err := os.Rename(file+".new", file); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if last(fact) {
		h.over()
	}
	select {
	case h.poke <- struct{}{}:
	default:
	}
	return nil
}

// last says that the story is over with this fact.
func last(fact event.Event) bool { return events.TypeOf(fact) == events.TypeCleanupCompleted }

// Receive implements executor.Commands: after every start all commands are delivered again.
func (h *Hub) Receive(ctx context.Context, handle func(context.Context, event.Event, string) error) error {
	for delivered := 0; ; {
		facts, err := h.Facts()
		if err != nil {
			return err
		}
		commands := h.Commands(facts)
		for ; delivered < len(commands); delivered++ {
			if err := handle(ctx, commands[delivered], hash); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.poke:
		}
	}
}

// Report implements executor.Progress.
func (h *Hub) Report(context.Context, event.Event) error { return nil }

// Commands are the answers to the facts.
func (h Hub) Commands(facts []event.Event) []event.Event {
	var all []event.Event
	say := func(t events.Type, data any) {
		e := events.New(t, fmt.Sprintf("cmd-%d", len(all)+1), clusterName, "functions/crash", upgradeID, data)
		e.SetExtension(events.ExtSequence, fmt.Sprintf("%020d", len(all)+1))
		e.SetTime(time.Unix(0, 0))
		all = append(all, e)
	}
	say(events.TypeSeedpullRequested, events.SeedpullRequested{
		Command: base(nil), Stateroot: h.New.Stateroot, PullSecretRef: &pullSecret,
		Seed: events.Seed{Image: "registry.example/seed@" + digest, Digest: digest, FormatVersion: 4, Version: "4.18.0"},
	})
	confirmed, back := false, false
	for _, f := range facts {
		switch t := events.TypeOf(f); t {
		case events.TypeSeedpullCompleted:
			say(events.TypePrecacheRequested, events.PrecacheRequested{Command: base(nil), Stateroot: h.New.Stateroot, PullSecretRef: &pullSecret})
		case events.TypePrecacheCompleted:
			say(events.TypePivotRequested, events.PivotRequested{Command: base(&h.Old), Target: h.New, BudgetSeconds: 600})
			say(events.TypeCryptoregenRequested, events.CryptoregenRequested{Command: base(&h.New)})
			say(events.TypeReconfigureRequested, events.ReconfigureRequested{Command: base(&h.New)})
		case events.TypeReconfigureCompleted:
			if h.Story == Rollback {
				say(h.goBack())
			} else {
				say(events.TypeConfirmRequested, events.ConfirmRequested{Command: base(&h.New)})
			}
		case events.TypeConfirmFailed, events.TypeNodeRollbackFailed:
			if !back { // else the watchdog was first, and there is nothing to ask for any more
				say(h.goBack())
			}
		case events.TypeConfirmCompleted:
			confirmed = true
			say(h.cleanUp(h.New, h.Old))
		case events.TypeNodeRollbackCompleted:
			if !back {
				say(h.cleanUp(h.Old, h.New))
			}
			back = true
		case events.TypeSeedpullFailed, events.TypePrecacheFailed, events.TypePivotFailed:
			say(h.cleanUp(h.Old, h.New))
		case events.TypeCleanupFailed: // a person asks once more
			if confirmed {
				say(h.cleanUp(h.New, h.Old))
			} else {
				say(h.cleanUp(h.Old, h.New))
			}
		}
	}
	return all
}

func (h Hub) goBack() (events.Type, any) {
	return events.TypeNodeRollbackRequested, events.NodeRollbackRequested{Command: base(&h.New), Target: h.Old, Trigger: events.TriggerUser}
}

func (h Hub) cleanUp(on, remove events.Deployment) (events.Type, any) {
	return events.TypeCleanupRequested, events.CleanupRequested{Command: base(&on), Remove: []string{remove.Stateroot}}
}

func base(on *events.Deployment) events.Command {
	return events.Command{Attempt: 1, For: on, NotAfter: never}
}
