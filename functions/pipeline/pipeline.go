// Package pipeline puts the functions together for one cluster: which there are, what each of them needs, and the
// cluster source beside them. How they are hosted is the caller's: all in one process, or one behind HTTP.
package pipeline

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/backup"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/finalize"
	"github.com/reroot-dev/reroot/functions/pivot"
	"github.com/reroot-dev/reroot/functions/project"
	"github.com/reroot-dev/reroot/functions/pullseed"
	"github.com/reroot-dev/reroot/functions/restore"
	"github.com/reroot-dev/reroot/functions/rollback"
	"github.com/reroot-dev/reroot/functions/runtime"
	"github.com/reroot-dev/reroot/functions/stage"
	"github.com/reroot-dev/reroot/functions/validate"
)

// Patience is how long, by default, a registry or a backup storage that does not answer may hold up the validation.
const Patience = 5 * time.Minute

// Pipeline is that of one cluster.
type Pipeline struct {
	Cluster  string          // name of its history
	API      *cluster.Client // of that cluster
	Registry registry.Access // how to reach the seed's registry; credentials are the pull secret's
	Patience time.Duration   // 0 means [Patience]
	// Wrap, when set, puts something around each function: what a lab breaks on purpose.
	Wrap func(name string, h functions.Handler) functions.Handler
	Log  *slog.Logger
}

// Run hosts every function and the cluster source, admits what comes in and keeps the deadlines, until ctx ends or the
// store fails. When it returns no goroutine is left; nil means that ctx ended.
func (p Pipeline) Run(ctx context.Context, store journal.Store) error {
	ctx, cancel := context.WithCancel(ctx)
	projection := project.New(p.API)
	source := cluster.Source{
		Cluster: p.Cluster, Client: p.API, Inbox: store, Projection: projection, Log: p.Log,
		State: func(ctx context.Context) (upgrade.State, error) { return journal.Fold(ctx, store, p.Cluster, 0) },
	}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { source.Run(ctx) })
	return runtime.New(store, runtime.Options{Log: p.Log, Functions: p.handlers(projection)}).Run(ctx)
}

// Function is one function by its name.
func (p Pipeline) Function(name string) (functions.Handler, error) {
	h, ok := p.handlers(project.New(p.API))[name]
	if !ok {
		return nil, fmt.Errorf("cannot find function %q", name)
	}
	return h, nil
}

// handlers are the functions by their names in the table upgrade.Reactions, and project, which observes.
func (p Pipeline) handlers(projection *project.Function) map[string]functions.Handler {
	all := map[string]functions.Handler{
		stage.Name:    stage.Function{},
		validate.Name: validate.Function{Cluster: p.API, Registry: p.Registry, Patience: cmp.Or(p.Patience, Patience)},
		pullseed.Name: pullseed.Function{},
		backup.Name:   backup.Function{Cluster: p.API},
		pivot.Name:    pivot.Function{},
		restore.Name:  restore.Function{Cluster: p.API},
		rollback.Name: rollback.Function{},
		finalize.Name: finalize.Function{},
		project.Name:  projection,
	}
	for name, h := range all {
		if p.Wrap != nil {
			h = p.Wrap(name, h)
		}
		all[name] = only(p.Cluster, h)
	}
	return all
}

// only keeps a function from answering for another cluster, whose API it does not have: a journal may hold many.
func only(name string, h functions.Handler) functions.Handler {
	return functions.HandlerFunc(func(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
		if other := events.Cluster(e); other != name {
			return nil, fmt.Errorf("cannot handle an event of cluster %s: this process serves %s", other, name)
		}
		return h.Handle(ctx, s, e)
	})
}
