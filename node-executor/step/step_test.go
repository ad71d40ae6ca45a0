package step_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/deploy/node"
	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/host/hosttest"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/step/etc"
	"github.com/reroot-dev/reroot/node-executor/watchdog"
)

// rig is a node with a real ostree sysroot, real files and a real watchdog's record; systemd, the cluster and the
// registry are fakes that note what is asked of them.
type rig struct {
	t        *testing.T
	sysroot  *hosttest.Sysroot
	node     step.Node
	plans    step.Plans
	old, new events.Deployment
	asked    []string
	active   map[string]bool
	fail     map[string]error
}

func (r *rig) ask(what string) error {
	r.asked = append(r.asked, what)
	return r.fail[what]
}

// machine is the real ostree with a reboot that is only noted.
type machine struct {
	*host.Host
	*rig
}

func (m machine) Reboot(context.Context, string) error { return m.ask("reboot") }

type units struct{ *rig }

func (u units) IsActive(_ context.Context, unit string) (bool, error) { return u.active[unit], nil }
func (u units) Start(_ context.Context, unit string) error            { return u.ask("start " + unit) }
func (u units) Stop(_ context.Context, unit string) error             { return u.ask("stop " + unit) }
func (u units) DaemonReload(context.Context) error                    { return u.ask("daemon-reload") }

type site struct{ *rig }

func (s site) Collect(_ context.Context, carry []events.ConfigMapRef) error {
	return s.ask("collect " + carry[0].Name)
}
func (s site) Offline() error                         { return s.ask("offline") }
func (s site) Online(context.Context) (string, error) { return "the-id", s.ask("online") }
func (s site) Forget() error                          { return s.ask("forget") }
func (s site) EtcFiles() ([]etc.File, error) {
	return []etc.File{
		{Path: "hostname", Data: []byte("edge-1\n"), Mode: 0o644},
		{Path: "NetworkManager/system-connections/eth0.nmconnection", Data: []byte("[connection]\n"), Mode: 0o600},
	}, nil
}

type crypto struct{ *rig }

func (c crypto) Regenerate(_ context.Context, stateroot, upgrade string, _ int) (step.Regenerated, error) {
	return step.Regenerated{Regenerated: 7, Kept: 4, Foreign: 2}, c.ask("regenerate " + stateroot + " " + upgrade)
}

type api struct{ *rig }

func (a api) Await(context.Context, func(float64, string)) error { return a.ask("await") }

type registry struct{ *rig }

func (g registry) AuthFile(_ context.Context, ref *events.SecretRef) (string, func() error, error) {
	return "/auth/" + ref.Name, func() error { return g.ask("auth done") }, nil
}

func (g registry) Import(_ context.Context, s step.SeedImage, tell func(float64, string)) (step.Imported, error) {
	tell(0.5, "half")
	return step.Imported{Target: g.new, Digest: "sha256:d", Bytes: 42}, g.ask("import " + s.Image + " " + s.AuthFile)
}

func (g registry) Remove(ctx context.Context, stateroot string) error {
	return errors.Join(g.ask("remove "+stateroot), g.sysroot.RemoveStateroot(ctx, stateroot))
}

func (g registry) Bring(_ context.Context, stateroot, auth string, _ func(float64, string)) (step.Brought, error) {
	return step.Brought{Total: 3, Pulled: 2, Present: 1}, g.ask("bring " + stateroot + " " + auth)
}

