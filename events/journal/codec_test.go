package journal_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
)

// TestHeaderValues holds the rules and the example of the CloudEvents NATS protocol binding, section 3.1.3.2.
func TestHeaderValues(t *testing.T) {
	for name, c := range map[string]struct{ value, header string }{
		"the binding's example": {"Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"},
		"plain":                 {"/clusters/edge-1/node", "/clusters/edge-1/node"},
		"quote and percent":     {`"100%"`, "%22100%25%22"},
		"edges of printable":    {"!~", "!~"},
	} {
		t.Run(name, func(t *testing.T) {
			e := minimal()
			e.SetExtension("comment", c.value)
			header, body, err := journal.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			if got := header["ce-comment"]; len(got) != 1 || got[0] != c.header {
				t.Errorf("encoded as %q, want %q", got, c.header)
			}
			back, err := journal.Decode(header, body)
			if err != nil {
				t.Fatal(err)
			}
			if got := back.Extensions()["comment"]; got != c.value {
				t.Errorf("decoded as %q, want %q", got, c.value)
			}
		})
	}
}

func TestDecodeHeaderValue(t *testing.T) {
	for name, c := range map[string]struct {
		header, want string
		fails        bool
	}{
		"unnecessarily encoded": {header: "%41%62", want: "Ab"},
		"lower-case digits":     {header: "%e2%82%ac", want: "€"},
		"quoted string":         {header: `"a \"b\" c"`, want: `a "b" c`},
		"one round only":        {header: "%2541", want: "%41"},
		"overlong encoding":     {header: "%C0%A0", fails: true},
		"cut off":               {header: "a%2", fails: true},
		"no digits":             {header: "%zz", fails: true},
		"raw bytes":             {header: "\xff", fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			header, body, err := journal.Encode(minimal())
			if err != nil {
				t.Fatal(err)
			}
			header["CE-Comment"] = []string{c.header} // names match whatever their case
			e, err := journal.Decode(header, body)
			if c.fails {
				if err == nil {
					t.Errorf("decoded as %q", e.Extensions()["comment"])
				}
				return
			}
			if got := e.Extensions()["comment"]; err != nil || got != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, h := range map[string]nats.Header{
		"no header":           {},
		"another version":     {"ce-specversion": {"0.3"}, "ce-id": {"1"}, "ce-type": {"t"}, "ce-source": {"/s"}},
		"a time that is none": {"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-type": {"t"}, "ce-source": {"/s"}, "ce-time": {"noon"}},
		"an illegal name":     {"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-type": {"t"}, "ce-source": {"/s"}, "ce-not-allowed": {"x"}},
		"structured, no JSON": {"Content-Type": {"application/cloudevents+json"}},
	} {
		t.Run(name, func(t *testing.T) {
			if e, err := journal.Decode(h, []byte("{")); err == nil {
				t.Errorf("decoded as %v", e)
			}
		})
	}
}

// TestHashSurvivesTheWire: an event has the same hash before and after either mode.
func TestHashSurvivesTheWire(t *testing.T) {
	e := minimal()
	e.SetTime(time.Date(2026, 11, 22, 19, 0, 0, 120_000_000, time.UTC))
	e.SetExtension("comment", `Euro € 😀 "100%"`)
	want, err := events.Hash(e)
	if err != nil {
		t.Fatal(err)
	}
	header, body, err := journal.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		header nats.Header
		body   []byte
	}{"binary": {header, body}, "structured": {nats.Header{"content-type": {"Application/CloudEvents+JSON"}}, doc}} {
		back, err := journal.Decode(c.header, c.body)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := events.Hash(back); err != nil || got != want {
			t.Errorf("%s: hash %s, %v, want %s", name, got, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("ce-comment", "Euro%20%E2%82%AC", "{}")
	f.Add("Content-Type", "application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"/s","type":"t"}`)
	f.Fuzz(func(t *testing.T, name, value, body string) {
		e, err := journal.Decode(nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-type": {"t"}, "ce-source": {"/s"}, name: {value},
		}, []byte(body))
		if err != nil || strings.EqualFold(name, "content-type") {
			return
		}
		header, out, err := journal.Encode(e)
		if err != nil {
			t.Fatalf("decoded but not encoded again: %v", err)
		}
		if again, err := journal.Decode(header, out); err != nil || again.String() != e.String() {
			t.Errorf("%v became %v, %v", e, again, err)
		}
	})
}

func minimal() event.Event {
	return events.New(events.TypeStageRequested, "1", "edge-1", "users/alice", "u1", events.StageRequested{Stage: events.StageIdle})
}
