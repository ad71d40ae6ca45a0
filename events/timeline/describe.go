package timeline

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
)

// told is what describing an event needs of any payload.
type told struct {
	Reason  events.Reason   `json:"reason"`
	Message string          `json:"message"`
	Stage   events.Stage    `json:"stage"`
	Next    []events.Stage  `json:"validNextStages"`
	Wait    string          `json:"wait"`
	Trigger events.Trigger  `json:"trigger"`
	Checks  []events.Check  `json:"checks"`
	Failure *events.Failure `json:"failure"`
	Through events.Stage    `json:"through"`
	Spec    struct {
		SeedImageRef events.SeedImageRef `json:"seedImageRef"`
	} `json:"spec"`
}

// Describe says in one printable line what an event of a history tells beyond its type: why something failed, which
// stage was asked for, what is waited for; else what events of its type mean.
func Describe(e event.Event) string {
	var p told
	_ = json.Unmarshal(e.Data(), &p) // a payload that does not fit has nothing to add to the type
	return clean(p.describe(e))
}

func (p told) describe(e event.Event) string {
	switch t := events.TypeOf(e); {
	case t == events.TypeStageRejected:
		return fmt.Sprintf("%s: %s; valid next: %s", p.Reason, p.Message, cmp.Or(Stages(p.Next), "none"))
	case t == events.TypeUpgradeRequested:
		return fmt.Sprintf("%s from %s, through %s", p.Spec.SeedImageRef.Version, p.Spec.SeedImageRef.Image, p.Through)
	case t == events.TypePrepValidated:
		return fmt.Sprintf("every check holds (%d)", len(p.Checks))
	case p.Reason != "":
		return fmt.Sprintf("%s: %s", p.Reason, p.Message)
	case p.Failure != nil:
		return fmt.Sprintf("%s: %s", p.Failure.Reason, p.Failure.Message)
	case p.Stage != "":
		return string(p.Stage)
	case p.Wait != "":
		return "waiting for " + p.Wait
	case p.Trigger != "":
		return "trigger: " + string(p.Trigger)
	}
	d, _ := events.Lookup(events.TypeOf(e))
	return d.Meaning
}

// Stages lists stages as a person reads them: "Idle, Rollback".
func Stages(stages []events.Stage) string {
	words := make([]string, len(stages))
	for i, s := range stages {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

// clean makes text harmless on a terminal: whatever is not printable, escape sequences first of all, becomes a space.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}

// fit cuts a line to a width in characters; a width of 0 or less does not cut.
func fit(s string, width int) string {
	if r := []rune(s); width > 0 && len(r) > width {
		return string(r[:width])
	}
	return s
}

// Elapsed spells a duration in at most six characters: 0.4s, 59.9s, 2m03s, 1h05m, 3d04h.
func Elapsed(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute-50*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}
