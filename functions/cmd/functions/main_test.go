package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
)

// program is reroot-functions, built for these tests.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "reroot-functions-")
	if err != nil {
		log.Fatal(err)
	}
	program = filepath.Join(dir, "reroot-functions")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		log.Fatalf("cannot build: %v\n%s", err, out)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		log.Fatal(err)
	}
	os.Exit(code)
}

func TestCommandLine(t *testing.T) {
	const hub, edge = "--server=nats://127.0.0.1:1", "--cluster=edge-1"
	for name, c := range map[string]struct {
		args []string
		code int
		text string
	}{
		"help":            {[]string{"--help"}, 0, "$REROOT_FUNCTION"},
		"nothing":         {nil, 2, "either --all or a --function"},
		"both":            {[]string{"--all", "--function=stage"}, 2, "either --all or a --function"},
		"unknown flag":    {[]string{"--most"}, 2, "unknown flag"},
		"no server":       {[]string{"--all", edge}, 2, "give the journal's --server"},
		"no cluster":      {[]string{"--all", hub}, 2, "not a DNS label"},
		"no kubeconfig":   {[]string{"--all", hub, edge}, 2, "give the cluster's --kubeconfig"},
		"no function":     {[]string{"--function=node", hub, edge}, 2, `cannot find function "node"`},
		"nobody answers":  {[]string{"--function=stage", hub, edge}, 1, "cannot connect to the journal"},
		"no credentials":  {[]string{"--function=stage", hub, edge, "--creds=/none"}, 1, "cannot connect to the journal"},
		"words after all": {[]string{"--all", "stage"}, 2, `unknown argument "stage"`},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), program, c.args...)
			cmd.Env = []string{"PATH=/usr/bin"}
			out, err := cmd.CombinedOutput()
			code := 0
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != c.code || !strings.Contains(string(out), c.text) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, c.code, c.text, out)
			}
		})
	}
}

// start runs the program with an environment as its Service has, and ends it with the test.
func start(t *testing.T, args []string, env ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = env, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
		if t.Failed() {
			t.Logf("log of the program:\n%s", stderr.String())
		}
	})
}

func open(t *testing.T) *journal.Embedded {
	t.Helper()
	store, err := journal.OpenEmbedded(t.Context(), t.TempDir(), journal.EmbeddedOptions{Port: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func request() event.Event {
	return (&upgradetest.Story{Upgrade: "up-1"}).Tell(upgrade.New(upgradetest.Cluster), events.TypeUpgradeRequested, nil)
}

func await(t *testing.T, store journal.Store, want events.Type) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for r, err := range store.Watch(ctx, upgradetest.Cluster, 1) {
		if err == nil && events.TypeOf(r.Event) == want {
			return
		}
	}
	t.Errorf("%s does not come", want.Short())
}

// TestOneFunction is a Service: an event of the journal is posted to it, its decision is in the journal.
func TestOneFunction(t *testing.T) {
	store := open(t)
	records, err := store.Append(t.Context(), upgradetest.Cluster, journal.Head{}, request())
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(records[0].Event)
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	start(t, nil, "REROOT_FUNCTION=stage", "PORT="+port, "REROOT_SERVER="+store.URL(), "REROOT_CLUSTER="+upgradetest.Cluster)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:"+port, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		res, err := http.DefaultClient.Do(req)
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue // it has just been started
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusNoContent {
			t.Errorf("it answers %s", res.Status)
		}
		break
	}
	await(t, store, events.TypePrepStarted)
}

// TestAll is the hub's process: what a user publishes is admitted and acted upon.
func TestAll(t *testing.T) {
	store := open(t)
	start(t, []string{"--all"}, "KUBECONFIG=/none", "REROOT_SERVER="+store.URL(), "REROOT_CLUSTER="+upgradetest.Cluster, "REROOT_SYNCED=true")
	if err := store.Submit(t.Context(), "users", request()); err != nil {
		t.Fatal(err)
	}
	await(t, store, events.TypePrepStarted)
}

// TestJournalOfAnotherServer: a single function makes no journal, and all of them run none that may lose a decision.
func TestJournalOfAnotherServer(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: t.TempDir(), NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server is not ready")
	}
	for _, c := range []struct{ how, want string }{
		{"--function=stage", journal.ErrNoJournal.Error()}, {"--all", journal.ErrNotDurable.Error()},
	} {
		cmd := exec.CommandContext(t.Context(), program, c.how, "--server="+s.ClientURL(), "--cluster=edge-1", "--kubeconfig=/none")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v\n%s", c.how, err, out)
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
