package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// Code is an exit code of the command line.
type Code int

// Exit codes; they are part of the interface.
const (
	Done        Code = 0
	Unexpected  Code = 1
	WrongUsage  Code = 2
	RolledBack  Code = 3
	NeedsPerson Code = 4
	TimedOut    Code = 5
	Refused     Code = 6
	Interrupted Code = 130
)

// codes documents the exit codes.
var codes = []struct {
	Code    Code
	Name    string
	Meaning string
}{
	{Done, "done", "what was asked for is done"},
	{Unexpected, "unexpected", "an error that is none of the following: no connection, a damaged history"},
	{WrongUsage, "wrong-usage", "a flag, argument or file is not valid, or names nothing; nothing was sent"},
	{RolledBack, "rolled-back", "the upgrade that was waited for failed and was rolled back: the old root runs"},
	{NeedsPerson, "needs-person", "the upgrade that was waited for ended otherwise, and a person has to decide"},
	{TimedOut, "timed-out", "what was waited for did not happen in time; the upgrade goes on"},
	{Refused, "refused", "the request was understood and refused; the history says why, or the list of parked events"},
	{Interrupted, "interrupted", "interrupted by a signal; the upgrade goes on"},
}

// Failure is why a command did not do what it was asked to, as a person reads it.
type Failure struct {
	Code    Code
	Cannot  string // what: "start up-1"
	Because string
	Do      string // what to do next
}

func (f *Failure) Error() string { return "cannot " + f.Cannot + ": " + f.Because }

// print writes the three lines. Texts may come from a node or a registry: nothing unprintable reaches the terminal.
func (f *Failure) print(w io.Writer) {
	for _, line := range []struct{ label, text string }{{"error: cannot ", f.Cannot}, {"because: ", f.Because}, {"do: ", f.Do}} {
		fmt.Fprintln(w, line.label+printable(line.text))
	}
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// wrong says that the command line, or a file that it names, is not valid.
func wrong(cannot, do string, because string, args ...any) *Failure {
	return &Failure{Code: WrongUsage, Cannot: cannot, Because: fmt.Sprintf(because, args...), Do: do}
}

// failureOf is an error as a [Failure]. Errors of this project read "cannot <verb> <thing>: <why>".
func failureOf(err error) *Failure {
	if f := (*Failure)(nil); errors.As(err, &f) {
		return f
	}
	f := &Failure{Code: Unexpected, Cannot: "read from the event store", Because: err.Error(),
		Do: "try again; if it happens again, look at the log of reroot-functions or reroot-node"}
	if told, ours := strings.CutPrefix(err.Error(), "cannot "); ours {
		f.Cannot, f.Because, _ = strings.Cut(told, ": ")
	}
	switch chain := (*events.ChainError)(nil); {
	case errors.As(err, &chain):
		f.Do = "keep the history as it is (it is evidence), and look at what is before the damage: reroot replay --until " + fmt.Sprint(max(chain.Sequence, 1)-1)
	case errors.Is(err, context.DeadlineExceeded):
		f.Code, f.Do = TimedOut, "look at the server that --server names; nothing was changed"
	case errors.Is(err, journal.ErrNotParked):
		f.Code, f.Do = WrongUsage, "reroot dead list"
	}
	return f
}

// advice says what to do about a request that was refused.
func advice(reason events.Reason) string {
	switch reason {
	case events.ReasonInvalidEvent, events.ReasonUnknownType:
		return "mend what is named and submit it again"
	case events.ReasonUpgradeInProgress:
		return "wait for the open upgrade (reroot wait), or end it (reroot stage UPGRADE Idle)"
	case events.ReasonIllegalTransition:
		return "look where the upgrade stands (reroot get) and ask for something that may follow; a new upgrade needs a new id"
	case events.ReasonNodeDark:
		return "wait until the node has booted: reroot timeline"
	case events.ReasonExpired:
		return "submit it again with a later expirytime"
	case events.ReasonJournalCorrupt:
		return "keep the history as it is; no decision is taken for this cluster until a person has looked at it"
	}
	return "reroot explain reason " + string(reason)
}
