package main_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == sandbox.InitramfsCommand {
		if err := sandbox.Initramfs(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	_ = os.RemoveAll(buildDir)
	os.Exit(code)
}

const (
	// soloLimit bounds every wait; a boot takes two seconds on a quiet machine.
	soloLimit = 90 * time.Second
	// soloMemory is what the process may hold while it has nothing to do, in bytes; measured: 58 MiB.
	soloMemory = 100 << 20
	soloPort   = 24222
)

// TestSolo runs the program as its unit does on a node that boots, with nothing else: no hub, no network, no API server.
func TestSolo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces and ostree")
	}
	m := newMachine(t)
	m.ready(1)
	store := m.connect()
	request := (&upgradetest.Story{Upgrade: "up-1"}).Tell(upgrade.New(upgradetest.Cluster), events.TypeUpgradeRequested, nil)
	if err := store.Submit(t.Context(), "users", request); err != nil {
		t.Fatal(err)
	}
	m.await(store, events.TypePrepStarted)
	if used := m.memory(); used > soloMemory {
		t.Errorf("it holds %d MiB", used>>20)
	}

	// Power fails; what was decided is there, and it goes on with it.
	if err := sandbox.PowerCut(t.Context(), m.Socket); err != nil {
		t.Fatal(err)
	}
	m.ready(2)
	store = m.connect()
	m.await(store, events.TypePrepStarted)
	abort := events.New(events.TypeStageRequested, "abort", upgradetest.Cluster, "users/alice", "up-1", events.StageRequested{Stage: events.StageIdle})
	if err := store.Submit(t.Context(), "users", abort); err != nil {
		t.Fatal(err)
	}
	m.await(store, events.TypeIdleReached) // the executor has cleaned up
}

type machine struct {
	sandbox.Config
	t *testing.T
}

func newMachine(t *testing.T) machine {
	dir, err := os.MkdirTemp("", "reroot-solo-")
	if err != nil {
		t.Fatal(err)
	}
	m := machine{t: t, Config: sandbox.Config{
		Name: "solo", Sysroot: filepath.Join(dir, "sysroot"), State: filepath.Join(dir, "state"), Hostname: "lab-node",
		Console: filepath.Join(dir, "console.log"), Socket: filepath.Join(dir, "control"), OnKill: sandbox.OnKillBoot, MaxBoots: 5,
	}}
	t.Cleanup(func() {
		if err := errors.Join(ostree.RemoveSysroot(m.Sysroot), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	sysroot, err := ostree.NewSysroot(t.Context(), t.Output(), m.Sysroot)
	if err != nil {
		t.Fatal(err)
	}
	root, err := sysroot.Deploy(t.Context(), ostree.DeployOptions{Stateroot: "rhcos", Tree: ostree.Tree{Version: "4.16.0"}, Kargs: []string{"rw"}})
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "node.yaml")
	text := fmt.Sprintf("cluster: %s\njournal: {embedded: true, port: %d}\nkubeconfig: /etc/kubernetes/none\netcd: {programs: {\"3.5\": /none}}\n", upgradetest.Cluster, soloPort)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "reroot-node")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // it must run in a root with other libraries
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	install := exec.CommandContext(t.Context(), program, "install", "--etc", filepath.Join(root.Dir, "etc"), "--state", filepath.Join(m.Sysroot, "reroot"), "--config", config)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("cannot install: %v\n%s", err, out)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		err := sandbox.Run(ctx, m.Config, sandbox.BLS{}, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("machine: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return m
}

func (m machine) ready(boot int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), soloLimit)
	defer cancel()
	if _, err := sandbox.WaitReady(ctx, m.Socket, boot); err != nil {
		m.t.Fatal(err)
	}
}

// node runs a command on the node and returns what it prints.
func (m machine) node(argv ...string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), soloLimit)
	defer cancel()
	stdout, stderr, code, err := sandbox.Exec(ctx, m.Socket, argv, nil)
	if err != nil || code != 0 {
		m.t.Fatalf("%v: exit code %d, %v: %s", argv, code, err, stderr)
	}
	return strings.TrimSpace(string(stdout))
}

// connect is what `reroot` on the node does.
func (m machine) connect() *journal.JetStream {
	m.t.Helper()
	came := make(chan struct{})
	conn, err := nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", soloPort), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond), nats.ConnectHandler(func(*nats.Conn) { close(came) }))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(conn.Close)
	select {
	case <-came:
	case <-time.After(soloLimit):
		m.t.Fatalf("nothing listens:\n%s", m.log())
	}
	store, err := journal.Open(m.t.Context(), conn, journal.Options{Synced: true})
	if err != nil {
		m.t.Fatal(err)
	}
	return store
}

func (m machine) await(store journal.Store, want events.Type) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), soloLimit)
	defer cancel()
	var seen []string
	for r, err := range store.Watch(ctx, upgradetest.Cluster, 1) {
		if err != nil {
			m.t.Fatalf("%s does not come, only %v: %v\n%s", want.Short(), seen, err, m.log())
		}
		if events.TypeOf(r.Event) == want {
			return
		}
		seen = append(seen, events.TypeOf(r.Event).Short())
	}
	m.t.Fatalf("%s does not come, only %v\n%s", want.Short(), seen, m.log())
}

func (m machine) log() string {
	m.t.Helper()
	return m.node("journalctl", "-u", "reroot-node", "-n", "50", "--no-pager")
}

// memory is what the process holds, in bytes, pages of the program itself included.
func (m machine) memory() int {
	m.t.Helper()
	pid := m.node("systemctl", "show", "--property=MainPID", "--value", "reroot-node.service")
	for line := range strings.Lines(m.node("cat", "/proc/"+pid+"/status")) {
		if kib, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(kib)[0])
			if err != nil {
				m.t.Fatal(err)
			}
			m.t.Logf("it holds %d KiB", n)
			return n << 10
		}
	}
	m.t.Fatal("no memory in the process's status")
	return 0
}
