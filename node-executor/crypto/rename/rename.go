// Package rename gives the cluster its own names in text: domain, infrastructure id, host name,
// addresses, ports, ids.
//
// A rule replaces one word wherever it stands whole. What counts as whole differs: a domain may follow a dot,
// an address may not. Each kind of name is a small rule in a file of its own, and everything that
// holds names, files, objects, object keys and certificates, is renamed by the same rules, so that they go on agreeing.
package rename

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// MinimumLength is that of a name that may be replaced: shorter ones occur by chance.
const MinimumLength = 3

// Rule replaces one name by another.
type Rule struct {
	Kind     string // domain, host name …; for people
	Old, New string
	// after this text only, which stays: another rule may be renaming it
	prefix string
	// before and after tell whether the byte next to an occurrence may stand there; next is the byte after it.
	before func(b byte) bool
	after  func(b, next byte) bool
}

// Check refuses rules that would do nothing or too much.
func (r Rule) Check() error {
	switch {
	case len(r.prefix+r.Old) < MinimumLength:
		return fmt.Errorf("cannot rename %s %q: shorter than %d characters", r.Kind, public(r.Old), MinimumLength)
	case r.New == "":
		return fmt.Errorf("cannot rename %s %q to nothing", r.Kind, public(r.Old))
	}
	return nil
}

// String says what the rule does, for people: without the credentials that a proxy's URL may hold.
func (r Rule) String() string { return public(r.Old) + " is called " + public(r.New) }

// public leaves out what stands before the last at sign and after the scheme of a URL, be that well-formed or not. Names of
// other kinds have no such sign.
func public(name string) string {
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return name
	}
	return schemePattern.FindString(name[:at]) + "xxxxx" + name[at:]
}

var schemePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// Rules are applied together: where several match, the one that begins first and then the longest
// counts, and no rule sees what another one wrote.
type Rules []Rule

// Check checks every rule, and that no two have the same old name.
func (rules Rules) Check() error {
	seen := map[string]bool{}
	for _, r := range rules {
		if err := r.Check(); err != nil {
			return err
		}
		if seen[r.prefix+r.Old] {
			return fmt.Errorf("cannot rename %s %q: named by two rules", r.Kind, public(r.Old))
		}
		seen[r.prefix+r.Old] = true
	}
	return nil
}

// Edits returns the changes of a text.
func (rules Rules) Edits(text []byte) []splice.Edit {
	var edits []splice.Edit
	for _, m := range rules.matches(text) {
		edits = append(edits, m.Edit)
	}
	return edits
}

// match is a change and the kind of the rule that makes it.
type match struct {
	splice.Edit
	kind string
}

func (rules Rules) matches(text []byte) []match {
	var found []match
	for _, r := range rules {
		if r.Old != r.New {
			found = append(found, r.matches(text)...)
		}
	}
	slices.SortFunc(found, func(a, b match) int {
		if a.Start != b.Start {
			return a.Start - b.Start
		}
		return b.End - a.End
	})
	kept, end := found[:0], 0
	for _, m := range found {
		if m.Start >= end {
			kept, end = append(kept, m), m.End
		}
	}
	return kept
}

// Mentioned tells whether a text holds an old name at all, also where it does not stand for itself.
func (rules Rules) Mentioned(text []byte) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool { return r.Old != r.New && bytes.Contains(text, []byte(r.prefix+r.Old)) })
}

// Kinds returns the kinds of those rules that change the text, sorted.
func (rules Rules) Kinds(text []byte) []string {
	var kinds []string
	for _, e := range rules.matches(text) {
		kinds = append(kinds, e.kind)
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// Apply returns the text with the changes made.
func (rules Rules) Apply(text string) string {
	edits := rules.Edits([]byte(text))
	if len(edits) == 0 {
		return text
	}
	out, err := splice.Apply([]byte(text), edits)
	if err != nil {
		return text // unreachable: Edits neither overlap nor leave the text
	}
	return string(out)
}

func (r Rule) matches(text []byte) []match {
	var found []match
	old := []byte(r.prefix + r.Old)
	for at := 0; ; {
		i := bytes.Index(text[at:], old)
		if i < 0 {
			return found
		}
		start, end := at+i, at+i+len(old)
		if r.stands(text, start, end) {
			found = append(found, match{splice.Edit{Start: start + len(r.prefix), End: end, Text: []byte(r.New)}, r.Kind})
		}
		at = start + 1
	}
}

func (r Rule) stands(text []byte, start, end int) bool {
	if start > 0 && !escaped(text, start) && !r.before(text[start-1]) {
		return false
	}
	if end == len(text) {
		return true
	}
	var next byte
	if end+1 < len(text) {
		next = text[end+1]
	}
	return r.after(text[end], next)
}

// escaped tells whether what precedes is an escaped line break or tab of JSON, whose letter is not part of the word.
func escaped(text []byte, start int) bool {
	return start > 1 && text[start-2] == '\\' && bytes.IndexByte([]byte("nrt"), text[start-1]) >= 0
}

func alphanumeric(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

// Base applies the rules to the last element of a path.
func Base(rules Rules, name string) string {
	dir, base := path.Split(name)
	return dir + rules.Apply(base)
}
