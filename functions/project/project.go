// Package project is the function that shows the history on the cluster's own API: the ImageBasedUpgrade is a projection
// of it. It reacts to every event and emits none.
//
// The resource lives in an etcd that the pivot replaces, so it is made again in each incarnation of the API, and
// stamped with it: until then the cluster source does not listen to what the resource asks for. It carries the ordinal
// of the newest event that it shows and never goes back to an older one. Its status is the history's alone. Its spec is
// the user's too: it is written only where the history has moved on without being asked through the resource, and never
// while it asks for something that has not been answered.
//
// Only the newest event is shown. While the API is away (the node reboots) a single event waits for it, however many
// there are.
package project

import (
	"context"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/upgrade"
	v1 "github.com/reroot-dev/reroot/functions/api/v1"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// Name of the function.
const Name = "project"

// pause is how long to wait for an API that is away.
const pause = 2 * time.Second

// Function implements functions.Handler and cluster.Projection. Make it with [New].
type Function struct {
	cluster *cluster.Client

	mu     sync.Mutex // one writer at a time
	newest upgrade.State
}

// New returns the function for the cluster that c reaches.
func New(c *cluster.Client) *Function { return &Function{cluster: c} }

// Handle shows the state at e, unless a newer one is known.
func (f *Function) Handle(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
	var answered *answer
	if events.TypeOf(e) == events.TypeStageRejected {
		r, err := events.Decode[events.StageRejected](e)
		if err != nil {
			return nil, err
		}
		answered = &answer{request: events.Causation(e), stage: r.Stage, why: r.Message}
	}
	past := f.learn(s)
	if past && answered == nil {
		return nil, nil // the newest event's delivery shows it
	}
	return nil, cluster.Again(f.show(ctx, answered), "waiting to show the history on the ImageBasedUpgrade")
}

// Show implements cluster.Projection.
func (f *Function) Show(ctx context.Context, s upgrade.State) error {
	f.learn(s)
	return f.show(ctx, nil)
}

// Refuse implements cluster.Projection.
func (f *Function) Refuse(ctx context.Context, s upgrade.State, request string, asked events.Stage, why string) error {
	f.learn(s)
	return f.show(ctx, &answer{request: request, stage: asked, why: why})
}

// learn keeps the newest state and says whether s is an older one.
func (f *Function) learn(s upgrade.State) (past bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.Sequence < f.newest.Sequence {
		return true
	}
	f.newest = s
	return false
}

// answer says that a request that the resource made was refused.
type answer struct {
	request string // its event's id
	stage   events.Stage
	why     string
}

func (a *answer) to(u *v1.ImageBasedUpgrade) bool {
	return a != nil && a.request == cluster.RequestID(u)
}
