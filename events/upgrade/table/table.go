// Package table writes tables of the code into documents, as Markdown: which function reacts to what, and what the
// reasons of failures mean. A document says where each belongs:
//
//	<!-- table:reactions -->
//	<!-- /table -->
//
// What is between the marks is replaced; nobody edits it.
package table

import (
	"fmt"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/cmd/reroot/reasons"
	"github.com/reroot-dev/reroot/events/upgrade"
)

//go:generate go run ./gen ../../../README.md

// Fill replaces every table in the document by what the code says now. It is an error when one of them has no place.
func Fill(document string) (string, error) {
	for _, t := range []struct{ name, text string }{{"reactions", Reactions()}, {"reasons", Reasons()}} {
		var err error
		if document, err = replace(document, t.name, t.text); err != nil {
			return "", err
		}
	}
	return document, nil
}

func replace(document, name, text string) (string, error) {
	begin, end := "<!-- table:"+name+" -->\n", "<!-- /table -->"
	before, rest, found := strings.Cut(document, begin)
	if !found {
		return "", fmt.Errorf("cannot find a place for the table of %s: the document has no line %q", name, strings.TrimSpace(begin))
	}
	if strings.Contains(rest, begin) {
		return "", fmt.Errorf("cannot place the table of %s: the document has more than one line %q", name, strings.TrimSpace(begin))
	}
	old, after, found := strings.Cut(rest, end)
	if !found || strings.Contains(old, "<!-- table:") {
		return "", fmt.Errorf("cannot place the table of %s: no %q follows", name, end)
	}
	return before + begin + text + end + after, nil
}

// Reactions is a line for each event that a function reacts to: function, event, events that may follow.
func Reactions() string {
	var b strings.Builder
	b.WriteString("| function | reacts to | may emit |\n|---|---|---|\n")
	last := ""
	for _, r := range upgrade.Reactions {
		name := ""
		if r.Function != last {
			name, last = "**"+r.Function+"**", r.Function
		}
		var emits []string
		for _, t := range r.Emits {
			emits = append(emits, code(t))
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, code(r.On), strings.Join(emits, ", "))
	}
	b.WriteString("| **project** | every event | |\n")
	return b.String()
}

func code(t events.Type) string { return "`" + t.Short() + "`" }

// Reasons is a line for each reason of a failure: reason, meaning; in groups.
func Reasons() string {
	var b strings.Builder
	for _, group := range groups() {
		fmt.Fprintf(&b, "| %s | |\n|---|---|\n", group)
		for _, e := range reasons.Table {
			if e.Group == group {
				fmt.Fprintf(&b, "| `%s` | %s |\n", e.Reason, escape(e.Meaning))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func groups() (all []string) {
	for _, e := range reasons.Table {
		if !slices.Contains(all, e.Group) {
			all = append(all, e.Group)
		}
	}
	return all
}

func escape(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
