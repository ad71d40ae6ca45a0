package remedy_test

import (
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/functions/remedy"
)

func TestOf(t *testing.T) {
	long := strings.Repeat("é", events.MaxText/2)
	for _, tt := range []struct {
		name    string
		failure events.Failure
		want    string
	}{
		{"what is known of the reason", events.Failure{Reason: events.ReasonNoSpace}, "make room on the node's disk, set stage Idle, then ask again"},
		{"nothing is known of the reason", events.Failure{Reason: events.ReasonInternal}, "see what journalctl -u reroot-node says on the node, set stage Idle, then ask again"},
		{"the node knows better", events.Failure{Reason: events.ReasonNoSpace, Next: "remove /var/old"}, "remove /var/old, set stage Idle, then ask again"},
		{"the node knows too much", events.Failure{Reason: events.ReasonNoSpace, Next: long}, "…, set stage Idle, then ask again"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := remedy.Of(tt.failure, remedy.AskAgain)
			if !strings.HasSuffix(got.Next, tt.want) || len(tt.failure.Next) < 100 && got.Next != tt.want {
				t.Errorf("it advises %q, want %q", got.Next, tt.want)
			}
			if len(got.Next) > events.MaxText {
				t.Errorf("it advises at a length of %d bytes", len(got.Next))
			}
			if got.Next = tt.failure.Next; got != tt.failure {
				t.Errorf("it is another failure: %+v", got)
			}
		})
	}
}
