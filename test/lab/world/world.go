package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/deploy/crds"
	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	api "github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/test/lab/cluster"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// Options of New.
type Options struct {
	Dir      string            // of the world; made when missing
	Programs map[string]string // from [Prepare]
	Log      io.Writer         // what is being done, for a person
	Pipeline *slog.Logger      // of the functions; nil discards
	// Fail names what is to fail, once: a function's failure ("validate", "backup", "manifests", "restore"), or a
	// step of the node ("pivot.set-default", "cryptoregen.regenerate", …, see step.Plans.Points).
	Fail string
	// Solo has the node host journal and functions itself, in the executor's process: nothing of the pipeline runs
	// here. Functions cannot be made to fail then.
	Solo bool
}

// World is the lab. Make it with New, end it with Close.
type World struct {
	Record
	Store  *journal.Embedded // nil when the node hosts it
	Seed   *Node
	Target *Node
	API    *api.Client // of the target, as the administrator
	Admin  *rest.Config

	opts        Options
	crds        []string // files
	machine     *machine
	journalPort int // of the node's own; 0: it has none
	stops       []func()
}

// journalDir holds the journal, below the world's directory.
const journalDir = "journal"

// Record is what world.json says: where everything is, for whoever wants to look with ostree, kubectl and nats.
type Record struct {
	Dir        string `json:"dir"`
	Cluster    string `json:"cluster"` // its name in the journal
	JournalURL string `json:"journal"` // NATS
	Registry   string `json:"registry"`
	SeedImage  string `json:"seedImage"`
	S3         string `json:"s3"`
	Target     Place  `json:"target"`
	Seed       Place  `json:"seed"`
	Sandbox    string `json:"sandbox"` // control socket of the target's machine
	Console    string `json:"console"`
	// SeedKubeconfigAsTarget is the seed's administrator at the target's address: who must be refused.
	SeedKubeconfigAsTarget string `json:"seedKubeconfigAsTarget"`
}

// Place is where a node and its cluster are.
type Place struct {
	Sysroot    string `json:"sysroot"`
	Kubeconfig string `json:"kubeconfig"`
	APIURL     string `json:"api"`
}

// New makes the lab and brings the target up; it takes about a minute. What it made is ended by Close, also when it
// returns an error.
func New(ctx context.Context, opts Options) (*World, error) {
	w := &World{opts: opts, Record: Record{Dir: opts.Dir}}
	if opts.Solo && sabotageOf(opts.Fail) != "" {
		return w, fmt.Errorf("cannot make %s fail: the node hosts the functions itself; name one of its steps, such as cryptoregen.regenerate", opts.Fail)
	}
	if err := os.MkdirAll(opts.Dir, 0o755); err != nil {
		return w, fmt.Errorf("cannot make the world: %w", err)
	}
	if err := errors.Join(w.definitions(), w.serve(ctx), w.openJournal(ctx)); err != nil {
		return w, err
	}
	targetID, err := identity("target", TargetVersion, "3.5", "192.168.126.11")
	if err != nil {
		return w, err
	}
	seedID, err := identity("seed", SeedVersion, "3.6", "192.168.126.10")
	if err != nil {
		return w, err
	}
	w.Record.Cluster = targetID.ClusterName
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.makeSeed(ctx, seedID) })
	group.Go(func() error { return w.makeTarget(ctx, targetID, seedID) })
	if err := group.Wait(); err != nil {
		return w, err
	}
	return w, w.write()
}

// serve starts registry and S3.
func (w *World) serve(ctx context.Context) error {
	w.say("starting registry and S3")
	var stop func()
	var err error
	if w.Registry, stop, err = startRegistry(filepath.Join(w.Dir, "registry")); err != nil {
		return err
	}
	w.stops = append(w.stops, stop)
	if w.S3, stop, err = startS3(ctx, w.opts.Programs["s3"], w.Dir); err != nil {
		return err
	}
	w.stops = append(w.stops, stop)
	return nil
}

// openJournal opens the journal, or finds the port that the node's own is to listen on.
func (w *World) openJournal(ctx context.Context) error {
	if w.opts.Solo {
		ports, err := freePorts(1)
		if err != nil {
			return err
		}
		w.journalPort = ports[0]
		w.JournalURL = fmt.Sprintf("nats://127.0.0.1:%d", w.journalPort)
		return nil
	}
	w.say("starting the journal")
	var err error
	if w.Store, err = journal.OpenEmbedded(ctx, filepath.Join(w.Dir, journalDir), journal.EmbeddedOptions{Port: -1}); err != nil {
		return err
	}
	w.stops = append(w.stops, func() { _ = w.Store.Close() })
	w.JournalURL = w.Store.URL()
	return nil
}

