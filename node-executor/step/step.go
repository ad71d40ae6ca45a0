package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/reroot-dev/reroot/events"
)

// Step is one named part of a command.
type Step struct {
	Name string
	Do   func(ctx context.Context, t *Task) error
	Undo func(ctx context.Context, t *Task) error // nil: nothing to take back
}

// Plan says how a command is carried out and what is reported when all of it is done.
type Plan struct {
	Steps []Step
	// Report builds the payload of the command's *.completed fact.
	Report func(t *Task, o events.Outcome) (any, error)
	// Otherwise is the reason of a failure that has none of its own.
	Otherwise events.Reason
	// OneWay: what the steps do cannot be taken back, so a failure does not leave the node as it was.
	OneWay bool
	// GoesBack: the command runs in the new root; its failure is answered by booting the old one.
	GoesBack bool
}

// Plans are the plans by type of command.
type Plans map[events.Type]Plan

// Points are the names of the fault points that the engine has for these plans, one before each step and one after it.
func (p Plans) Points() []string {
	var all []string
	for t, plan := range p {
		for _, s := range plan.Steps {
			all = append(all, Point(t, s.Name), Point(t, "after-"+s.Name))
		}
	}
	return all
}

// Point is the name of a fault point: "pivot.set-default".
func Point(command events.Type, step string) string { return Verb(command) + "." + step }

// Verb is what a command asks for, in a word: "pivot" of node.pivot.requested.
func Verb(command events.Type) string {
	return strings.TrimSuffix(strings.TrimPrefix(command.Short(), "node."), ".requested")
}

// Reboot is the name of the last step of a command that ends in a reboot.
const Reboot = "reboot"

// ErrRebooting is returned by the last step of a command that ends in a reboot, once the reboot is under way. What
// became of the command is decided after it, by where the node is.
var ErrRebooting = errors.New("the machine is rebooting")

// Error is a failure with a reason of the closed list and advice for a person.
type Error struct {
	Because events.Reason
	Next    string // what a person can do, one line; may be empty
	Err     error
}

// Error implements error.
func (e *Error) Error() string { return e.Err.Error() }

// Reason is the failure's reason.
func (e *Error) Reason() events.Reason { return e.Because }

// Unwrap returns the error below.
func (e *Error) Unwrap() error { return e.Err }

// Task is a command that is being carried out, as its steps see it.
type Task struct {
	Upgrade string
	Attempt int
	Data    json.RawMessage   // the command's payload
	From    events.Deployment // booted when the command was accepted
	Booted  events.Deployment // booted now
	BootID  string

	// Tell takes progress reports: how much of the step is done (0..1, 0 when unknown) and what a person may want to
	// see beside it. It never blocks. It may be nil.
	Tell func(fraction float64, detail string)

	notes, fresh map[string]json.RawMessage
}

// NewTask returns a copy of t that has these notes.
func NewTask(t Task, notes map[string]json.RawMessage) *Task {
	t.notes, t.fresh = maps.Clone(notes), nil
	return &t
}

// Keep leaves a note for later steps, for Undo and for the report. The last one of a name counts.
func (t *Task) Keep(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot keep note %s: %w", name, err)
	}
	if t.fresh == nil {
		t.fresh = map[string]json.RawMessage{}
	}
	t.fresh[name] = b
	return nil
}

// Fresh returns the notes that were left since the last call.
func (t *Task) Fresh() map[string]json.RawMessage {
	f := t.fresh
	t.fresh = nil
	if t.notes == nil {
		t.notes = map[string]json.RawMessage{}
	}
	maps.Copy(t.notes, f)
	return f
}

// Recall reads a note; it is an error when there is none.
func Recall[T any](t *Task, name string) (T, error) {
	var v T
	b, ok := t.fresh[name]
	if !ok {
		b, ok = t.notes[name]
	}
	if !ok {
		return v, fmt.Errorf("cannot recall note %s: no step left it", name)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("cannot recall note %s: %w", name, err)
	}
	return v, nil
}

// Command reads the payload of the task's command.
func Command[T any](t *Task) (T, error) {
	var v T
	if err := json.Unmarshal(t.Data, &v); err != nil {
		return v, fmt.Errorf("cannot read the command: %w", err)
	}
	return v, nil
}

func (t *Task) tell(fraction float64, detail string) {
	if t.Tell != nil {
		t.Tell(fraction, detail)
	}
}