func newRig(t *testing.T) *rig {
	sr := hosttest.New(t)
	first := sr.MustDeploy(t, "rhcos", sr.Commit(t, "4.16.0", nil))
	second := sr.MustDeploy(t, "rhcos_4.17.0", sr.Commit(t, "4.17.0", map[string]string{
		// What a seed of the lifecycle-agent, and one that was made with us, bring along.
		"usr/etc/systemd/system/lca-init-monitor.service": "[Service]\nExecStart=/bin/false\n",
		"usr/etc/systemd/system/reroot-node.service":      "[Service]\nExecStart=/bin/false\n",
	}))
	r := &rig{t: t, sysroot: sr, old: deployment(first), new: deployment(second), active: map[string]bool{}, fail: map[string]error{}}
	state := t.TempDir()
	etcDir := filepath.Join(t.TempDir(), "etc")
	if err := os.Mkdir(etcDir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.node = step.Node{
		Host: machine{sr.Host, r}, Units: units{r}, Seeds: registry{r}, Images: registry{r}, Secrets: registry{r}, Site: site{r},
		Crypto: crypto{r}, API: api{r}, Watchdog: watchdog.Dir(state), CheckProgram: func() error { return r.ask("check-program") },
		UpdateTrust: func(context.Context) error { return r.ask("update-trust") },
		State:       step.StateDir(state), Boot: filepath.Join(sr.Dir, "boot"), Etc: etcDir, Run: t.TempDir(),
		Gated: []string{"kubelet.service", "crio.service"},
	}
	r.plans = step.All(r.node)
	return r
}

func deployment(d host.Deployment) events.Deployment {
	return events.Deployment{Stateroot: d.Stateroot, Commit: d.Commit, Serial: d.Serial}
}

func (r *rig) task(booted events.Deployment, command any) *step.Task {
	data, err := json.Marshal(command)
	if err != nil {
		r.t.Fatal(err)
	}
	return step.NewTask(step.Task{Upgrade: "u1", Attempt: 1, Data: data, From: booted, Booted: booted}, nil)
}

// do runs steps until one fails, each twice, as after a crash.
func (r *rig) do(t events.Type, task *step.Task) error {
	for _, s := range r.plans[t].Steps {
		for range 2 {
			if err := s.Do(r.t.Context(), task); err != nil {
				return err
			}
		}
		task.Fresh()
	}
	return nil
}

// undo takes every step back in reverse, each twice.
func (r *rig) undo(t events.Type, task *step.Task) {
	r.t.Helper()
	for _, s := range slices.Backward(r.plans[t].Steps) {
		for range 2 {
			if s.Undo == nil {
				continue
			}
			if err := s.Undo(r.t.Context(), task); err != nil {
				r.t.Errorf("undo %s: %v", s.Name, err)
			}
		}
	}
}

func (r *rig) isDefault() events.Deployment {
	r.t.Helper()
	list, err := r.sysroot.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return deployment(list[0])
}

func (r *rig) pivot() *step.Task {
	return r.task(r.old, events.PivotRequested{
		Command: events.Command{Attempt: 1}, Target: r.new, BudgetSeconds: 60, Carry: []events.ConfigMapRef{{Name: "oadp", Namespace: "n"}},
	})
}

func TestPivot(t *testing.T) {
	r := newRig(t)
	if err := r.node.State.SetIdentity(r.new); err != nil { // left by an earlier attempt
		t.Fatal(err)
	}
	task := r.pivot()
	if err := r.do(events.TypePivotRequested, task); !errors.Is(err, step.ErrRebooting) {
		t.Fatalf("pivot: %v, want %v", err, step.ErrRebooting)
	}
	d, err := r.sysroot.Find(t.Context(), r.new.Stateroot, r.new.Commit, r.new.Serial)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(d.Path, "etc")
	for path, want := range map[string]string{
		"hostname": "edge-1\n",
		"NetworkManager/system-connections/eth0.nmconnection":         "[connection]\n",
		"systemd/system/reroot-node.service":                          string(node.Unit(node.Executor)),
		"systemd/system/reroot-watchdog.service":                      string(node.Unit(node.Watchdog)),
		"systemd/system/kubelet.service.d/10-reroot-identity.conf":    string(node.Gate()),
		"systemd/system/crio.service.d/10-reroot-identity.conf":       string(node.Gate()),
		"systemd/system/multi-user.target.wants/reroot-node.service":  string(node.Unit(node.Executor)),
		"systemd/system/sysinit.target.wants/reroot-watchdog.service": string(node.Unit(node.Watchdog)),
		"systemd/system/local-fs.target.wants/var-lib-reroot.mount":   string(node.Unit(node.Mount)),
	} {
		if got, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if to, err := os.Readlink(filepath.Join(dir, "systemd/system/lca-init-monitor.service")); err != nil || to != "/dev/null" {
		t.Errorf("lca-init-monitor.service leads to %q, %v", to, err)
	}
	if r.isDefault() != r.new {
		t.Errorf("%v is the default", r.isDefault())
	}
	w, err := watchdog.Dir(r.node.State).Read()
	if err != nil || w.Phase != watchdog.Armed || w.Old != r.old || w.New != r.new || w.Budget != time.Minute {
		t.Errorf("watchdog: %+v, %v", w, err)
	}
	if has, err := r.node.State.HasIdentity(r.new); err != nil || has {
		t.Errorf("the new root has an identity already: %t, %v", has, err)
	}

	r.undo(events.TypePivotRequested, task)
	if r.isDefault() != r.old {
		t.Errorf("after undo %v is the default", r.isDefault())
	}
	if _, err := watchdog.Dir(r.node.State).Read(); !errors.Is(err, watchdog.ErrUnarmed) {
		t.Errorf("after undo the watchdog is armed: %v", err)
	}
	left := []string{}
	err = filepath.WalkDir(filepath.Join(dir, "systemd"), func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(path, "reroot") {
			left = append(left, path)
		}
		return err
	})
	if err != nil || len(left) > 0 {
		t.Errorf("after undo there are %v, %v", left, err)
	}
}

func TestPivotChecksItsTarget(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(r *rig) error
		want string
	}{
		"another program": {func(r *rig) error { r.fail["check-program"] = errors.New("tampered"); return nil }, "tampered"},
		"no deployment":   {func(r *rig) error { r.new.Commit = strings.Repeat("0", 64); return nil }, "no such deployment"},
		"no kernel": {func(r *rig) error {
			files, err := filepath.Glob(filepath.Join(r.sysroot.Dir, "boot/ostree/rhcos_4.17.0-*/vmlinuz-*"))
			if err != nil || len(files) != 1 {
				return errors.Join(err, errors.New("the lab has no kernel to remove"))
			}
			return os.Truncate(files[0], 0)
		}, "its kernel is not at"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			if err := tc.harm(r); err != nil {
				t.Fatal(err)
			}
			if err := r.do(events.TypePivotRequested, r.pivot()); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("pivot: %v, want %q", err, tc.want)
			}
			if r.isDefault() != r.old {
				t.Error("the boot order has changed")
			}
		})
	}
}