func (w *World) makeSeed(ctx context.Context, id cluster.Identity) error {
	w.say("installing the seed's node: OKD %s, etcd %s, cluster %s", id.Version, id.Etcd, id.ClusterName)
	var err error
	w.Seed, err = install(ctx, io.Discard, filepath.Join(w.Dir, "seed"), ostree.Tree{Version: id.Version, Kernel: "seed"}, cluster.Options{
		Identity: id, Programs: w.opts.Programs, CRDs: w.crds,
	})
	if err != nil {
		return err
	}
	w.Record.Seed = Place{Sysroot: w.Seed.Sysroot, Kubeconfig: w.Seed.Cluster.AdminKubeconfig, APIURL: id.APIURL()}
	w.say("making the seed image from it")
	w.SeedImage, err = publishSeed(ctx, w.Seed, w.Registry)
	return err
}

func (w *World) makeTarget(ctx context.Context, id, seedID cluster.Identity) error {
	w.say("installing the target's node: OKD %s, etcd %s, cluster %s", id.Version, id.Etcd, id.ClusterName)
	pull := fmt.Appendf(nil, `{"auths":{%q:{"auth":"bGFiOmxhYg=="}}}`, w.Registry)
	var err error
	w.Target, err = install(ctx, io.Discard, filepath.Join(w.Dir, "target"), ostree.Tree{Version: id.Version, Kernel: "target"}, cluster.Options{
		Identity: id, Programs: w.opts.Programs, CRDs: w.crds, PullSecret: pull,
		Backup: &cluster.BackupStore{URL: w.S3, Bucket: bucket, AccessKey: "lab", SecretKey: "lab"},
	})
	if err != nil {
		return err
	}
	w.Record.Target = Place{Sysroot: w.Target.Sysroot, Kubeconfig: w.Target.Cluster.AdminKubeconfig, APIURL: id.APIURL()}
	if w.Admin, err = clientcmd.BuildConfigFromFlags("", w.Target.Cluster.AdminKubeconfig); err != nil {
		return err
	}
	if w.API, err = api.Connect(w.Admin); err != nil {
		return err
	}
	if err := w.equip(ctx); err != nil {
		return err
	}
	w.say("booting the target's machine")
	if w.machine, err = w.boot(ctx, seedID); err != nil {
		return err
	}
	if err := w.machine.ready(ctx, w.Admin); err != nil {
		return fmt.Errorf("the target's API does not come up: %w", err)
	}
	return cluster.AddWorkload(ctx, w.Admin)
}

// definitions writes the custom resource definitions of Reroot into the world's directory.
func (w *World) definitions() error {
	w.crds = []string{filepath.Join(w.Dir, "imagebasedupgrades.yaml")}
	return os.WriteFile(w.crds[0], crds.ImageBasedUpgrade, 0o644)
}

// Spec is what an upgrade.requested for the seed asks for.
func (w *World) Spec() events.UpgradeSpec {
	return events.UpgradeSpec{
		SeedImageRef:              events.SeedImageRef{Version: SeedVersion, Image: w.SeedImage},
		OADPContent:               []events.ConfigMapRef{{Namespace: cluster.BackupNamespace, Name: cluster.BackupConfigMap}},
		InitMonitorTimeoutSeconds: 300,
	}
}

// Run hosts the pipeline until ctx ends, unless the node does.
func (w *World) Run(ctx context.Context) error {
	if w.opts.Solo {
		<-ctx.Done()
		return nil
	}
	log := w.opts.Pipeline
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return runPipeline(ctx, w.Store, w.Cluster, w.API, sabotageOf(w.opts.Fail), log)
}

// sabotageOf is the failure of a function that a name stands for, or "".
func sabotageOf(name string) events.Type {
	return map[string]events.Type{
		"validate": events.TypePrepFailed, "backup": events.TypeBackupFailed,
		"manifests": events.TypeManifestsFailed, "restore": events.TypeRestoreFailed,
	}[name]
}

func (w *World) write() error {
	b, err := json.MarshalIndent(w.Record, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.Dir, "world.json"), append(b, '\n'), 0o644)
}

// Close ends everything and removes the world's directory unless keep is set.
func (w *World) Close(keep bool) error {
	if w.machine != nil {
		w.machine.stop()
	}
	for i := len(w.stops) - 1; i >= 0; i-- {
		w.stops[i]()
	}
	if keep {
		return nil
	}
	var errs []error
	for _, n := range []*Node{w.Seed, w.Target} {
		if n != nil {
			errs = append(errs, ostree.RemoveSysroot(n.Sysroot))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(w.Dir))...)
}

func (w *World) say(format string, args ...any) {
	if w.opts.Log != nil {
		fmt.Fprintf(w.opts.Log, format+"\n", args...)
	}
}
