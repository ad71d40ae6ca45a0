package extract_test

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/json"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade/extract"
	"github.com/reroot-dev/reroot/schemas"
)

// fact says of [extract.Fact] which fields of a payload it is.
type fact struct {
	Booted events.Deployment `json:"booted"`
	BootID string            `json:"bootid"`
	events.Failure
	Target  *events.Deployment `json:"target"`
	Trigger events.Trigger     `json:"trigger"`
	Cause   *events.Failure    `json:"failure"`
}

// reading is a function under test beside reflection over the payload's Go type.
type reading struct {
	name    string
	types   []events.Type // whose payloads are read so
	extract func(data []byte) (any, error)
	reflect func(data []byte) (any, error)
	full    any // a payload in which every field is set
}

// beside pairs a function with the Go type P of what it reads and with what it keeps of a P. Names are case-sensitive
// to our events, so the decoder on the other side must be.
func beside[P, T any](name string, read func([]byte) (T, error), keep func(P) T, types ...events.Type) reading {
	var full P
	fill(reflect.ValueOf(&full).Elem(), new(int))
	return reading{
		name: name, types: types, full: full,
		extract: func(data []byte) (any, error) { return read(data) },
		reflect: func(data []byte) (any, error) {
			var p P
			strict, err := json.UnmarshalStrict(data, &p, json.DisallowDuplicateFields)
			if len(strict) > 0 {
				return nil, errTwice
			}
			return keep(p), err
		},
	}
}

var errTwice = errors.New("a name stands twice")

func readings() []reading {
	type wait struct {
		Wait string `json:"wait"`
	}
	type trigger struct {
		Trigger events.Trigger `json:"trigger"`
	}
	type booted struct {
		Booted *events.Deployment `json:"booted"`
	}
	return []reading{
		beside("fact", extract.OfFact, func(p fact) extract.Fact {
			return extract.Fact{Booted: p.Booted, BootID: p.BootID, Failure: p.Failure, Target: p.Target, Trigger: p.Trigger, Cause: p.Cause}
		}, facts()...),
		beside("requested", extract.Requested, itself[events.UpgradeRequested], events.TypeUpgradeRequested),
		beside("validated", extract.Validated, itself[events.PrepValidated], events.TypePrepValidated),
		beside("prep failed", extract.PrepFailed, itself[events.PrepFailed], events.TypePrepFailed),
		beside("failure", extract.Failure, itself[events.Failure], events.TypeBackupFailed, events.TypeManifestsFailed,
			events.TypeRestoreFailed, events.TypeUpgradeFailed, events.TypeRollbackFailed, events.TypeIdleFailed),
		beside("backups", extract.Backups, func(p events.BackupCompleted) []events.BackupRef { return p.Backups }, events.TypeBackupCompleted),
		beside("restores", extract.Restores, func(p events.RestoreCompleted) []events.RestoreRef { return p.Restores }, events.TypeRestoreCompleted),
		beside("trigger", extract.Trigger, func(p trigger) events.Trigger { return p.Trigger }, events.TypeRollbackStarted),
		beside("wait", extract.Wait, func(p wait) string { return p.Wait }, events.TypeDeadlinePassed, events.TypeNodeOverdue),
		beside("booted", extract.Booted, func(p booted) *events.Deployment { return p.Booted }, events.TypeJournalRestarted),
	}
}

func itself[T any](v T) T { return v }

func facts() (types []events.Type) {
	for _, d := range events.Catalogue() {
		if d.Kind == events.Fact {
			types = append(types, d.Type)
		}
	}
	return types
}

// fill sets every field that v has to a value that no other has.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d: é \"\\ \u2028 \t", *n))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Bool:
		v.SetBool(true)
	default:
		panic("no value is known for a " + v.Kind().String())
	}
}

// compare reads data on both ways.
func compare(t *testing.T, r reading, data []byte) {
	t.Helper()
	got, err := r.extract(data)
	want, refused := r.reflect(data)
	switch {
	case refused == errTwice: // the last one counts here; no such event is ever admitted
	case (err == nil) != (refused == nil):
		t.Fatalf("%s reads %q with error %v, reflection with %v", r.name, data, err, refused)
	case err == nil:
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s reads %q otherwise than reflection does (-reflection +extract):\n%s", r.name, data, diff)
		}
	}
	if err == nil && !stdjson.Valid(data) {
		t.Fatalf("%s takes %q for JSON", r.name, data)
	}
}

