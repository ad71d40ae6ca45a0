package cli_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/journal"
	"github.com/reroot-dev/reroot/events/upgrade/upgradetest"
	"github.com/reroot-dev/reroot/test/golden"
)

const start = "start to-4-19-3 --cluster edge-1 --seed registry.example.com/okd/seed:4.19.3 --version 4.19.3"

// TestDryRun shows the event that each kind of input becomes.
func TestDryRun(t *testing.T) {
	w := &world{t: t}
	for name, line := range map[string]string{
		"flags": start + " --pull-secret seed-pull-secret --oadp openshift-adp/oadp-cm --oadp openshift-adp/more" +
			" --extra-manifests openshift-lifecycle-agent/site --init-monitor-timeout 45m --through finalize",
		"minimal":       start,
		"resource":      "start to-4-19-3 --cluster edge-1 -f testdata/upgrade.yaml",
		"resource-prep": "start to-4-19-3 --cluster edge-1 -f testdata/upgrade.yaml --through Prep -o yaml",
		"event":         "start -f testdata/event.json",
	} {
		t.Run(name, func(t *testing.T) {
			golden.Compare(t, "start-"+name+".txt", w.reroot(line+" --dry-run client").String())
		})
	}
}

// TestBadInput sends nothing: there is no event store.
func TestBadInput(t *testing.T) {
	w := &world{t: t}
	const payload = `{"through": "Upgrade", "spec": {"seedImageRef": {"version": "4.19.3", "image": "registry.example.com/seed:1"}}}`
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	withFile := func(text string) string { return "start up --cluster edge-1 -f " + file("in", text) }
	for _, tt := range []struct {
		name, line string
		because    []string // all of it, at once
	}{
		{"flags: all problems at once", "start Up! --cluster edge-1 --seed x --version 4 --oadp a/B", []string{"subject", "data.spec.seedImageRef.version", "data.spec.oadpContent[0].name"}},
		{"config map without namespace", start + " --oadp oadp-cm", []string{`--oadp is "oadp-cm"`}},
		{"part of a second", start + " --init-monitor-timeout 100ms", []string{"100ms"}},
		{"no seed", "start up --cluster edge-1", []string{"file", "seed"}},
		{"seed without version", "start up --cluster edge-1 --seed x", []string{"version"}},
		{"file and flags", withFile(payload) + " --seed x --version 4.19.3", []string{"file", "seed"}},
		{"no id", strings.Replace(withFile(payload), " up ", " ", 1), []string{"no id"}},
		{"no such file", "start up --cluster edge-1 -f testdata/none", []string{"no such file"}},
		{"a folder", "start up --cluster edge-1 -f testdata", []string{"directory"}},
		{"not YAML", withFile("a: [b"), []string{"neither YAML nor JSON"}},
		{"no object", withFile("4.19.3"), []string{"cannot unmarshal"}},
		{"a field twice", withFile("through: Prep\nthrough: Prep\n"), []string{"through"}},
		{"two documents", withFile("---\na: b\n---\na: c\n"), []string{"2 YAML documents"}},
		{"too long", withFile(strings.Repeat("#", 1<<20+1)), []string{"more than"}},
		{"unknown fields of a payload", withFile(`{"through": "Prep", "speck": {}, "spec": {"seed": {}}}`), []string{"speck", "spec.seed"}},
		{"unknown field of a resource", withFile("apiVersion: lca.openshift.io/v1\nkind: ImageBasedUpgrade\nspec: {stages: Prep}"), []string{"spec.stages"}},
		{"another kind", withFile("apiVersion: v1\nkind: ImageBasedUpgrade"), []string{"ImageBasedUpgrade of v1"}},
		{"resource at Rollback", withFile("apiVersion: lca.openshift.io/v1\nkind: ImageBasedUpgrade\nspec: {stage: Rollback}"), []string{"its stage is Rollback"}},
		{"invalid event", withFile(`{"specversion": "1.0", "type": "dev.reroot.upgrade.requested.v1"}`), []string{"id: missing", "source: missing"}},
		{"event of an unknown type", withFile(`{"specversion": "1.0", "type": "dev.reroot.upgrade.wished.v1"}`), []string{"UnknownType"}},
		{"event with another id", "start other -f testdata/event.json", []string{"upgrade to-4-19-3, not other"}},
		{"event of another cluster", "start --cluster edge-2 -f testdata/event.json", []string{"cluster edge-1, not edge-2"}},
		{"event with --through", "start -f testdata/event.json --through Prep", []string{"as it is"}},
		{"cluster's name", "start up --cluster Edge.1 --seed x --version 4.19.3", []string{`"Edge.1"`}},
		{"unknown goal", start + " --through Rollback", []string{"Prep, Upgrade, Finalize"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.reroot(tt.line)
			if lines := strings.Split(strings.TrimSpace(r.err), "\n"); len(lines) != 3 || r.code != 2 || r.out != "" {
				t.Errorf("want exit code 2 and three lines:\n%s", r)
			}
			for _, want := range tt.because {
				if !strings.Contains(r.err, want) {
					t.Errorf("it does not say %q:\n%s", want, r)
				}
			}
		})
	}
}

