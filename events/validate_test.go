package events_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/events"
)

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	e := request(t)
	e.SetSubject("Up 1")
	e.SetSource("/clusters/edge-2/users/alice")
	e.SetDataSchema(events.SchemaURI(events.TypeStageRequested))
	e.SetExtension(events.ExtExpiry, "soon")
	e.DataEncoded = []byte(`{"spec":{"seedImageRef":{"image":"x"},"oadpContent":[{"name":"a"}]},"through":"Moon"}`)
	problem := events.Validate(e)
	if problem == nil {
		t.Fatal("it was let pass")
	}
	want := []string{
		"data.spec.oadpContent[0].namespace: missing",
		"data.spec.seedImageRef.version: missing",
		`data.through: must be one of Prep, Upgrade, Finalize, not "Moon"`,
		`dataschema: must be https://reroot.dev/schemas/events/upgrade.requested.v1.json, not "https://reroot.dev/schemas/events/stage.requested.v1.json"`,
		`expirytime: must be an RFC 3339 time, not "soon"`,
		`source: must be /clusters/edge-1/ and functions/<name>, users/<id>, node, source or runtime, not "/clusters/edge-2/users/alice"`,
		`subject: must be the upgrade's id, a DNS label, not "Up 1"`,
	}
	if diff := cmp.Diff(want, problem.List()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := problem.Error(); got != "InvalidEvent: "+strings.Join(want, "; ") || strings.Contains(got, "\n") {
		t.Errorf("error is %q", got)
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		mend func(*event.Event) // makes the valid request something else
		want []string
	}{
		{"valid", func(*event.Event) {}, nil},
		{"without what may be absent", func(e *event.Event) {
			e.SetDataSchema("")
			e.SetExtension(events.ExtCorrelation, nil)
			e.SetExtension(events.ExtExpiry, nil)
		}, nil},
		{"stamps are not looked at", func(e *event.Event) {
			e.SetExtension(events.ExtSequence, "?")
			e.SetExtension(events.ExtPrevHash, "?")
		}, nil},
		{"next version", func(e *event.Event) { e.SetType("dev.reroot.upgrade.requested.v2") },
			[]string{`type: not in the catalogue (see schemas/events): "dev.reroot.upgrade.requested.v2"`}},
		{"no context", func(e *event.Event) { e.Context = nil }, []string{`type: not in the catalogue (see schemas/events): ""`}},
		{"older specification", func(e *event.Event) { e.SetSpecVersion(event.CloudEventsVersionV03) },
			[]string{`specversion: must be 1.0, not "0.3"`}},
		{"no id", func(e *event.Event) { e.Context = withoutID(e) }, []string{`id: must have 1 to 256 bytes, not ""`}},
		{"other upgrade correlated", func(e *event.Event) { e.SetExtension(events.ExtCorrelation, "other") },
			[]string{`correlationid: must be the upgrade's id, as subject is, not "other"`}},
		{"other media type", func(e *event.Event) { e.SetDataContentType("text/plain") },
			[]string{`datacontenttype: must be application/json, not "text/plain"`}},
		{"no payload", func(e *event.Event) { e.DataEncoded = nil }, []string{"data: not JSON: unexpected end of JSON input"}},
		{"large payload", func(e *event.Event) {
			e.DataEncoded = []byte(`{"x":"` + strings.Repeat("x", events.MaxData) + `"}`)
		}, []string{"data: must have at most 262144 bytes, not 262152"}},
		{"large attribute", func(e *event.Event) { e.SetExtension("note", strings.Repeat("x", events.MaxAttribute+1)) },
			[]string{`note: must have at most 1024 bytes, not "` + strings.Repeat("x", 128) + `"`}},
		{"repeated field", func(e *event.Event) {
			e.DataEncoded = []byte(strings.Replace(string(e.Data()), `{`, `{"through":"Prep",`, 1))
		}, []string{`data: duplicate field "through"`}},
		{"integer with a fraction of zero", func(e *event.Event) {
			e.DataEncoded = []byte(strings.Replace(string(e.Data()), `2700`, `2700.0`, 1))
		}, []string{"data: json: cannot unmarshal number 2700.0 into Go struct field UpgradeSpec.spec.initMonitorTimeoutSeconds of type int"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := request(t)
			c.mend(&e)
			var got []string
			if problem := events.Validate(e); problem != nil {
				got = problem.List()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func withoutID(e *event.Event) event.EventContext {
	c := e.Context.AsV1()
	c.ID = ""
	return c
}

func TestParse(t *testing.T) {
	doc := string(valid(t, events.TypeUpgradeRequested))
	for _, c := range []struct {
		name, doc string
		reason    events.Reason
		want      []string
	}{
		{"valid", doc, "", nil},
		{"nothing", "", events.ReasonInvalidEvent, []string{"not JSON: unexpected end of JSON input"}},
		{"not an object", "[]", events.ReasonInvalidEvent, []string{"must be object, not array"}},
		{"two events", doc + doc, events.ReasonInvalidEvent, []string{"not JSON: invalid character '{' after top-level value"}},
		{"too long", doc + strings.Repeat(" ", 1<<20), events.ReasonInvalidEvent,
			[]string{fmt.Sprintf("the event has %d bytes; at most 327680 are accepted", len(doc)+1<<20)}},
		{"unknown type", strings.Replace(doc, "upgrade.requested.v1", "upgrade.begged.v1", 1), events.ReasonUnknownType,
			[]string{`type: not in the catalogue (see schemas/events): "dev.reroot.upgrade.begged.v1"`}},
		{"what the SDK stops at, and all else", `{"specversion":"1.0","type":"dev.reroot.stage.requested.v1","time":"noon","data":{"stage":"Nap"}}`,
			events.ReasonInvalidEvent, []string{
				`data.stage: must be one of Idle, Prep, Upgrade, Rollback, not "Nap"`,
				"id: missing",
				"partitionkey: missing",
				"source: missing",
				"subject: missing",
				`time: must be an RFC 3339 time, such as 2026-11-22T19:30:00Z, not "noon"`,
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problem := events.Parse([]byte(c.doc))
			var got []string
			var reason events.Reason
			if problem != nil {
				got, reason = problem.List(), problem.Reason
			}
			if diff := cmp.Diff(c.want, got); diff != "" || reason != c.reason {
				t.Errorf("reason %q, want %q (-want +got):\n%s", reason, c.reason, diff)
			}
		})
	}
}

// Whatever is let pass can be decoded, hashed and read again to the same hash; nothing makes validation panic, and a
// report stays short enough for a log line.
func FuzzParse(f *testing.F) {
	for _, d := range events.Catalogue() {
		for _, doc := range examples(f, d.Type) {
			f.Add(doc)
		}
	}
	f.Add([]byte(`{"specversion":"1.0","type":"dev.reroot.prep.started.v1","data":{"attempt":1e308}}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		e, problem := events.Parse(doc)
		if problem != nil {
			if list := problem.List(); len(list) == 0 || len(list) > 100 {
				t.Fatalf("%d problems", len(list))
			}
			if n := len(problem.Error()); n > 64<<10 {
				t.Fatalf("the report has %d bytes", n)
			}
			return
		}
		d, _ := events.Lookup(events.TypeOf(e))
		if err := json.Unmarshal(e.Data(), d.Payload()); err != nil {
			t.Fatalf("it passed, but does not decode: %v", err)
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("it passed, but does not encode: %v", err)
		}
		again, problem := events.Parse(b)
		if problem != nil {
			t.Fatalf("it passed, but not a second time: %v\n%s", problem, b)
		}
		if hash(t, again) != hash(t, e) {
			t.Fatalf("its hash changed on the way: %s", b)
		}
	})
}
