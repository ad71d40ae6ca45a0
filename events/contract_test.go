package events_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/schemas"
)

// examples returns the files of examples/<name of the type>, by file name.
func examples(t testing.TB, typ events.Type) map[string][]byte {
	t.Helper()
	dir := "examples/" + schemas.Name(string(typ), events.Prefix)
	entries, err := fs.ReadDir(schemas.FS, dir)
	if err != nil {
		t.Fatalf("%s has no examples: %v", typ, err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		doc, err := fs.ReadFile(schemas.FS, path.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = doc
	}
	return files
}

func valid(t testing.TB, typ events.Type) []byte {
	t.Helper()
	doc, ok := examples(t, typ)["valid.json"]
	if !ok {
		t.Fatalf("%s has no valid.json", typ)
	}
	return doc
}

// An example says in its name how it must fare: valid[-<what>].json, or invalid-<path of the problem>-<what>.json.
func TestExamples(t *testing.T) {
	for _, d := range events.Catalogue() {
		files := examples(t, d.Type)
		var good, bad int
		for name, doc := range files {
			t.Run(d.Type.Short()+"/"+name, func(t *testing.T) {
				e, problem := events.Parse(doc)
				what, isBad := strings.CutPrefix(strings.TrimSuffix(name, ".json"), "invalid-")
				if !isBad {
					good++
					if problem != nil {
						t.Fatalf("a valid example was refused: %v", problem)
					}
					if events.TypeOf(e) != d.Type {
						t.Errorf("it is a %s", e.Type())
					}
					return
				}
				bad++
				at, word, _ := strings.Cut(what, "-")
				if problem == nil {
					t.Fatal("an invalid example was let pass")
				}
				list := problem.List()
				if len(list) != 1 || !strings.HasPrefix(list[0], at+": ") || problem.Reason != events.ReasonInvalidEvent {
					t.Fatalf("got %v, want one problem at %s", problem, at)
				}
				message := strings.TrimPrefix(list[0], at+": ")
				if (word == "missing") != (message == "missing") || (word == "unknown") != (message == "unknown field") {
					t.Errorf("message %q does not fit the file name", message)
				}
			})
		}
		if least := map[events.Kind]int{events.Request: 2}[d.Kind]; good == 0 || bad < max(least, 1) {
			t.Errorf("%s has %d valid and %d invalid examples", d.Type.Short(), good, bad)
		}
	}
}

func TestExamplesRoundTripThroughGo(t *testing.T) {
	for _, d := range events.Catalogue() {
		for name, doc := range examples(t, d.Type) {
			if strings.HasPrefix(name, "invalid") {
				continue
			}
			t.Run(d.Type.Short()+"/"+name, func(t *testing.T) {
				e, problem := events.Parse(doc)
				if problem != nil {
					t.Fatal(problem)
				}
				payload := d.Payload()
				decoder := json.NewDecoder(bytes.NewReader(e.Data()))
				decoder.DisallowUnknownFields()
				if err := decoder.Decode(payload); err != nil {
					t.Fatalf("it does not decode into %T: %v", payload, err)
				}
				encoded, err := json.Marshal(payload)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tree(t, e.Data()), tree(t, encoded)); diff != "" {
					t.Errorf("%T changes it (-example +re-encoded):\n%s", payload, diff)
				}
			})
		}
	}
}

func tree(t *testing.T, doc []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// schema is as much of a schema file as is compared with Go types.
type schema struct {
	Ref        string            `json:"$ref"`
	Title      string            `json:"title"`
	Type       string            `json:"type"`
	Format     string            `json:"format"`
	Closed     *bool             `json:"additionalProperties"`
	Required   []string          `json:"required"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
	Enum       []string          `json:"enum"`
	Defs       map[string]schema `json:"$defs"`
}

func load(t *testing.T, file string) (s schema) {
	t.Helper()
	doc, err := fs.ReadFile(schemas.FS, file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPayloadsAndSchemasAgree(t *testing.T) {
	defs := load(t, "defs.json").Defs
	for _, d := range events.Catalogue() {
		t.Run(d.Type.Short(), func(t *testing.T) {
			s := load(t, "events/"+schemas.Name(string(d.Type), events.Prefix)+".json")
			if s.Title != d.Type.Short() {
				t.Errorf("title is %q", s.Title)
			}
			agree(t, "data", reflect.TypeOf(d.Payload()).Elem(), s, defs)
		})
	}
}

// agree compares a Go type with its schema, down to the scalars.
func agree(t *testing.T, at string, goType reflect.Type, s schema, defs map[string]schema) {
	t.Helper()
	for s.Ref != "" {
		name := s.Ref[strings.LastIndex(s.Ref, "/")+1:]
		next, ok := defs[name]
		if !ok {
			t.Fatalf("%s refers to %s, which is not in defs.json", at, s.Ref)
		}
		s = next
	}
	if goType.Kind() == reflect.Pointer {
		goType = goType.Elem()
	}
	want := map[reflect.Kind]string{
		reflect.Struct: "object", reflect.Slice: "array", reflect.String: "string", reflect.Bool: "boolean",
		reflect.Int: "integer", reflect.Int64: "integer", reflect.Float64: "number",
	}[goType.Kind()]
	switch {
	case goType == reflect.TypeFor[time.Time]():
		if s.Type != "string" || s.Format != "date-time" {
			t.Errorf("%s: a %s is %s %s in the schema", at, goType, s.Type, s.Format)
		}
	case want != s.Type:
		t.Errorf("%s: a %s is %q in the schema, want %q", at, goType, s.Type, want)
	case want == "array":
		agree(t, at+"[]", goType.Elem(), *s.Items, defs)
	case want == "object":
		agreeFields(t, at, goType, s, defs)
	}
}

func agreeFields(t *testing.T, at string, goType reflect.Type, s schema, defs map[string]schema) {
	t.Helper()
	if s.Closed == nil || *s.Closed {
		t.Errorf("%s: the schema lets unknown fields pass", at)
	}
	var names, required []string
	for _, field := range reflect.VisibleFields(goType) {
		tag, ok := field.Tag.Lookup("json")
		if !ok {
			continue // an embedded struct: its fields are visible themselves
		}
		name, option, _ := strings.Cut(tag, ",")
		names = append(names, name)
		if option == "" {
			required = append(required, name)
		}
		property, ok := s.Properties[name]
		if !ok {
			t.Errorf("%s.%s: not in the schema", at, name)
			continue
		}
		agree(t, at+"."+name, field.Type, property, defs)
	}
	for name := range maps.Keys(s.Properties) {
		if !slices.Contains(names, name) {
			t.Errorf("%s.%s: in the schema, but not in %s", at, name, goType)
		}
	}
	slices.Sort(required)
	slices.Sort(s.Required)
	if !slices.Equal(required, s.Required) {
		t.Errorf("%s: the schema requires %v, %s always writes %v", at, s.Required, goType, required)
	}
}

func TestEnumsAndConstantsAgree(t *testing.T) {
	defs := load(t, "defs.json").Defs
	through := load(t, "events/upgrade.requested.v1.json").Properties["through"].Enum
	for _, c := range []struct {
		name string
		enum []string
		want map[string]string
	}{
		{"reason", defs["reason"].Enum, constants(t, "reason.go", "Reason")},
		{"trigger", defs["trigger"].Enum, constants(t, "payload.go", "Trigger")},
		{"step state", load(t, "events/step.progressed.v1.json").Properties["state"].Enum, constants(t, "payload.go", "StepState")},
		{"stage or goal", append(slices.Clone(defs["stage"].Enum), through...), constants(t, "payload.go", "Stage")},
	} {
		t.Run(c.name, func(t *testing.T) {
			slices.Sort(c.enum)
			want := slices.Sorted(maps.Values(c.want))
			if diff := cmp.Diff(want, slices.Compact(c.enum)); diff != "" {
				t.Errorf("(-Go +schema):\n%s", diff)
			}
		})
	}
}

func TestReasonsAreDocumentedUnderTheirOwnName(t *testing.T) {
	for name, value := range constants(t, "reason.go", "Reason") {
		if name != "Reason"+value {
			t.Errorf("%s is spelt %q", name, value)
		}
	}
}
