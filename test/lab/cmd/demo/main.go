// Command demo performs a whole image-based upgrade of a single-node cluster on real parts and shows it live. See
// package world for what is real.
//
//	make demo                          a good upgrade
//	make demo ARGS=--fail=restore      a failure behind the pivot, and the way back
//	make demo ARGS=--solo              the node hosts journal and functions itself
//	make demo ARGS=--keep              leave the world up afterwards, until Ctrl-C
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/klog/v2"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/timeline"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/test/lab/world"
)

func main() {
	fail := flag.String("fail", "", "make a `step` fail once: validate, backup, manifests, restore, or a step of the node such as cryptoregen.regenerate")
	keep := flag.Bool("keep", false, "leave the world up afterwards and write world.json")
	solo := flag.Bool("solo", false, "have the node host journal and functions itself, in one process")
	flag.Parse()
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's: requests that the demo's end cuts off are no errors
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := demo(ctx, world.Options{Fail: *fail, Solo: *solo, Log: os.Stderr}, *keep)
	stop()
	switch {
	case errors.Is(err, context.Canceled):
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context, opts world.Options, keep bool) (err error) {
	if os.Getuid() != 0 {
		return errors.New("cannot run the demo: it makes ostree deployments and namespaces, which only root may")
	}
	begin := time.Now()
	if opts.Programs, err = world.Prepare(ctx, os.Stderr); err != nil {
		return fmt.Errorf("cannot prepare the lab: %w", err)
	}
	if opts.Dir, err = os.MkdirTemp("", "reroot-demo-"); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "the lab's directory is %s\n", opts.Dir)
	w, err := world.New(ctx, opts)
	defer func() { err = errors.Join(err, w.Close(keep)) }()
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "the lab is up after %.0f s\n\n", time.Since(begin).Seconds())
	running, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(running) }()
	defer func() { end(); err = errors.Join(err, <-ended) }()
	s, err := upgradeOnce(ctx, w)
	if err != nil {
		return err
	}
	if err := w.Verify(ctx, s); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "\n%.0f s in all. ", time.Since(begin).Seconds())
	next(w, keep)
	if keep {
		<-ctx.Done()
	}
	return nil
}

// upgradeOnce creates the resource, publishes upgrade.requested and shows what follows until it has settled.
func upgradeOnce(ctx context.Context, w *world.World) (upgrade.State, error) {
	if err := w.CreateResource(ctx); err != nil {
		return upgrade.State{}, err
	}
	store, err := w.Journal(ctx)
	if err != nil {
		return upgrade.State{}, err
	}
	id := "up-" + time.Now().UTC().Format("20060102-150405")
	request := events.New(events.TypeUpgradeRequested, id, w.Record.Cluster, "users/demo", id, events.UpgradeRequested{Spec: w.Spec(), Through: events.StageUpgrade})
	if err := store.Submit(ctx, "users", request); err != nil {
		return upgrade.State{}, err
	}
	fmt.Fprintf(os.Stderr, "published upgrade.requested %s\n", id)
	return timeline.Live(ctx, timeline.ScreenOf(os.Stdout), store, store, w.Record.Cluster)
}

func next(w *world.World, keep bool) {
	if !keep {
		fmt.Fprintln(os.Stderr, "Next: make demo ARGS=--fail=restore, or make demo ARGS=--keep to look around.")
		return
	}
	fmt.Fprintf(os.Stderr, `The world stays up until Ctrl-C; %[1]s/world.json says where everything is. Try:
  reroot --server %[2]s timeline
  reroot --server %[2]s events -o wide
  reroot --server %[2]s replay --until 12 -o yaml
  kubectl --kubeconfig %[3]s get ibu,clusterversion
  reroot-sandbox exec --socket %[4]s ostree admin status
`, w.Dir, w.JournalURL, w.Record.Target.Kubeconfig, w.Sandbox)
}
