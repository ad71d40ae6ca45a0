package schemas_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/schemas"
)

func files(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(schemas.FS, "events/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no schemas: %v", err)
	}
	return append(names, "defs.json", "envelope.json")
}

func read(t *testing.T, file string) map[string]any {
	t.Helper()
	doc, err := fs.ReadFile(schemas.FS, file)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}

// walk calls visit with every schema in a file and with its path there.
func walk(at string, v any, visit func(at string, schema map[string]any)) {
	schema, ok := v.(map[string]any)
	if !ok {
		return
	}
	visit(at, schema)
	for _, keyword := range []string{"properties", "$defs"} {
		if children, ok := schema[keyword].(map[string]any); ok {
			for name, child := range children {
				walk(at+"/"+keyword+"/"+name, child, visit)
			}
		}
	}
	for _, keyword := range []string{"items", "propertyNames", "additionalProperties"} {
		walk(at+"/"+keyword, schema[keyword], visit)
	}
}

func TestFilesSayWhoTheyAre(t *testing.T) {
	for _, file := range files(t) {
		s := read(t, file)
		if s["$id"] != schemas.Base+file {
			t.Errorf("%s has $id %v", file, s["$id"])
		}
		if s["$schema"] != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s has $schema %v", file, s["$schema"])
		}
		for _, keyword := range []string{"title", "description"} {
			if s[keyword] == nil {
				t.Errorf("%s has no %s", file, keyword)
			}
		}
	}
}

