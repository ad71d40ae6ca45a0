package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/functions/pipeline"
	"github.com/reroot-dev/reroot/node-executor/executor/link"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
)

const (
	// journalDir is the embedded journal's directory in the state directory: the same in both roots of an upgrade.
	journalDir = "journal"
	// soloPause is the pause before a journal or functions that failed are started again.
	soloPause = 5 * time.Second
)

// solo runs everything that a cluster needs in this process until ctx ends: the journal, the functions, the cluster
// source and the executor. Between two roots the executor has to finish or to go back whatever happens to the others:
// while these are away it works from its ledger, and they are started again beside it.
func solo(ctx context.Context, config node.Config, log *slog.Logger) error {
	h := &hosted{config: config, log: log, came: make(chan struct{})}
	x, err := node.New(config, h, log)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return x.Run(gctx) })
	g.Go(func() error { return h.keep(gctx) })
	if err := g.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// hosted is the journal in this process, with its functions, as the executor's link.
type hosted struct {
	config node.Config
	log    *slog.Logger

	mu    sync.Mutex
	store journal.Store   // nil while there is none
	life  context.Context // of the store
	came  chan struct{}   // closed when there is one
}

// keep runs journal and functions, again after they failed, until ctx ends.
func (h *hosted) keep(ctx context.Context) error {
	for {
		err := h.host(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		h.log.Error("journal or functions ended", "error", err, "again_in", soloPause.String())
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func (h *hosted) host(ctx context.Context) (err error) {
	options := journal.EmbeddedOptions{Port: h.config.Journal.Port, Log: h.log}
	store, err := journal.OpenEmbedded(ctx, filepath.Join(node.StateDir, journalDir), options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	api, err := pipeline.Connect(h.config.Kubeconfig)
	if err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	defer end()
	h.open(life, store)
	defer h.close()
	return pipeline.Pipeline{
		Cluster: h.config.Cluster, API: api, Log: h.log,
		Registry: registry.Access{CertDir: h.config.Registry.CertDir, Insecure: h.config.Registry.Insecure, Config: h.config.Registry.Config},
	}.Run(life, store)
}

func (h *hosted) open(life context.Context, store journal.Store) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store, h.life = store, life
	close(h.came)
}

func (h *hosted) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.store, h.came = nil, make(chan struct{})
}

// local is the link to the journal; came is closed when there is one.
func (h *hosted) local() (l link.Local, life context.Context, came <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return link.Local{Cluster: h.config.Cluster, Store: h.store}, h.life, h.came
}

// Receive implements node.Link: it goes on with the next journal when one ends.
func (h *hosted) Receive(ctx context.Context, handle func(ctx context.Context, e event.Event, hash string) error) error {
	for {
		_, _, came := h.local()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-came:
		}
		if err := h.receive(ctx, handle); ctx.Err() == nil {
			h.log.Warn("cannot receive commands", "error", err, "again_in", soloPause.String())
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func (h *hosted) receive(ctx context.Context, handle func(context.Context, event.Event, string) error) error {
	l, life, _ := h.local()
	if l.Store == nil {
		return errAway
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	return l.Receive(ctx, handle)
}

// errAway says that there is no journal at present.
var errAway = errors.New("the journal is not open")

// Submit implements node.Link. The outbox tries again.
func (h *hosted) Submit(ctx context.Context, fact event.Event) error {
	l, _, _ := h.local()
	if l.Store == nil {
		return fmt.Errorf("cannot submit fact %s: %w", fact.ID(), errAway)
	}
	return l.Submit(ctx, fact)
}

// Report implements node.Link.
func (h *hosted) Report(ctx context.Context, e event.Event) error {
	l, _, _ := h.local()
	if l.Store == nil {
		return errAway
	}
	return l.Report(ctx, e)
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(soloPause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
