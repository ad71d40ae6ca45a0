package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/functions"
)

// maxRequest bounds an HTTP request's body, in bytes: payload and, in structured mode, the envelope.
const maxRequest = events.MaxData + 64<<10

// HTTP hosts one function as Knative calls it: a CloudEvent is posted, in binary or structured mode, which must be one
// of the journal; it only says where to look, the function gets the journal's copy. Answers go to the journal, never
// into the reply, which a broker may lose. Statuses:
//
//	204  appended, or there was nothing to do, or parked
//	400  not a CloudEvent, or not one with a cluster and a sequence
//	503  not yet: call again after Retry-After
//	500  failed: call again
func HTTP(function string, handler functions.Handler, store journal.Store, log *slog.Logger) http.Handler {
	r := New(store, Options{Log: log, Functions: map[string]functions.Handler{function: handler}})
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		req.Body = http.MaxBytesReader(w, req.Body, maxRequest)
		e, err := cehttp.NewEventFromHTTPRequest(req)
		if err != nil {
			http.Error(w, "not a CloudEvent: "+err.Error(), http.StatusBadRequest)
			return
		}
		if !events.ValidCluster(events.Cluster(*e)) || events.Sequence(*e) == 0 {
			http.Error(w, "not an event of a history: it has no partitionkey or sequence", http.StatusBadRequest)
			return
		}
		r.answer(w, r.handleCopy(req.Context(), function, *e))
	})
}

// handleCopy gives the function the journal's copy of an event that came by another way.
func (r *Runtime) handleCopy(ctx context.Context, function string, e event.Event) error {
	genuine, err := r.history(events.Cluster(e)).event(ctx, events.Sequence(e))
	if err != nil {
		return err
	}
	if identify(genuine) != identify(e) {
		return fmt.Errorf("event %d of %s is another one", events.Sequence(e), events.Cluster(e))
	}
	return r.deliver(ctx, function, journal.Delivery{Cluster: events.Cluster(genuine), Event: genuine, Attempt: 1})
}

func (r *Runtime) answer(w http.ResponseWriter, err error) {
	switch later := (*journal.Later)(nil); {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.As(err, &later):
		seconds := int(math.Ceil(max(later.After, time.Second).Seconds()))
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		http.Error(w, later.Error(), http.StatusServiceUnavailable)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
