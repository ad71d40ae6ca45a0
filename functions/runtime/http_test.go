package runtime_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/runtime"
)

func TestHTTP(t *testing.T) {
	store := journal.NewMemory(nil)
	request := requested(upID, events.StagePrep)
	first, err := store.Append(t.Context(), cluster, journal.Head{}, request)
	if err != nil {
		t.Fatal(err)
	}
	started, err := store.Append(t.Context(), cluster, first[0].Head(), answer("stage", request)...)
	if err != nil {
		t.Fatal(err)
	}
	genuine := started[0].Event
	failing := func(err error) functions.HandlerFunc {
		return func(context.Context, upgrade.State, event.Event) ([]event.Event, error) { return nil, err }
	}
	works := functions.HandlerFunc(func(_ context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
		if s.Phase != upgrade.Validating {
			t.Errorf("handled in phase %s", s.Phase)
		}
		return answer("validate", e), nil
	})
	for _, c := range []struct {
		name    string
		handler functions.Handler
		event   event.Event
		status  int
		after   string
		length  int
	}{
		{"without a sequence", works, with(genuine, func(e *event.Event) { e.SetExtension(events.ExtSequence, nil) }), 400, "", 2},
		{"beyond the end", works, with(genuine, func(e *event.Event) { e.SetExtension(events.ExtSequence, "99") }), 500, "", 2},
		{"another event", works, with(genuine, func(e *event.Event) { e.SetID("other") }), 500, "", 2},
		{"waits", failing(&functions.Retry{After: 90 * time.Second, Reason: "waiting"}), genuine, 503, "90", 2},
		{"fails", failing(errors.New("no")), genuine, 500, "", 2},
		{"fails for good", failing(&functions.Fail{Reason: events.ReasonForeignController, Err: errors.New("no")}), genuine, 204, "", 2},
		{"forged data", works, with(genuine, func(e *event.Event) { e.DataEncoded = []byte(`{"attempt":7}`) }), 204, "", 3},
		{"again", works, genuine, 204, "", 3},
	} {
		for mode, post := range map[string]func(*testing.T, string, event.Event) *http.Response{"binary": postBinary, "structured": postStructured} {
			if c.length == 3 && mode == "structured" {
				continue // once is enough for what changes the history
			}
			t.Run(c.name+" "+mode, func(t *testing.T) {
				srv := httptest.NewServer(runtime.HTTP("validate", c.handler, store, nil))
				defer srv.Close()
				res := post(t, srv.URL, c.event)
				if res.StatusCode != c.status || res.Header.Get("Retry-After") != c.after || res.Header.Get("ce-id") != "" {
					t.Errorf("answered %s, %v", res.Status, res.Header)
				}
				if n := length(t, store); n != c.length {
					t.Errorf("%d events in the history", n)
				}
			})
		}
	}
	if p := onlyParked(t, store); p.Reason != events.ReasonForeignController {
		t.Errorf("parked: %+v", p)
	}
}

func TestHTTPRefusesWhatIsNoEvent(t *testing.T) {
	srv := httptest.NewServer(runtime.HTTP("validate", functions.HandlerFunc(silent), journal.NewMemory(nil), nil))
	defer srv.Close()
	for name, body := range map[string]string{"text": "hello", "too large": strings.Repeat("x", 1<<20)} {
		t.Run(name, func(t *testing.T) {
			res, err := srv.Client().Post(srv.URL, "application/cloudevents+json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != 400 {
				t.Errorf("answered %s", res.Status)
			}
		})
	}
}

func postBinary(t *testing.T, url string, e event.Event) *http.Response {
	t.Helper()
	req, err := cehttp.NewHTTPRequestFromEvent(t.Context(), url, e)
	if err != nil {
		t.Fatal(err)
	}
	return roundTrip(t, req)
}

func postStructured(t *testing.T, url string, e event.Event) *http.Response {
	t.Helper()
	body, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", event.ApplicationCloudEventsJSON)
	return roundTrip(t, req)
}

func roundTrip(t *testing.T, req *http.Request) *http.Response {
	t.Helper()
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res
}