func TestEveryField(t *testing.T) {
	for _, r := range readings() {
		t.Run(r.name, func(t *testing.T) {
			data, err := stdjson.Marshal(r.full)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := r.extract(data); err != nil || reflect.ValueOf(got).IsZero() {
				t.Fatalf("read %v: %v", got, err)
			}
			compare(t, r, data)
		})
	}
}

// payloads are those of the schemas' valid examples and of the recorded histories, by type.
func payloads(t testing.TB) map[events.Type][][]byte {
	t.Helper()
	var docs [][]byte
	err := fs.WalkDir(schemas.FS, "examples", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(entry.Name(), "invalid-") {
			return err
		}
		doc, err := schemas.FS.ReadFile(path)
		docs = append(docs, doc)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := filepath.Glob("../../../test/replay/testdata/*/*.ndjson")
	if err != nil || len(recorded) == 0 {
		t.Fatalf("there are no recorded histories: %v", err)
	}
	for _, file := range recorded {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, slices.Collect(bytes.Lines(text))...)
	}
	all := map[events.Type][][]byte{}
	for _, doc := range docs {
		var e struct {
			Type events.Type
			Data stdjson.RawMessage
		}
		if err := stdjson.Unmarshal(doc, &e); err != nil {
			t.Fatal(err)
		}
		all[e.Type] = append(all[e.Type], e.Data)
	}
	return all
}

func TestPayloads(t *testing.T) {
	all := payloads(t)
	for _, r := range readings() {
		for _, typ := range r.types {
			t.Run(typ.Short(), func(t *testing.T) {
				if len(all[typ]) == 0 {
					t.Fatal("there is no example")
				}
				for _, data := range all[typ] {
					compare(t, r, data)
				}
			})
		}
	}
}

// odd are texts that a decoder may trip over; some are JSON, some are not.
var odd = []string{
	``, ` `, `{`, `}`, `{}`, ` { } `, `[]`, `null`, `nul`, `nulls`, `true`, `"wait"`, `7`, `{}{}`, `{},`,
	`{"wait":null}`, `{"wait":7}`, `{"wait":"\u0050ivot"}`, `{"w\u0061it":"Pivot"}`, `{"Wait":"Pivot"}`,
	`{"wait":"a","wait":"b"}`, `{"wait":"é"}`, "{\"wait\":\"\xff\"}", `{"wait":"\ud83d\ude00 \ud83d"}`, `{"wait":"\q"}`,
	"{\"wait\":\"a\nb\"}", `{"wait":"a`, `{"wait":"a\`, `{"wait":"a\"`, `{"wait"}`, `{"wait":}`, `{"wait" "a"}`, `{wait:"a"}`,
	`{"wait":"a",}`, `{,"wait":"a"}`, `{"x":[1,2,],"wait":"a"}`, `{"x":[,1],"wait":"a"}`, `{"x":[1 2],"wait":"a"}`, `{"x":[1}`,
	`{"x":{"y":[{},[],-0,0.5e-3,1E+2,true,false,null,"\\"]},"wait":"a"}`,
	`{"x":01}`, `{"x":+1}`, `{"x":1.}`, `{"x":.5}`, `{"x":1e}`, `{"x":-}`, `{"x":truee}`, `{"x":NaN}`,
	`{"booted":{"serial":1.0}}`, `{"booted":{"serial":-0}}`, `{"booted":{"serial":1e2}}`, `{"booted":{"serial":"1"}}`,
	`{"booted":{"serial":9223372036854775808}}`, `{"booted":[]}`, `{"booted":null,"target":null,"failure":null}`,
	`{"backups":null}`, `{"backups":[]}`, `{"backups":[null]}`, `{"backups":{}}`, `{"checks":[{"ok":null},{"ok":1}]}`,
	`{"x":` + strings.Repeat("[", 9999) + strings.Repeat("]", 9999) + `}`,
	`{"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + `}`,
}

func TestOddTexts(t *testing.T) {
	for _, text := range odd {
		t.Run(fmt.Sprintf("%.40s", text), func(t *testing.T) {
			for _, r := range readings() {
				compare(t, r, []byte(text))
			}
		})
	}
}

// FuzzExtract: whatever the bytes, both ways read the same or both refuse.
func FuzzExtract(f *testing.F) {
	for _, texts := range payloads(f) {
		for _, data := range texts {
			f.Add(data)
		}
	}
	for _, text := range odd {
		f.Add([]byte(text))
	}
	both := readings()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, r := range both {
			compare(t, r, data)
		}
	})
}
