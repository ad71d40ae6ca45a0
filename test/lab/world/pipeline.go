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
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/functions"
	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/functions/pipeline"
)

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
// Store: so that they can be killed without it. Fail names the function's failure that is asked for, see [Options]. It
// returns when ctx ends.
func Host(ctx context.Context, r Record, fail string, log *slog.Logger) (err error) {
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
	return runPipeline(ctx, store, r.Cluster, api, sabotageOf(fail), log)
}

// journalLimit bounds the wait for a journal that is hosted elsewhere: a node's own is there soon after it has booted.
const journalLimit = 2 * time.Minute

// Journal is the journal as `reroot` sees it, wherever it is hosted. The connection ends with the world.
func (w *World) Journal(ctx context.Context) (journal.Store, error) {
	nc, err := nats.Connect(w.JournalURL, nats.Name("lab"), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to the journal: %w", err)
	}
	w.stops = append(w.stops, nc.Close)
	ctx, cancel := context.WithTimeout(ctx, journalLimit)
	defer cancel()
	var store journal.Store
	err = poll(ctx, w.machine.ended, func() error {
		store, err = journal.Attach(ctx, nc)
		return err
	})
	return store, err
}

// patience is short: everything that the lab's functions ask is on loopback.
const patience = 10 * time.Second

// runPipeline hosts the functions and the cluster source, as a hub does, until ctx ends. Sabotage names one event type
// that is to be answered with failure instead, see [Options].Fail.
func runPipeline(ctx context.Context, store journal.Store, name string, api *cluster.Client, sabotage events.Type, log *slog.Logger) error {
	p := pipeline.Pipeline{Cluster: name, API: api, Registry: registry.Access{Insecure: true}, Patience: patience, Log: log}
	if sabotage != "" {
		p.Wrap = func(name string, h functions.Handler) functions.Handler { return spoiled(name, h, sabotage) }
	}
	return p.Run(ctx, store)
}
