package world

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
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

// handlers are the functions of the pipeline as a hub has them; sabotage names one event type that is to be answered
// with failure instead, see [Options].Fail.
func handlers(api *cluster.Client, projection *project.Function, sabotage events.Type) map[string]functions.Handler {
	all := map[string]functions.Handler{
		stage.Name:    stage.Function{},
		validate.Name: validate.Function{Cluster: api, Registry: validate.Registry{Insecure: true}, Patience: 10 * time.Second},
		pullseed.Name: pullseed.Function{},
		backup.Name:   backup.Function{Cluster: api},
		pivot.Name:    pivot.Function{},
		restore.Name:  restore.Function{Cluster: api},
		rollback.Name: rollback.Function{},
		finalize.Name: finalize.Function{},
		project.Name:  projection,
	}
	if sabotage != "" {
		for name, h := range all {
			all[name] = spoiled(name, h, sabotage)
		}
	}
	return all
}

// spoiled answers with the given *.failed event, once, where the function could emit it and was about to succeed.
func spoiled(name string, h functions.Handler, with events.Type) functions.Handler {
	return functions.HandlerFunc(func(ctx context.Context, s upgrade.State, e event.Event) ([]event.Event, error) {
		out, err := h.Handle(ctx, s, e)
		could := slices.ContainsFunc(upgrade.Reactions, func(r upgrade.Reaction) bool {
			return r.Function == name && r.On == events.TypeOf(e) && slices.Contains(r.Emits, with) && len(r.Emits) > 1
		})
		if err != nil || len(out) == 0 || !could {
			return out, err
		}
		return []event.Event{events.Caused(e, "functions/"+name, with, 0, events.Failure{
			Reason: spoils[with], Message: "this failure was asked for with --fail", Next: "run without --fail",
		})}, nil
	})
}

// spoils are the reasons of failures that can be asked for in a function.
var spoils = map[events.Type]events.Reason{
	events.TypePrepFailed:      events.ReasonClusterUnhealthy,
	events.TypeBackupFailed:    events.ReasonBackupFailed,
	events.TypeManifestsFailed: events.ReasonManifestsFailed,
	events.TypeRestoreFailed:   events.ReasonRestoreFailed,
}

// Host runs journal and pipeline of a world from another process than the one that made it, which must have closed its
// Store: so that they can be killed without it. It returns when ctx ends.
func Host(ctx context.Context, r Record, log *slog.Logger) (err error) {
	at, err := url.Parse(r.JournalURL)
	if err != nil {
		return fmt.Errorf("cannot host the journal: %w", err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		return fmt.Errorf("cannot host the journal: %w", err)
	}
	store, err := journal.OpenEmbedded(ctx, filepath.Join(r.Dir, journalDir), journal.EmbeddedOptions{Port: port, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	api, err := cluster.ConnectFile(r.Target.Kubeconfig)
	if err != nil {
		return err
	}
	return runPipeline(ctx, store, r.Cluster, api, "", log)
}

// runPipeline hosts the functions and the cluster source until ctx ends.
func runPipeline(ctx context.Context, store journal.Store, name string, api *cluster.Client, sabotage events.Type, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	projection := project.New(api)
	source := cluster.Source{
		Cluster: name, Client: api, Inbox: store, Projection: projection, Log: log,
		State: func(ctx context.Context) (upgrade.State, error) { return journal.Fold(ctx, store, name, 0) },
	}
	var watching sync.WaitGroup
	watching.Go(func() { source.Run(ctx) })
	err := runtime.New(store, runtime.Options{Log: log, Functions: handlers(api, projection, sabotage)}).Run(ctx)
	cancel()
	watching.Wait()
	return err
}
