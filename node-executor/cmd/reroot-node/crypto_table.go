package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// shortID is how much of a hash a table shows.
const shortID = 12

// printPreview prints a table of everything that would happen, and then the problems.
func printPreview(w io.Writer, p *crypto.Preview) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tID\tKIND\tACTION\tNAME\tWHERE\tWHY")
	for _, section := range []struct {
		what string
		all  []crypto.Planned
	}{{"key", p.Keys}, {"certificate", p.Certificates}, {"token", p.Tokens}, {"encryption key", p.EncryptionKeys}} {
		for _, m := range section.all {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", section.what, m.ID[:shortID], m.Kind, m.Action,
				printable(strings.Join(m.Names, ", ")), printable(places(m.Places)), m.Why)
		}
	}
	for _, r := range p.Rules {
		if len(r.Sites) > 0 {
			fmt.Fprintf(t, "rule\t\t%s\tapply\t\t%s\t%s\n", r.Rule, printable(more(r.Sites[0].String(), len(r.Sites))), printable(r.Why))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printProblems(w, map[string][]plan.Problem{"note": p.Notes, "problem": p.Problems})
}

func printProblems(w io.Writer, kinds map[string][]plan.Problem) error {
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		for _, p := range kinds[kind] {
			if _, err := fmt.Fprintf(w, "%s: %s\n", kind, printable(p.String())); err != nil {
				return err
			}
		}
	}
	return nil
}

// printSummary prints what was done.
func printSummary(w io.Writer, s *crypto.Summary) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tACTION\tNUMBER")
	for _, section := range []struct {
		what  string
		count map[plan.Action]int
	}{{"keys", s.Keys}, {"certificates", s.Certificates}, {"tokens", s.Tokens}, {"encryption keys", s.EncryptionKeys}} {
		for _, action := range slices.Sorted(maps.Keys(section.count)) {
			fmt.Fprintf(t, "%s\t%s\t%d\n", section.what, action, section.count[action])
		}
	}
	for _, store := range slices.Sorted(maps.Keys(s.Sites)) {
		fmt.Fprintf(t, "sites\tchange in %s\t%d\n", store, s.Sites[store])
	}
	for _, rule := range slices.Sorted(maps.Keys(s.Rules)) {
		if s.Rules[rule] > 0 {
			fmt.Fprintf(t, "sites\t%s\t%d\n", rule, s.Rules[rule])
		}
	}
	for _, stage := range s.Timings {
		fmt.Fprintf(t, "time\t%s\t%s\n", stage.Stage, stage.Duration.Round(time.Millisecond))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return printProblems(w, map[string][]plan.Problem{"note": s.Notes})
}

// places shows the first place and how many more there are.
func places(all []graph.Place) string {
	if len(all) == 0 {
		return ""
	}
	return more(all[0].String(), len(all))
}

func more(first string, n int) string {
	if n == 1 {
		return first
	}
	return fmt.Sprintf("%s and %d more", first, n-1)
}

// printable keeps what a seed brings along from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