func TestInTheNewRoot(t *testing.T) {
	r := newRig(t)
	r.active["crio.service"] = true
	command := events.CryptoregenRequested{Command: events.Command{Attempt: 1}}
	task := r.task(r.new, command)
	if err := r.do(events.TypeCryptoregenRequested, task); err != nil {
		t.Fatal(err)
	}
	got, err := r.plans[events.TypeCryptoregenRequested].Report(task, events.Outcome{Attempt: 1})
	want := events.CryptoregenCompleted{Outcome: events.Outcome{Attempt: 1}, Regenerated: 7, Kept: 4, Foreign: 2}
	if err != nil || got != any(want) {
		t.Errorf("report: %+v, %v", got, err)
	}
	if slices.Contains(r.asked, "stop kubelet.service") || !slices.Contains(r.asked, "stop crio.service") {
		t.Errorf("asked: %v", r.asked)
	}

	r.asked = nil
	task = r.task(r.new, command)
	if err := r.do(events.TypeReconfigureRequested, task); err != nil {
		t.Fatal(err)
	}
	report, err := r.plans[events.TypeReconfigureRequested].Report(task, events.Outcome{})
	if err != nil || report.(events.ReconfigureCompleted).ClusterID != "the-id" {
		t.Errorf("report: %+v, %v", report, err)
	}
	opened := []string{"start reroot-identity.service", "start kubelet.service", "start crio.service"}
	order := slices.Concat([]string{"offline", "offline", "update-trust", "update-trust"}, opened, opened, []string{"await", "await", "await", "online", "await", "online"})
	if diff := cmp.Diff(order, r.asked); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(r.node.Run, step.ReadyFile)); err != nil {
		t.Error(err)
	}
	for deployment, want := range map[events.Deployment]bool{r.new: true, r.old: false} {
		if has, err := r.node.State.HasIdentity(deployment); err != nil || has != want {
			t.Errorf("%s has the identity: %t, %v", deployment.Stateroot, has, err)
		}
	}
}

func TestGateStaysShutUntilTheFilesAreThere(t *testing.T) {
	r := newRig(t)
	r.fail["offline"] = errors.New("no")
	if err := r.do(events.TypeReconfigureRequested, r.task(r.new, events.ReconfigureRequested{})); err == nil {
		t.Fatal("reconfigure went on")
	}
	if has, err := r.node.State.HasIdentity(r.new); err != nil || has {
		t.Errorf("the gate is open: %t, %v", has, err)
	}
}

