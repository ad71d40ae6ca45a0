package ledger

import (
	"encoding/json"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
)

// Kind says what an [Entry] states.
type Kind string

// Kinds of entries.
const (
	// Started: the executor started in deployment Booted during boot BootID.
	Started Kind = "started"
	// Accepted: Accept is a new job. Sequence and Hash are the command's in the journal.
	Accepted Kind = "accepted"
	// Refused: command Job will not be carried out; Fact says so. Sequence and Hash are the command's.
	Refused Kind = "refused"
	// Began: step Step of the job begins in boot BootID at powered-on time At.
	Began Kind = "began"
	// Done: the step that began is done; Notes is what it leaves for later steps and the report.
	Done Kind = "done"
	// Failed: the step that began cannot be done, for the reason Failure. What was done is now undone.
	Failed Kind = "failed"
	// Undone: step Step is undone.
	Undone Kind = "undone"
	// Stuck: step Step cannot be undone.
	Stuck Kind = "stuck"
	// Ended: nothing more is to be done for the job. Result says how it ended and Fact, if any, what is to be reported.
	Ended Kind = "ended"
	// Reported: Fact is to be reported; it is not about the end of a job.
	Reported Kind = "reported"
	// Sent: the journal's inbox has stored all facts up to ordinal Sequence.
	Sent Kind = "sent"
	// Snapshot: State is all that came before.
	Snapshot Kind = "snapshot"
)

// Result is how a job ended.
type Result string

// Results of a job.
const (
	Completed Result = "completed"
	NotDone   Result = "failed"
	Cancelled Result = "cancelled" // another command took its place, or nobody waits for it any more
)

// Entry is one statement of the ledger. Kind says which of the other fields are set.
type Entry struct {
	Kind     Kind                       `json:"kind"`
	Job      string                     `json:"job,omitempty"`
	Accept   *Job                       `json:"accept,omitempty"`
	Step     string                     `json:"step,omitempty"`
	Booted   *events.Deployment         `json:"booted,omitempty"`
	BootID   string                     `json:"bootID,omitempty"`
	At       float64                    `json:"at,omitempty"` // powered-on seconds
	Notes    map[string]json.RawMessage `json:"notes,omitempty"`
	Failure  *events.Failure            `json:"failure,omitempty"`
	Result   Result                     `json:"result,omitempty"`
	Fact     *event.Event               `json:"fact,omitempty"`
	Sequence uint64                     `json:"sequence,omitempty"`
	Hash     string                     `json:"hash,omitempty"`
	FactHash string                     `json:"factHash,omitempty"` // set by the ledger
	State    *State                     `json:"state,omitempty"`
}

// Job is a command and how far it is.
type Job struct {
	ID      string          `json:"id"` // of the command
	Type    events.Type     `json:"type"`
	Cause   event.Event     `json:"cause"` // what the job's facts are caused by: the command, or the one that failed
	Data    json.RawMessage `json:"data"`  // payload of the command
	Attempt int             `json:"attempt"`

	// From is the deployment that was booted when the job was accepted.
	From events.Deployment `json:"from"`
	// Trigger and Why are set on a rollback that the executor decided on by itself.
	Trigger events.Trigger  `json:"trigger,omitempty"`
	Why     *events.Failure `json:"why,omitempty"`

	Current string                     `json:"current,omitempty"` // the step that began and did not end
	BootID  string                     `json:"bootID,omitempty"`  // the boot in which it began
	Since   float64                    `json:"since,omitempty"`   // when, in powered-on seconds of that boot
	Done    []string                   `json:"done,omitempty"`    // steps, in order
	Undone  []string                   `json:"undone,omitempty"`
	Stuck   []string                   `json:"stuck,omitempty"` // steps that could not be undone
	Notes   map[string]json.RawMessage `json:"notes,omitempty"`
	Failure *events.Failure            `json:"failure,omitempty"`
	Seconds float64                    `json:"seconds,omitempty"` // powered-on time spent in ended steps

	// Superseded: another command took its place; what it did is undone and nothing is reported.
	Superseded bool   `json:"superseded,omitempty"`
	Result     Result `json:"result,omitempty"` // "" while it is open
}

// Upgrade is the id of the upgrade that the job belongs to.
func (j Job) Upgrade() string { return j.Cause.Subject() }

// Open says that the job has not ended.
func (j Job) Open() bool { return j.Result == "" }

// Begun says that at least one step began.
func (j Job) Begun() bool { return j.Current != "" || len(j.Done) > 0 || j.Failure != nil }

// Reverting says that the job's steps are being undone.
func (j Job) Reverting() bool { return j.Failure != nil || j.Superseded }