func TestStandardInput(t *testing.T) {
	w := &world{t: t}
	in := readFile(t, "testdata/upgrade.yaml")
	args := strings.Fields("start to-4-19-3 --cluster edge-1 --dry-run client -f")
	fromIn := w.do(t.Context(), call{args: append(args, "-"), in: in})
	fromFile := w.do(t.Context(), call{args: append(args, "testdata/upgrade.yaml")})
	if fromIn != fromFile || fromIn.code != 0 {
		t.Errorf("%s\n%s", fromIn, fromFile)
	}
}

// TestStart asks a real runtime.
func TestStart(t *testing.T) {
	w := newWorld(t, nil).run(nil)
	first := w.reroot(start + " --through Prep -o json")
	var answer struct {
		Cluster, Upgrade, ID string
		Sequence             int
	}
	if err := json.Unmarshal([]byte(first.out), &answer); err != nil || first.code != 0 || answer.Upgrade != upID || answer.Cluster != edge || answer.Sequence != 1 {
		t.Fatalf("%v: %s", err, first)
	}
	t.Run("again is once", func(t *testing.T) {
		if again := w.reroot(start + " --through Prep -o json"); again != first {
			t.Errorf("the same request is answered differently: %s", again)
		}
	})
	t.Run("another while it runs is refused", func(t *testing.T) {
		line := strings.Replace(start, upID, "other", 1)
		for range 2 { // the refusal of yesterday is no answer of today
			r := w.reroot(line)
			if r.code != 6 || !strings.Contains(r.err, "because: UpgradeInProgress") || strings.Count(r.err, "\n") != 3 {
				t.Errorf("%s", r)
			}
		}
		if dead := w.reroot("dead list"); !strings.Contains(dead.out, "UpgradeInProgress") || strings.Count(dead.out, "\n") != 2 {
			t.Errorf("parked: %s", dead)
		}
	})
	t.Run("a refused one can be redriven when its time has come", func(t *testing.T) {
		wantCode(t, w.reroot("wait to-4 --for prepared"), 0)
		wantCode(t, w.reroot("stage to-4 Idle -y"), 0)
		wantCode(t, w.reroot("wait to-4 --for idle"), 0)
		id := strings.TrimSpace(w.reroot("dead list -o name").out)
		wantCode(t, w.reroot("dead redrive "+id[:4]), 0)
		for r, err := range w.store.Watch(t.Context(), edge, 1) {
			if err != nil {
				t.Fatal(err)
			}
			if r.Event.Subject() == "other" {
				break
			}
		}
		wantCode(t, w.reroot("wait other --for upgraded"), 0)
	})
	t.Run("an id is used once", func(t *testing.T) {
		wantCode(t, w.reroot("stage other Idle -y"), 0)
		wantCode(t, w.reroot("wait other --for idle"), 0)
		r := w.reroot(strings.Replace(start, upID, "other", 1) + " --through Prep")
		if r.code != 6 || !strings.Contains(r.err, "IllegalTransition") {
			t.Errorf("%s", r)
		}
	})
}

