package events_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/reroot-dev/reroot/events"
)

// constants returns the values of the string constants of a type that a source file of this package declares.
func constants(t *testing.T, file, typeName string) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == typeName {
			var literal string
			ast.Inspect(spec.Values[0], func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok {
					literal, _ = strconv.Unquote(l.Value)
				}
				return true
			})
			values[spec.Names[0].Name] = literal
		}
		return true
	})
	if len(values) == 0 {
		t.Fatalf("%s declares no constants of type %s", file, typeName)
	}
	return values
}

func TestCatalogueHasEveryType(t *testing.T) {
	declared := constants(t, "types.go", "Type")
	for name, suffix := range declared {
		if _, ok := events.Lookup(events.Type(events.Prefix + suffix)); !ok {
			t.Errorf("%s is not in the catalogue", name)
		}
	}
	if len(declared) != len(events.Catalogue()) {
		t.Errorf("types.go declares %d types, the catalogue has %d", len(declared), len(events.Catalogue()))
	}
	if _, ok := events.Lookup("dev.reroot.upgrade.requested.v2"); ok {
		t.Error("a version that nobody defined was found")
	}
}

func TestDefinitions(t *testing.T) {
	spelling := regexp.MustCompile(`^dev\.reroot\.(node\.)?[a-z]+\.[a-z]+\.v1$`)
	outside := []string{"user", "source", "node", "runtime"}
	for _, d := range events.Catalogue() {
		t.Run(d.Type.Short(), func(t *testing.T) {
			if !spelling.MatchString(string(d.Type)) {
				t.Errorf("type %s is not dev.reroot.<entity>.<verb>.v1", d.Type)
			}
			if d.Meaning == "" || len(d.Writers) == 0 {
				t.Error("no meaning or no writer")
			}
			if p := reflect.TypeOf(d.Payload()); p.Kind() != reflect.Pointer || p.Elem().Kind() != reflect.Struct {
				t.Errorf("payload is a %s, not a pointer to a struct", p)
			}
			switch d.Kind {
			case events.Fact:
				if !slices.Equal(d.Writers, []string{"node"}) {
					t.Errorf("a fact is stated by %v, not only by the node", d.Writers)
				}
			case events.Request:
				for _, w := range d.Writers {
					if w != "user" && w != "source" {
						t.Errorf("a request comes from %s", w)
					}
				}
			case events.Decision:
				for _, w := range d.Writers {
					if slices.Contains(outside, w) && w != "runtime" {
						t.Errorf("a decision is written by %s, which is no function", w)
					}
				}
			case events.Ephemeral:
			default:
				t.Errorf("kind is %v", d.Kind)
			}
		})
	}
}

func TestShortAndExpandAreInverse(t *testing.T) {
	for _, d := range events.Catalogue() {
		if got := events.Expand(d.Type.Short()); got != d.Type {
			t.Errorf("Expand(%q) = %s", d.Type.Short(), got)
		}
		if got := events.Expand(string(d.Type)); got != d.Type {
			t.Errorf("Expand of a complete type = %s", got)
		}
	}
}

func TestKindNames(t *testing.T) {
	for kind, want := range map[events.Kind]string{
		events.Request: "request", events.Decision: "decision", events.Fact: "fact", events.Ephemeral: "ephemeral",
		0: "unknown", -1: "unknown", 99: "unknown",
	} {
		if got := kind.String(); got != want {
			t.Errorf("Kind(%d) = %q, want %q", int(kind), got, want)
		}
	}
}