// The bundles of trusted authorities are made anew before anything pulls images. Something else that does so at boot may be in
// the way of it, once or twice.
func TestUpdateTrust(t *testing.T) {
	for name, tc := range map[string]struct{ fails, tries int }{"at once": {0, 1}, "the third time": {2, 3}, "never": {1 << 20, 5}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries, busy := 0, errors.New("busy")
				steps := step.All(step.Node{UpdateTrust: func(context.Context) error {
					if tries++; tries <= tc.fails {
						return busy
					}
					return nil
				}})[events.TypeReconfigureRequested].Steps
				at := slices.IndexFunc(steps, func(s step.Step) bool { return s.Name == "update-trust" })
				if gate := slices.IndexFunc(steps, func(s step.Step) bool { return s.Name == "open-gate" }); at < 0 || at > gate {
					t.Fatalf("it is step %d, the gate is opened in step %d", at, gate)
				}
				err := steps[at].Do(t.Context(), step.NewTask(step.Task{}, nil))
				if errors.Is(err, busy) != (tc.fails > tc.tries) || tries != tc.tries {
					t.Errorf("tried %d times, want %d; error %v", tries, tc.tries, err)
				}
			})
		})
	}
	t.Run("until the end of the context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		steps := step.All(step.Node{UpdateTrust: func(context.Context) error { cancel(); return errors.New("busy") }})[events.TypeReconfigureRequested].Steps
		if err := steps[1].Do(ctx, step.NewTask(step.Task{}, nil)); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want %v", err, context.Canceled)
		}
	})
}

func TestSeedpullAndPrecache(t *testing.T) {
	r := newRig(t)
	ref := &events.SecretRef{Name: "pull"}
	task := r.task(r.old, events.SeedpullRequested{Seed: events.Seed{Image: "seed@sha256:d", Version: "4.17.0"}, Stateroot: "rhcos_4.17.0", PullSecretRef: ref})
	if err := r.do(events.TypeSeedpullRequested, task); err != nil {
		t.Fatal(err)
	}
	got, err := r.plans[events.TypeSeedpullRequested].Report(task, events.Outcome{})
	if err != nil || got != any(events.SeedpullCompleted{Target: r.new, Digest: "sha256:d", Bytes: 42}) {
		t.Errorf("report: %+v, %v", got, err)
	}
	cache := r.task(r.old, events.PrecacheRequested{Stateroot: "rhcos_4.17.0", PullSecretRef: ref})
	if err := r.do(events.TypePrecacheRequested, cache); err != nil {
		t.Fatal(err)
	}
	got, err = r.plans[events.TypePrecacheRequested].Report(cache, events.Outcome{})
	if err != nil || got != any(events.PrecacheCompleted{Total: 3, Pulled: 2, Present: 1}) {
		t.Errorf("report: %+v, %v", got, err)
	}
	pull := []string{"await", "import seed@sha256:d /auth/pull", "auth done"}
	bring := []string{"await", "bring rhcos_4.17.0 /auth/pull", "auth done"}
	if diff := cmp.Diff(slices.Concat(pull, pull, bring, bring), r.asked); diff != "" {
		t.Error(diff)
	}
	r.undo(events.TypeSeedpullRequested, task)
	if _, err := r.sysroot.Find(t.Context(), r.new.Stateroot, r.new.Commit, r.new.Serial); !errors.Is(err, host.ErrNotDeployed) {
		t.Errorf("after undo: %v", err)
	}
}

