// Package reasons is the list of all failure reasons with what they mean, for people. The list is generated from the
// comments in events/reason.go, so that the constant, its documentation and `reroot explain reason` cannot differ.
package reasons

import (
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
)

//go:generate go run ./gen ../../../reason.go table.go

// Entry documents one reason.
type Entry struct {
	Reason  string // SeedNotNewer
	Meaning string // one line: what it says
	Group   string // one line: where it occurs
}

// Parse reads the reasons from Go source: every constant of type Reason, whose comment says "ReasonX: meaning.", in
// groups whose comment says "Reasons of …."
func Parse(src []byte) ([]Entry, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", src, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("cannot parse the reasons: %w", err)
	}
	var all []Entry
	for _, d := range file.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, s := range group.Specs {
			e, err := entry(s.(*ast.ValueSpec))
			if err != nil {
				return nil, err
			}
			e.Group = sentence(group.Doc.Text())
			all = append(all, e)
		}
	}
	return all, nil
}

func entry(spec *ast.ValueSpec) (Entry, error) {
	name := spec.Names[0].Name
	meaning, documented := strings.CutPrefix(spec.Doc.Text(), name+": ")
	if !documented || len(spec.Values) != 1 {
		return Entry{}, fmt.Errorf("cannot document %s: its comment does not begin with %q", name, name+": ")
	}
	literal, ok := spec.Values[0].(*ast.BasicLit)
	if !ok {
		return Entry{}, fmt.Errorf("cannot document %s: it is not a string", name)
	}
	reason, err := strconv.Unquote(literal.Value)
	if err != nil {
		return Entry{}, fmt.Errorf("cannot document %s: %w", name, err)
	}
	return Entry{Reason: reason, Meaning: sentence(meaning)}, nil
}

// sentence is a comment as one line without its full stop.
func sentence(comment string) string {
	return strings.TrimSuffix(strings.Join(strings.Fields(comment), " "), ".")
}

// Source is the Go file that holds the entries as Table.
func Source(entries []Entry) ([]byte, error) {
	var b strings.Builder
	b.WriteString("// Code generated from events/reason.go; DO NOT EDIT.\n\npackage reasons\n\n")
	b.WriteString("// Table lists every reason in the order of the source.\nvar Table = []Entry{\n")
	for _, e := range entries {
		fmt.Fprintf(&b, "{Reason: %q, Meaning: %q, Group: %q},\n", e.Reason, e.Meaning, e.Group)
	}
	b.WriteString("}\n")
	return format.Source([]byte(b.String()))
}