// TestRefusals are requests that are valid in themselves and not admitted all the same.
func TestRefusals(t *testing.T) {
	expired := strings.Replace(readFile(t, "testdata/event.json"), "2026-11-22T20:30:00Z", "2020-01-01T00:00:00Z", 1)
	t.Run("expired", func(t *testing.T) {
		w := newWorld(t, nil).run(nil)
		r := w.do(t.Context(), call{args: strings.Fields("start -f -"), in: expired})
		if r.code != 6 || !strings.Contains(r.err, "because: Expired: ") || !strings.Contains(r.err, "do: submit it again with a later expirytime") {
			t.Errorf("%s", r)
		}
	})
	t.Run("damaged history", func(t *testing.T) {
		w := newWorld(t, nil).tell(edge, "first", upgradetest.Until(events.TypePrepStarted)...)
		w.forge(edge)
		r := w.run(silence).reroot(start)
		if r.code != 6 || !strings.Contains(r.err, "because: JournalCorrupt: ") || !strings.Contains(r.err, "do: keep the history as it is") {
			t.Errorf("%s", r)
		}
	})
	t.Run("damaged history and nobody who refuses", func(t *testing.T) {
		w := newWorld(t, nil).tell(edge, "first", upgradetest.Until(events.TypePrepStarted)...)
		w.forge(edge)
		if r := w.reroot(start + " --request-timeout 500ms"); r.code != 1 || !strings.Contains(r.err, "because: hash chain is broken at event 3") {
			t.Errorf("%s", r)
		}
	})
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantCode(t *testing.T, r result, code int) {
	t.Helper()
	if r.code != code {
		t.Fatalf("want exit code %d: %s", code, r)
	}
}

func TestStartAndWait(t *testing.T) {
	for name, tt := range map[string]struct {
		through string
		breaks  map[events.Type]events.Type
		code    int
		says    []string
	}{
		"success":     {"Upgrade", nil, 0, []string{"outcome: upgraded to 4.19.3"}},
		"prep only":   {"Prep", nil, 0, []string{"outcome: prepared"}},
		"finalize":    {"Finalize", nil, 0, []string{"outcome: upgraded to 4.19.3 and finalized"}},
		"rolled back": {"Upgrade", map[events.Type]events.Type{events.TypeManifestsApplied: events.TypeRestoreFailed}, 3, []string{"outcome: rolled back", "because: it ended otherwise"}},
		"prep fails":  {"Upgrade", map[events.Type]events.Type{events.TypePrepStarted: events.TypePrepFailed}, 4, []string{"outcome: Prep failed", "reroot stage to-4-19-3 STAGE"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil).run(tt.breaks)
			r := w.reroot(start + " --wait --through " + tt.through)
			wantCode(t, r, tt.code)
			if !strings.HasPrefix(r.out, "upgrade to-4-19-3 is admitted") || strings.Count(r.out, "\n") != 1 {
				t.Errorf("the answer is not alone on the standard output: %s", r)
			}
			for _, want := range tt.says {
				if !strings.Contains(r.err, want) {
					t.Errorf("it does not say %q: %s", want, r)
				}
			}
		})
	}
}

// TestNobodyAnswers gives up, or is interrupted, while no function runs: the request stays and is answered later.
func TestNobodyAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		line string
		code int
		says string
	}{
		"gives up":       {start + " --request-timeout 300ms", 5, "nothing has answered"},
		"is interrupted": {start, 130, "goes on"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			if tt.code == 130 {
				w.onRequest(interrupt)
			}
			r := w.do(ctx, call{args: strings.Fields(tt.line)})
			if r.code != tt.code || !strings.Contains(r.err, tt.says) {
				t.Errorf("%s", r)
			}
			w.run(nil)
			for r, err := range w.store.Watch(t.Context(), edge, 1) {
				if err != nil || r.Event.Subject() != upID {
					t.Errorf("%s, %v", r.Event, err)
				}
				break
			}
		})
	}
}

// onRequest calls f when something stands in the inbox, and leaves it there.
func (w *world) onRequest(f func()) {
	w.share()
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		_ = w.store.Receive(ctx, "admit", func(context.Context, journal.Delivery) error {
			f()
			stop()
			return &journal.Later{}
		})
	})
	w.t.Cleanup(func() { stop(); watching.Wait() })
}

func TestInterrupt(t *testing.T) {
	w := newWorld(t, nil).tell(edge, upID, events.TypeUpgradeRequested)
	for _, line := range []string{"events -f", "timeline"} {
		ctx, interrupt := context.WithCancel(t.Context())
		out := &watched{want: "upgrade.requested", seen: interrupt}
		if r := w.do(ctx, call{args: strings.Fields(line), out: out}); r.code != 130 || !strings.Contains(r.err, "goes on") {
			t.Errorf("%s", r)
		}
		if r := w.do(ctx, call{args: strings.Fields(line)}); r.code != 130 {
			t.Errorf("interrupted before it begins: %s", r)
		}
	}
}

func TestNoStore(t *testing.T) {
	for name, url := range map[string]string{"nobody listens": "nats://127.0.0.1:1", "no URL": "nats://user:secret@127.0.0.1:1"} {
		w := &world{t: t}
		r := w.do(t.Context(), call{args: []string{"get", "--server", url}})
		if r.code != 1 || strings.Count(r.err, "\n") != 3 || strings.Contains(r.err, "secret") {
			t.Errorf("%s: %s", name, r)
		}
	}
}
