package node_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/node-executor/executor"
	"github.com/reroot-dev/reroot/node-executor/executor/ledger"
	"github.com/reroot-dev/reroot/node-executor/executor/link"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/step/etc"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// The test's own program is also what is installed on the lab's node: the real executor, watchdog and gate, with
// stand-ins for what needs a cluster. So the units under test run it as they run reroot-node.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		var err error
		switch os.Args[1] {
		case sandbox.InitramfsCommand:
			err = sandbox.Initramfs()
		case "run":
			err = run(ctx, log)
		case "watchdog":
			err = node.Watch(ctx, log)
		case "await-identity":
			err = node.AwaitIdentity(ctx)
		case "status":
			_, err = node.ReadStatus()
		case "install":
			err = node.Install(node.InstallOptions{Etc: "/etc", State: "/sysroot/reroot"})
		default:
			goleak.VerifyTestMain(m)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// run is reroot-node run with stand-ins.
func run(ctx context.Context, log *slog.Logger) error {
	if err := node.MakeWritable(); err != nil {
		return err
	}
	c, err := node.Load(filepath.Join(node.StateDir, node.ConfigFile))
	if err != nil {
		return err
	}
	l, err := ledger.Open(ledger.File(filepath.Join(node.StateDir, node.Ledger)))
	if err != nil {
		return err
	}
	conn, err := nats.Connect(c.Journal.URL, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer conn.Close()
	parts := node.Parts(c, log)
	parts.Site, parts.Crypto, parts.API = standIn{}, standIn{}, standIn{}
	remote := link.Remote{Cluster: c.Cluster, Conn: conn, Log: log}
	return executor.New(executor.Options{
		Cluster: c.Cluster, Ledger: l, Plans: step.All(parts), Machine: node.NewMachine(), Watchdog: watchdog.Dir(node.StateDir).Read,
		Commands: remote, Facts: remote, Progress: remote, Now: time.Now, Log: log,
	}).Run(ctx)
}

// Files of the node by which the stand-ins and the test speak to each other.
const (
	kubeletRan = "/run/kubelet-ran"
	failCrypto = node.StateDir + "/fail-crypto"
)

// standIn takes the place of the cluster: it has an identity, and its API answers when the kubelet runs.
type standIn struct{}

func (standIn) Collect(context.Context, []events.ConfigMapRef) error { return nil }
func (standIn) Offline() error                                       { return nil }
func (standIn) Online(context.Context) (string, error)               { return "lab", nil }
func (standIn) Forget() error                                        { return nil }
func (standIn) EtcFiles() ([]etc.File, error) {
	return []etc.File{{Path: "lab-site", Data: []byte("edge-1\n"), Mode: 0o644}}, nil
}

// Regenerate fails when the kubelet has run before it. It runs a program as the real one runs etcd.
func (standIn) Regenerate(ctx context.Context, _, _ string, _ int) (step.Regenerated, error) {
	if _, err := os.Stat(kubeletRan); err == nil {
		return step.Regenerated{}, errors.New("the kubelet ran under the seed's identity")
	}
	if _, err := os.Stat(failCrypto); err == nil {
		return step.Regenerated{}, errors.New("told to fail")
	}
	p, err := node.NewRunner().Start(ctx, "/usr/bin/sleep", []string{"infinity"})
	if err != nil {
		return step.Regenerated{}, err
	}
	select {
	case <-p.Exited():
		err = errors.New("the program has ended by itself")
	case <-time.After(time.Second):
	}
	if err = errors.Join(err, p.Stop(ctx)); err != nil {
		return step.Regenerated{}, err
	}
	<-p.Exited()
	return step.Regenerated{Regenerated: 1}, nil
}

func (standIn) Await(ctx context.Context, _ func(float64, string)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(kubeletRan); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

const kubelet = "#!/bin/sh\ntouch " + kubeletRan + "\nexec sleep infinity\n"

// lab is a node in a sandbox and the journal that it reports to.
type lab struct {
	t        *testing.T
	machine  sandbox.Config
	sysroot  *ostree.Sysroot
	journal  *journal.Embedded
	head     journal.Head
	old, new events.Deployment

	mu    sync.Mutex
	facts []event.Event
	news  chan struct{}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel() // most of a boot is waiting
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces and ostree")
	}
	dir, err := os.MkdirTemp("", "reroot-node-")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, news: make(chan struct{}, 1), machine: sandbox.Config{
		Name: "node", Sysroot: filepath.Join(dir, "sysroot"), State: filepath.Join(dir, "state"), Hostname: "lab-node",
		Console: filepath.Join(dir, "console.log"), Socket: filepath.Join(dir, "control"), OnKill: sandbox.OnKillBoot, MaxBoots: 20,
		Binds: []sandbox.Bind{{Source: filepath.Join(dir, "libexec"), Target: "/usr/libexec/lab", ReadOnly: true}},
	}}
	t.Cleanup(func() {
		if t.Failed() {
			console, _ := os.ReadFile(l.machine.Console)
			t.Logf("console:\n%s", console)
		}
		if err := errors.Join(ostree.RemoveSysroot(l.machine.Sysroot), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	l.openJournal(filepath.Join(dir, "journal"))
	if err := os.Mkdir(filepath.Join(dir, "libexec"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "libexec/lab-kubelet"), []byte(kubelet), 0o755); err != nil {
		t.Fatal(err)
	}
	l.deploy()
	l.install(filepath.Join(dir, "node.yaml"))
	l.boot()
	return l
}

func (l *lab) openJournal(dir string) {
	l.t.Helper()
	var err error
	if l.journal, err = journal.OpenEmbedded(l.t.Context(), dir, journal.EmbeddedOptions{Port: -1}); err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = l.journal.Receive(ctx, "admit", l.hear) })
	l.t.Cleanup(func() {
		cancel()
		done.Wait()
		if err := l.journal.Close(); err != nil {
			l.t.Error(err)
		}
	})
}

// deploy makes two roots, of which the old one boots first.
func (l *lab) deploy() {
	l.t.Helper()
	var err error
	if l.sysroot, err = ostree.NewSysroot(l.t.Context(), l.t.Output(), l.machine.Sysroot); err != nil {
		l.t.Fatal(err)
	}
	for _, d := range []struct {
		into               *events.Deployment
		stateroot, version string
	}{{&l.new, "rhcos_4.17.0", "4.17.0"}, {&l.old, "rhcos", "4.16.0"}} {
		got, err := l.sysroot.Deploy(l.t.Context(), ostree.DeployOptions{
			Stateroot: d.stateroot, Tree: ostree.Tree{Version: d.version}, Kargs: []string{"rw"},
		})
		if err != nil {
			l.t.Fatal(err)
		}
		*d.into = events.Deployment{Stateroot: d.stateroot, Commit: got.Commit}
		err = etc.Write(filepath.Join(got.Dir, "etc"), nil, etc.File{
			Path: "systemd/system/multi-user.target.wants/kubelet.service", Link: "/usr/lib/systemd/system/kubelet.service",
		})
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

func (l *lab) dir(d events.Deployment) string {
	return filepath.Join(l.machine.Sysroot, "ostree/deploy", d.Stateroot, "deploy", fmt.Sprintf("%s.%d", d.Commit, d.Serial))
}

func (l *lab) install(config string) {
	l.t.Helper()
	text := fmt.Sprintf("cluster: edge-1\njournal: {url: %q}\nkubeconfig: /etc/none\ngated: [kubelet.service]\netcd: {programs: {\"3.5\": /none}}\n", l.journal.URL())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	err := node.Install(node.InstallOptions{
		Etc: filepath.Join(l.dir(l.old), "etc"), State: filepath.Join(l.machine.Sysroot, "reroot"), Config: config,
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) boot() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(l.t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		err := sandbox.Run(ctx, l.machine, sandbox.BLS{}, slog.New(slog.NewTextHandler(l.t.Output(), nil)))
		if err != nil && !errors.Is(err, context.Canceled) {
			l.t.Errorf("machine: %v", err)
		}
	})
	l.t.Cleanup(func() {
		cancel()
		done.Wait()
	})
}

// limit bounds every wait; a boot takes two seconds on a quiet machine.
const limit = 90 * time.Second

func (l *lab) ready(number int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	if _, err := sandbox.WaitReady(ctx, l.machine.Socket, number); err != nil {
		l.t.Fatal(err)
	}
}

// node runs a command on the node and returns its trimmed output and exit code.
func (l *lab) node(argv ...string) (string, int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), limit)
	defer cancel()
	stdout, stderr, code, err := sandbox.Exec(ctx, l.machine.Socket, argv, nil)
	if err != nil {
		l.t.Fatalf("%v: %v", argv, err)
	}
	return strings.TrimSpace(string(stdout) + string(stderr)), code
}

// command appends commands to the history, in one batch.
func (l *lab) command(cs ...event.Event) {
	l.t.Helper()
	recs, err := l.journal.Append(l.t.Context(), "edge-1", l.head, cs...)
	if err != nil {
		l.t.Fatal(err)
	}
	last := recs[len(recs)-1]
	l.head = journal.Head{Sequence: events.Sequence(last.Event), Hash: last.Hash}
}

func (l *lab) event(t events.Type, data any) event.Event {
	return events.New(t, strings.ReplaceAll(t.Short(), ".", "-"), "edge-1", "functions/lab", "u1", data)
}

func (l *lab) base(d events.Deployment) events.Command {
	return events.Command{Attempt: 1, For: &d, NotAfter: time.Now().Add(time.Hour).UTC()}
}

func (l *lab) pivot(budget time.Duration) {
	l.t.Helper()
	l.command(
		l.event(events.TypePivotRequested, events.PivotRequested{Command: l.base(l.old), Target: l.new, BudgetSeconds: int(budget.Seconds())}),
		l.event(events.TypeCryptoregenRequested, events.CryptoregenRequested{Command: l.base(l.new)}),
		l.event(events.TypeReconfigureRequested, events.ReconfigureRequested{Command: l.base(l.new)}),
	)
}

func (l *lab) hear(_ context.Context, d journal.Delivery) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, known := range l.facts {
		if known.ID() == d.Event.ID() {
			return nil
		}
	}
	l.facts = append(l.facts, d.Event)
	select {
	case l.news <- struct{}{}:
	default:
	}
	return nil
}

// fact waits for the next fact, which must be of that type, and decodes it.
func fact[T any](l *lab, n int, want events.Type) T {
	l.t.Helper()
	deadline := time.After(limit)
	for {
		l.mu.Lock()
		facts := l.facts
		l.mu.Unlock()
		if len(facts) >= n {
			e := facts[n-1]
			if got := events.TypeOf(e); got != want {
				l.t.Fatalf("fact %d is %s, want %s: %s", n, got.Short(), want.Short(), e.Data())
			}
			if p := events.Validate(e); p != nil {
				l.t.Errorf("fact %d: %v", n, p)
			}
			data, err := events.Decode[T](e)
			if err != nil {
				l.t.Fatal(err)
			}
			l.t.Logf("fact %d: %s %s", n, want.Short(), e.Data())
			return data
		}
		select {
		case <-l.news:
		case <-deadline:
			status, _ := l.node("journalctl", "-b", "-u", "reroot-node", "-u", "reroot-watchdog", "-n", "50", "--no-pager")
			l.t.Fatalf("fact %d, %s, does not come:\n%s", n, want.Short(), status)
		}
	}
}

func (l *lab) status() (s node.Status) {
	l.t.Helper()
	state := filepath.Join(l.machine.Sysroot, "reroot")
	st, err := ledger.Read(ledger.File(filepath.Join(state, node.Ledger)))
	if err != nil {
		l.t.Fatal(err)
	}
	s.Ledger = st
	if r, err := watchdog.Dir(state).Read(); err == nil {
		s.Watchdog = &r
	}
	return s
}
