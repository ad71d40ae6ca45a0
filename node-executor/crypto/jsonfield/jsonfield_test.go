package jsonfield_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/jsonfield"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

func TestSet(t *testing.T) {
	const doc = `{ "a": {"b" : "old", "c~d/e":[1, {"f":"x"}], "empty":{ }}, "n": null }` + "\n"
	for _, test := range []struct{ name, pointer, text, want string }{
		{"a text", "/a/b", "new", strings.Replace(doc, `"old"`, `"new"`, 1)},
		{"the same text", "/a/b", "old", doc},
		{"with quotes and brackets", "/a/b", "<\"\n>", strings.Replace(doc, `"old"`, `"<\"\n>"`, 1)},
		{"in an array, below an odd name", "/a/c~0d~1e/1/f", "y", strings.Replace(doc, `"x"`, `"y"`, 1)},
		{"instead of null", "/n", "t", strings.Replace(doc, `null`, `"t"`, 1)},
		{"a new member", "/a/g", "t", strings.Replace(doc, `{"b"`, `{"g":"t","b"`, 1)},
		{"a new member with an odd name", "/a/~1", "t", strings.Replace(doc, `{"b"`, `{"/":"t","b"`, 1)},
		{"the first member", "/a/empty/g", "t", strings.Replace(doc, `{ }`, `{"g":"t" }`, 1)},
		{"below nothing", "/z/g", "t", doc},
		{"below a text", "/a/b/g", "t", doc},
	} {
		t.Run(test.name, func(t *testing.T) {
			fields, err := jsonfield.Parse([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			edits, err := fields.Set([]byte(doc), test.pointer, test.text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := splice.Apply([]byte(doc), edits)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, doc := range map[string]string{
		"nothing": "", "a word": "hello", "two values": "{} {}", "open": `{"a":"secret`, "too deep": strings.Repeat("[", 600) + strings.Repeat("]", 600),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := jsonfield.Parse([]byte(doc)); !errors.Is(err, jsonfield.ErrNotJSON) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got error %v, want %v", err, jsonfield.ErrNotJSON)
			}
		})
	}
}

// Every value is where it is said to be, and can be replaced there.
func FuzzParse(f *testing.F) {
	f.Add(`{"a":[1,true,{"b":"c"}], "d" : null}`, "text")
	f.Add(` [ "\ud800", {} , [] ] `, "\xff")
	f.Fuzz(func(t *testing.T, doc, text string) {
		fields, err := jsonfield.Parse([]byte(doc))
		if err != nil {
			return
		}
		for pointer, field := range fields {
			if !json.Valid([]byte(doc[field.Start:field.End])) {
				t.Fatalf("%s is not at %d to %d of %s", pointer, field.Start, field.End, doc)
			}
			edits, err := fields.Set([]byte(doc), pointer, text)
			if err != nil {
				t.Fatal(err)
			}
			after, err := splice.Apply([]byte(doc), edits)
			if err != nil || !json.Valid(after) {
				t.Fatalf("setting %s of %s leads to %s, %v", pointer, doc, after, err)
			}
		}
	})
}