func TestEverySchemaCompiles(t *testing.T) {
	for _, file := range files(t) {
		name, isEvent := strings.CutPrefix(strings.TrimSuffix(file, ".json"), "events/")
		if !isEvent {
			continue
		}
		want := []schemas.Problem{{Message: "must be object, not null"}}
		if diff := cmp.Diff(want, schemas.Validate(name, []byte("null"))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A contract is for people: each value says what it means, and each rule that is not self-evident says in a title how
// an error message shall put it.
func TestContractsAreReadableAndBounded(t *testing.T) {
	defs := read(t, "defs.json")["$defs"].(map[string]any)
	used := map[string]bool{}
	for _, file := range files(t) {
		walk(file, read(t, file), func(at string, s map[string]any) {
			ref, isRef := s["$ref"].(string)
			if isRef {
				_, name, _ := strings.Cut(ref, "#/$defs/")
				used[name] = true
				if defs[name] == nil {
					t.Errorf("%s refers to %s, which does not exist", at, ref)
				}
			}
			if s["description"] == nil && !isRef && path.Base(at) != "propertyNames" {
				t.Errorf("%s has no description", at)
			}
			if (s["pattern"] != nil || s["format"] == "semver" || s["format"] == "date-time") && s["title"] == nil {
				t.Errorf("%s has a rule, but no title that puts it in words", at)
			}
			for _, bound := range missingBounds(s) {
				t.Errorf("%s has no %s", at, bound)
			}
		})
	}
	for name := range defs {
		if !used[name] {
			t.Errorf("nobody uses $defs/%s", name)
		}
	}
}

// missingBounds names the keywords without which a value of the schema's type has no limit.
func missingBounds(s map[string]any) (missing []string) {
	switch s["type"] {
	case "string":
		if s["enum"] == nil && s["maxLength"] == nil && !closed(s["pattern"]) {
			missing = append(missing, "maxLength")
		}
	case "array":
		if s["maxItems"] == nil {
			missing = append(missing, "maxItems")
		}
	case "integer", "number":
		for _, bound := range []string{"minimum", "maximum"} {
			if s[bound] == nil {
				missing = append(missing, bound)
			}
		}
	}
	return missing
}

// closed says whether a pattern bounds the length of what it matches.
func closed(pattern any) bool {
	p, ok := pattern.(string)
	return ok && strings.HasPrefix(p, "^") && strings.HasSuffix(p, "$") && !strings.ContainsAny(p, "*+")
}

func TestProblems(t *testing.T) {
	const start = `{"spec":{"seedImageRef":{"version":"4.19.3","image":"quay.io/okd/seed:1"}%s},"through":"Prep"}`
	long := strings.Repeat("é", 5000)
	for _, c := range []struct {
		name, schema, doc string
		want              []string
	}{
		{"nothing", "upgrade.requested.v1", fmt.Sprintf(start, ""), nil},
		{"not JSON", "stage.requested.v1", `{"stage":`, []string{"not JSON: unexpected end of JSON input"}},
		{"number beyond every float", "prep.started.v1", `{"attempt":1e999999}`,
			[]string{"not JSON: json: cannot unmarshal number 1e999999 into Go value of type float64"}},
		{"no such type", "stage.requested.v9", `{}`, []string{"there is no contract stage.requested.v9"}},
		{"path out of the folder", "../defs", `{}`, []string{"there is no contract ../defs"}},
		{"every problem, sorted", "upgrade.requested.v1",
			`{"through":"Idle","spec":{"seedImageRef":{"image":""},"oadpContent":[{"name":"a","namespace":"b"},{"name":"A"}],"x":1},"y":2}`,
			[]string{
				`spec.oadpContent[1].name: must be a Kubernetes object name: lower-case letters, digits, - and ., not "A"`,
				"spec.oadpContent[1].namespace: missing",
				`spec.seedImageRef.image: must be a pull spec, such as quay.io/okd/seed:4.19.3, without blanks, not ""`,
				"spec.seedImageRef.version: missing",
				"spec.x: unknown field",
				`through: must be one of Prep, Upgrade, Finalize, not "Idle"`,
				"y: unknown field",
			}},
		{"field that looks like an index", "stage.requested.v1", `{"stage":"Idle","0":1}`, []string{"0: unknown field"}},
		{"field with an odd name", "stage.requested.v1", `{"stage":"Idle","a b\n":1}`, []string{`"a b\n": unknown field`}},
		{"field without a name", "stage.requested.v1", `{"stage":"Idle","":1}`, []string{`"": unknown field`}},
		{"long value", "stage.requested.v1", `{"stage":"` + long + `"}`,
			[]string{"stage: must be one of Idle, Prep, Upgrade, Rollback, not \"" + strings.Repeat("é", 40) + "…\""}},
		{"object for a word", "stage.requested.v1", `{"stage":{}}`, []string{"stage: must be string, not object"}},
		{"bounds of numbers", "step.progressed.v1", `{"of":"a","step":"b","state":"done","fraction":1.5}`,
			[]string{"fraction: must be 1 or less, not 1.5"}},
		{"bounds of text", "prep.failed.v1", `{"reason":"NoSpace","message":"` + long + `"}`,
			[]string{"message: must have at most 4096 characters, not 5000"}},
		{"repeated item", "stage.rejected.v1", `{"stage":"Idle","reason":"NodeDark","message":"m","validNextStages":["Idle","Prep","Idle"]}`,
			[]string{"validNextStages: items 0 and 2 are the same"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, p := range schemas.Validate(c.schema, []byte(c.doc)) {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnvelope(t *testing.T) {
	good := map[string]any{
		"specversion": "1.0", "id": "1", "source": "/clusters/edge-1/users/alice", "type": "dev.reroot.stage.requested.v1",
		"subject": "up-1", "partitionkey": "edge-1", "data": map[string]any{},
	}
	for _, c := range []struct {
		name      string
		attribute string
		value     any // nil removes it
		want      []string
	}{
		{"good", "time", "2026-11-22T19:30:00+01:00", nil},
		{"extension that is not ours", "rocketry", true, nil},
		{"no id", "id", nil, []string{"id: missing"}},
		{"other specification", "specversion", "0.3", []string{`specversion: must be 1.0, not "0.3"`}},
		{"foreign source", "source", "https://example.com", []string{
			`source: must be /clusters/<cluster>/ and functions/<name>, users/<id>, node, source or runtime, not "https://example.com"`}},
		{"foreign type", "type", "com.example.thing", []string{`type: must be dev.reroot.<entity>.<verb>.v<major>, not "com.example.thing"`}},
		{"cluster that is two tokens", "partitionkey", "a.b", []string{
			`partitionkey: must be a DNS label: lower-case letters, digits and -, not "a.b"`}},
		{"attribute in camel case", "traceParent", "x", []string{
			"traceParent: not an attribute name: 1 to 64 lower-case letters and digits"}},
		{"data in base64", "data_base64", "e30=", []string{
			"data_base64: not an attribute name: 1 to 64 lower-case letters and digits"}},
		{"day without time", "expirytime", "2026-11-22", []string{
			`expirytime: must be an RFC 3339 time, such as 2026-11-22T19:30:00Z, not "2026-11-22"`}},
		{"list as data", "data", []any{}, []string{"data: must be object, not array"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := map[string]any{}
			for k, v := range good {
				doc[k] = v
			}
			if doc[c.attribute] = c.value; c.value == nil {
				delete(doc, c.attribute)
			}
			b, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range schemas.ValidateEnvelope(b) {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	var unknown []string
	for i := range 5000 {
		unknown = append(unknown, fmt.Sprintf(`"f%04d":0`, i))
	}
	got := schemas.Validate("upgrade.started.v1", []byte("{"+strings.Join(unknown, ",")+"}"))
	if len(got) != schemas.MaxProblems {
		t.Fatalf("got %d problems, want %d", len(got), schemas.MaxProblems)
	}
	if got[0].Path != "f0000" || got[48].Path != "f0048" || got[49].Message != "and 4951 more problems" {
		t.Errorf("got %v … %v", got[0], got[49])
	}
}

func TestName(t *testing.T) {
	if got := schemas.Name("dev.reroot.node.pivot.requested.v1", "dev.reroot."); got != "node.pivot.requested.v1" {
		t.Errorf("got %s", got)
	}
}

func TestExamplesBelongToAContract(t *testing.T) {
	dirs, err := fs.ReadDir(schemas.FS, "examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !slices.Contains(files(t), "events/"+dir.Name()+".json") {
			t.Errorf("examples/%s is of no event type", dir.Name())
		}
	}
}
