package events_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/events"
)

func request(t testing.TB) event.Event {
	t.Helper()
	e, problem := events.Parse(valid(t, events.TypeUpgradeRequested))
	if problem != nil {
		t.Fatal(problem)
	}
	return e
}

func TestNewIsValid(t *testing.T) {
	e := events.New(events.TypeStageRequested, "r-1", "edge-1", "users/alice", "up-1", events.StageRequested{Stage: events.StagePrep})
	if problem := events.Validate(e); problem != nil {
		t.Fatal(problem)
	}
	if events.Cluster(e) != "edge-1" || events.Causation(e) != "" || e.Source() != "/clusters/edge-1/users/alice" {
		t.Errorf("got %v", e)
	}
}

func TestNewRefusesWhatDoesNotEncode(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	events.New(events.TypeStageRequested, "r-1", "edge-1", "users/alice", "up-1", make(chan int))
}

func TestCaused(t *testing.T) {
	cause := request(t)
	cause.SetExtension(events.ExtTraceParent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	say := func(writer string, n int) event.Event {
		return events.Caused(cause, writer, events.TypePrepStarted, n, events.PrepStarted{Attempt: 1})
	}
	e := say("functions/stage", 0)
	if problem := events.Validate(e); problem != nil {
		t.Fatal(problem)
	}
	if events.Causation(e) != cause.ID() || e.Subject() != cause.Subject() || events.Cluster(e) != events.Cluster(cause) {
		t.Errorf("it does not follow its cause: %v", e)
	}
	if got := e.Extensions()[events.ExtTraceParent]; got != cause.Extensions()[events.ExtTraceParent] {
		t.Errorf("the trace is cut: %v", got)
	}
	if say("functions/stage", 0).ID() != e.ID() {
		t.Error("the same statement got another id")
	}
	for _, other := range []event.Event{say("functions/stage", 1), say("functions/validate", 0)} {
		if other.ID() == e.ID() {
			t.Errorf("another statement got the same id: %v", other)
		}
	}
}

// Histories that exist hold these ids: a change here breaks the recognition of repeated statements.
func TestDerivedIDIsForEver(t *testing.T) {
	for _, c := range []struct {
		cause, writer string
		typ           events.Type
		n             int
		want          string
	}{
		{"r-1", "functions/stage", events.TypePrepStarted, 0, "79ba7335bdb5f85d5380d44671"},
		{"r-1", "functions/stage", events.TypePrepStarted, 1, "a147dcba8c4c21d35f14cc6510"},
		{"79ba7335bdb5f85d5380d44671", "functions/validate", events.TypePrepValidated, 0, "40e6ec4e1321b87eac029e7507"},
	} {
		if got := events.DerivedID(c.cause, c.writer, c.typ, c.n); got != c.want {
			t.Errorf("DerivedID(%s, %s, %s, %d) = %s, want %s", c.cause, c.writer, c.typ, c.n, got, c.want)
		}
	}
}

func TestWriter(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{events.Source("edge-1", "functions/backup"), "backup"},
		{events.Source("edge-1", "users/alice@example.com"), "user"},
		{events.Source("edge-1", "node"), "node"},
		{events.Source("edge-1", "source"), "source"},
		{"", ""},
		{"/clusters/", ""},
		{"/clusters/edge-1", ""},
		{"/clusters/edge-1/", ""},
		{"/clusters//node", ""},
		{"/clusters/edge-1/functions/", ""},
		{"/clusters/edge-1/users/", ""},
		{"/clusters/edge-1/functions/a/b", ""},
		{"/clusters/edge-1/robots/r2", ""},
		{"https://example.com/clusters/edge-1/node", ""},
		{"edge-1/node", ""},
	} {
		if got := events.Writer(c.source); got != c.want {
			t.Errorf("Writer(%q) = %q, want %q", c.source, got, c.want)
		}
	}
}

func TestSourceAndWriterAreInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cluster := rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?`).Draw(t, "cluster")
		name := rapid.StringMatching(`[a-z]{1,12}`).Draw(t, "name")
		if got := events.Writer(events.Source(cluster, "functions/"+name)); got != name {
			t.Fatalf("got %q", got)
		}
		if got := events.Writer(events.Source(cluster, "users/"+name)); got != "user" {
			t.Fatalf("got %q", got)
		}
	})
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name string
		want bool
	}{
		{"edge-1", true}, {"7", true}, {strings.Repeat("a", 63), true},
		{"", false}, {strings.Repeat("a", 64), false}, {"-a", false}, {"a-", false}, {"a.b", false}, {"A", false},
		{"a b", false}, {"a*", false}, {">", false}, {"a\n", false}, {"é", false},
	} {
		if events.ValidCluster(c.name) != c.want || events.ValidUpgrade(c.name) != c.want {
			t.Errorf("%q: want %v", c.name, c.want)
		}
	}
}

func TestStamps(t *testing.T) {
	at := time.Date(2026, 11, 22, 19, 30, 0, 5, time.UTC)
	for _, c := range []struct {
		name     string
		sequence any
		recorded any
		wantN    uint64
		wantTime time.Time
	}{
		{"stamped", "00000000000000000042", at.Format(time.RFC3339Nano), 42, at},
		{"typed by a structured reader", 42, at, 42, at},
		{"absent", nil, nil, 0, time.Time{}},
		{"malformed", "42nd", "yesterday", 0, time.Time{}},
		{"negative", "-1", "", 0, time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := request(t)
			e.SetExtension(events.ExtSequence, c.sequence)
			e.SetExtension(events.ExtRecorded, c.recorded)
			if n := events.Sequence(e); n != c.wantN {
				t.Errorf("sequence is %d, want %d", n, c.wantN)
			}
			if r := events.Recorded(e); !r.Equal(c.wantTime) {
				t.Errorf("recorded is %s, want %s", r, c.wantTime)
			}
		})
	}
}

func TestDecode(t *testing.T) {
	p, err := events.Decode[events.UpgradeRequested](request(t))
	if err != nil {
		t.Fatal(err)
	}
	if p.Through != events.StageUpgrade || p.Spec.Budget() != 45*time.Minute {
		t.Errorf("got %+v", p)
	}
	if d := (events.UpgradeSpec{}).Budget(); d != 30*time.Minute {
		t.Errorf("the default budget is %s", d)
	}
	for name, data := range map[string]string{
		"unknown field":   `{"stage":"Prep","force":true}`,
		"other case":      `{"Stage":"Prep"}`,
		"repeated field":  `{"stage":"Prep","stage":"Idle"}`,
		"wrong type":      `{"stage":1}`,
		"two values":      `{"stage":"Prep"}{}`,
		"nothing":         ``,
		"not UTF-8":       "{\"stage\":\"\xff\"}",
		"half a pair":     `{"stage":"\ud800"}`,
		"two first halfs": `{"stage":"\ud800\ud800"}`,
		"half and letter": `{"stage":"\ud800A"}`,
	} {
		t.Run(name, func(t *testing.T) {
			e := request(t)
			e.DataEncoded = []byte(data)
			if p, err := events.Decode[events.StageRequested](e); err == nil {
				t.Errorf("decoded %+v", p)
			} else if !strings.HasPrefix(err.Error(), "cannot decode upgrade.requested ") {
				t.Errorf("error %q does not say what", err)
			}
		})
	}
	e := request(t)
	e.DataEncoded = []byte(`{"stage":"\\ud800 \ud83d\ude00"}`)
	if p, err := events.Decode[events.StageRequested](e); err != nil || p.Stage != `\ud800 😀` {
		t.Errorf("got %q, %v", p.Stage, err)
	}
}
