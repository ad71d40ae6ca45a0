package schemas

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// MaxProblems bounds what is reported of one document. A hostile one can be wrong in a hundred thousand places.
const MaxProblems = 50

// maxQuoted bounds how much of an offending value or name is repeated in a problem, in bytes.
const maxQuoted = 80

// Problem is one way in which a document violates its schema.
type Problem struct {
	Path    string // of the offending value: spec.oadpContent[0].name; "" is the document itself
	Message string // what is wrong with it: missing
}

// String is the problem as a person reads it: "spec.seedImageRef.version: missing".
func (p Problem) String() string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

// problems lists what is wrong with doc, sorted by path. When there is too much of it, the last one says so.
func problems(e *jsonschema.ValidationError, doc any) []Problem {
	all := leaves(e, doc, nil)
	slices.SortFunc(all, func(a, b Problem) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(a.Message, b.Message)
	})
	all = slices.Compact(all)
	if more := len(all) - MaxProblems + 1; more > 1 {
		all = append(all[:MaxProblems-1], Problem{Message: fmt.Sprintf("and %d more problems", more)})
	}
	return all
}

// leaves collects the innermost causes: those are what a person can mend.
func leaves(e *jsonschema.ValidationError, doc any, into []Problem) []Problem {
	if k, ok := e.ErrorKind.(*kind.PropertyNames); ok { // its causes speak of the name as if it were a value
		return append(into, Problem{at(e.InstanceLocation, doc, k.Property), "not " + title(e.SchemaURL)})
	}
	for _, c := range e.Causes {
		into = leaves(c, doc, into)
	}
	if len(e.Causes) > 0 {
		return into
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			into = append(into, Problem{at(e.InstanceLocation, doc, name), "missing"})
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			into = append(into, Problem{at(e.InstanceLocation, doc, name), "unknown field"})
		}
	default:
		into = append(into, Problem{at(e.InstanceLocation, doc), explain(e)})
	}
	return into
}

var english = message.NewPrinter(language.English)

// explain says what a value must be.
func explain(e *jsonschema.ValidationError) string {
	switch k := e.ErrorKind.(type) {
	case *kind.Type:
		return fmt.Sprintf("must be %s, not %s", strings.Join(k.Want, " or "), k.Got)
	case *kind.Enum:
		return fmt.Sprintf("must be one of %s, not %s", list(k.Want), quote(k.Got))
	case *kind.Const:
		return fmt.Sprintf("must be %v, not %s", k.Want, quote(k.Got))
	case *kind.Pattern:
		return fmt.Sprintf("must be %s, not %s", title(e.SchemaURL), quote(k.Got))
	case *kind.Format:
		return fmt.Sprintf("must be %s, not %s", title(e.SchemaURL), quote(k.Got))
	case *kind.MinLength:
		return fmt.Sprintf("must have at least %d characters, not %d", k.Want, k.Got)
	case *kind.MaxLength:
		return fmt.Sprintf("must have at most %d characters, not %d", k.Want, k.Got)
	case *kind.MaxItems:
		return fmt.Sprintf("must have at most %d items, not %d", k.Want, k.Got)
	case *kind.UniqueItems:
		return fmt.Sprintf("items %d and %d are the same", k.Duplicates[0], k.Duplicates[1])
	case *kind.Minimum:
		return fmt.Sprintf("must be %s or more, not %s", k.Want.RatString(), decimal(k.Got))
	case *kind.Maximum:
		return fmt.Sprintf("must be %s or less, not %s", k.Want.RatString(), decimal(k.Got))
	}
	return e.ErrorKind.LocalizedString(english)
}

// title is how a schema completes "must be …"; its URI is complete.
func title(uri string) string {
	s, err := compiled(strings.TrimPrefix(uri, Base))
	if err != nil || s.Title == "" {
		return "as " + uri + " says"
	}
	return s.Title
}

// at spells the path of a value, and of a field in it, as people do: spec.oadpContent[0].name. It looks at doc to tell
// an index from a field whose name is a number.
func at(location []string, doc any, field ...string) string {
	var b strings.Builder
	for _, token := range append(slices.Clone(location), field...) {
		switch v := doc.(type) {
		case []any:
			b.WriteString("[" + token + "]")
			if i, err := strconv.Atoi(token); err == nil && i < len(v) {
				doc = v[i]
			}
			continue
		case map[string]any:
			doc = v[token]
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(name(token))
	}
	return b.String()
}

// name is a field's name as it stands in a path: quoted unless it is an ordinary one.
func name(token string) string {
	ordinary := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '$'
	}
	if token != "" && len(token) <= maxQuoted && strings.IndexFunc(token, func(r rune) bool { return !ordinary(r) }) < 0 {
		return token
	}
	return quote(token)
}

func list(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ", ")
}

// quote repeats an offending value, cut to a length that a log line can bear.
func quote(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(cut(v))
	case map[string]any:
		return "an object"
	case []any:
		return "an array"
	}
	return cut(fmt.Sprint(v))
}

func cut(s string) string {
	if len(s) <= maxQuoted {
		return s
	}
	n := maxQuoted
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func decimal(r interface{ Float64() (float64, bool) }) string {
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}