func TestRollback(t *testing.T) {
	r := newRig(t)
	dog := watchdog.Dir(r.node.State)
	if err := errors.Join(dog.Arm(r.old, r.new, time.Minute), r.sysroot.SetDefault(t.Context(), r.new.Stateroot, r.new.Commit, r.new.Serial)); err != nil {
		t.Fatal(err)
	}
	command := events.NodeRollbackRequested{Target: r.old, Trigger: events.TriggerUser}
	if err := r.do(events.TypeNodeRollbackRequested, r.task(r.new, command)); !errors.Is(err, step.ErrRebooting) {
		t.Fatalf("rollback: %v, want %v", err, step.ErrRebooting)
	}
	if r.isDefault() != r.old {
		t.Errorf("%v is the default", r.isDefault())
	}
	if err := dog.Confirm(); !errors.Is(err, watchdog.ErrGivenUp) {
		t.Errorf("confirm after a rollback: %v, want %v", err, watchdog.ErrGivenUp)
	}
	for _, name := range []string{"watchdog.a", "watchdog.b"} { // what it remembers is not needed for the way back
		if err := os.Truncate(filepath.Join(string(r.node.State), name), 10); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.do(events.TypeNodeRollbackRequested, r.task(r.new, command)); !errors.Is(err, step.ErrRebooting) {
		t.Errorf("rollback with a damaged record: %v, want %v", err, step.ErrRebooting)
	}
	if err := r.do(events.TypeCleanupRequested, r.task(r.new, events.CleanupRequested{Remove: []string{"rhcos"}})); !errors.Is(err, watchdog.ErrDamaged) {
		t.Errorf("cleanup with a damaged record: %v, want %v", err, watchdog.ErrDamaged)
	}
	r.asked = nil
	task := r.task(r.old, command)
	if err := r.do(events.TypeNodeRollbackRequested, task); err != nil || len(r.asked) > 0 {
		t.Errorf("rollback on the old root: %v, asked %v", err, r.asked)
	}
	got, err := r.plans[events.TypeNodeRollbackRequested].Report(task, events.Outcome{})
	if err != nil || got != any(events.NodeRollbackCompleted{Trigger: events.TriggerUser}) {
		t.Errorf("report: %+v, %v", got, err)
	}
}

func TestCleanup(t *testing.T) {
	r := newRig(t)
	command := events.CleanupRequested{Remove: []string{"rhcos"}}
	dog := watchdog.Dir(r.node.State)
	if err := dog.Arm(r.old, r.new, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.do(events.TypeCleanupRequested, r.task(r.new, command)); err == nil || !strings.Contains(err.Error(), "is the way back") {
		t.Fatalf("cleanup before confirm: %v", err)
	}
	if err := r.do(events.TypeConfirmRequested, r.task(r.new, events.ConfirmRequested{})); err != nil {
		t.Fatal(err)
	}
	gate := filepath.Join(r.node.Etc, "systemd/system/kubelet.service.d/10-reroot-identity.conf")
	if err := etc.Write(r.node.Etc, nil, etc.File{Path: "systemd/system/kubelet.service.d/10-reroot-identity.conf", Data: node.Gate(), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if err := r.node.State.SetIdentity(r.new); err != nil {
		t.Fatal(err)
	}
	task := r.task(r.new, command)
	if err := r.do(events.TypeCleanupRequested, task); err != nil {
		t.Fatal(err)
	}
	got, err := r.plans[events.TypeCleanupRequested].Report(task, events.Outcome{})
	if diff := cmp.Diff(events.CleanupCompleted{Removed: []string{"rhcos"}}, got); err != nil || diff != "" {
		t.Errorf("report: %v\n%s", err, diff)
	}
	if _, err := os.Stat(gate); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the gate is still there: %v", err)
	}
	if _, err := dog.Read(); !errors.Is(err, watchdog.ErrUnarmed) {
		t.Errorf("watchdog: %v", err)
	}
	if has, err := r.node.State.HasIdentity(r.new); err != nil || has {
		t.Errorf("identity: %t, %v", has, err)
	}
	if _, err := r.sysroot.Find(t.Context(), r.old.Stateroot, r.old.Commit, r.old.Serial); !errors.Is(err, host.ErrNotDeployed) {
		t.Errorf("old deployment: %v", err)
	}
	if n := len(slices.DeleteFunc(r.asked, func(s string) bool { return s != "daemon-reload" })); n != 1 {
		t.Errorf("%d daemon-reloads", n)
	}
}

// TestDocumentation: the table of the package's comment is the plans.
func TestDocumentation(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for command, plan := range step.All(step.Node{}) {
		var names []string
		for _, s := range plan.Steps {
			names = append(names, s.Name)
		}
		row := regexp.MustCompile(`//\t` + step.Verb(command) + ` +` + strings.Join(names, ", ") + `( {2}|\n)`)
		if !row.Match(doc) {
			t.Errorf("doc.go has no row for %s: %v", step.Verb(command), names)
		}
	}
}

func TestPoints(t *testing.T) {
	plans := step.Plans{events.TypePivotRequested: {Steps: []step.Step{{Name: "one"}, {Name: "two"}}}}
	want := []string{"pivot.one", "pivot.after-one", "pivot.two", "pivot.after-two"}
	if diff := cmp.Diff(want, plans.Points()); diff != "" {
		t.Error(diff)
	}
}
