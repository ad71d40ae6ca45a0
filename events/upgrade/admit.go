package upgrade

import (
	"fmt"
	"slices"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
)

// Admit says whether an event that came from outside, by way of origin ("users", "source", "node", "runtime"), may
// be appended to the history now. It returns nil, a [GuardError], or an [events.Problem]. A stage that cannot be
// reached is admitted all the same: the function stage answers it with stage.rejected, so that the answer is history.
func (s State) Admit(e event.Event, origin string, now time.Time) error {
	if p := events.Validate(e); p != nil {
		return p
	}
	t := events.TypeOf(e)
	d, _ := events.Lookup(t)
	writer := events.Writer(e.Source())
	deny := func(reason events.Reason, format string, args ...any) error {
		return &GuardError{Type: t, Phase: s.Phase, Reason: reason, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case d.Kind != events.Request && d.Kind != events.Fact:
		return deny(events.ReasonNotAllowed, "a %s is not accepted from outside", d.Kind)
	case !slices.Contains(d.Writers, writer) || Origin(writer) != origin:
		return deny(events.ReasonNotAllowed, "it was published by %q as %q, but only %v may write it", origin, e.Source(), d.Writers)
	case events.Cluster(e) != s.Cluster:
		return deny(events.ReasonNotAllowed, "it belongs to cluster %q, this is %q", events.Cluster(e), s.Cluster)
	}
	if exp, ok := e.Extensions()[events.ExtExpiry]; ok {
		if until, err := time.Parse(time.RFC3339Nano, fmt.Sprint(exp)); err == nil && now.After(until) {
			return deny(events.ReasonExpired, "it expired at %s", until.Format(time.RFC3339))
		}
	}
	if t == events.TypeStageRequested && e.Subject() != s.Upgrade {
		return deny(events.ReasonIllegalTransition, "it names upgrade %q, but the last one of this cluster is %q", e.Subject(), s.Upgrade)
	}
	_, err := s.Apply(e, "")
	return err
}

// Origin is the token of the inbox subject by which a writer's events come in.
func Origin(writer string) string {
	if writer == "user" {
		return "users"
	}
	return writer
}
