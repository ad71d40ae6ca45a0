package host_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/host/hosttest"
)

// ids lists the deployments, the default first.
func ids(t *testing.T, h *host.Host) []string {
	t.Helper()
	list, err := h.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range list {
		all = append(all, d.Stateroot+" "+d.Version)
	}
	return all
}

func wantIDs(t *testing.T, h *host.Host, want ...string) {
	t.Helper()
	if got := ids(t, h); !slices.Equal(got, want) {
		t.Errorf("deployments %q, want %q", got, want)
	}
}

func TestDeployments(t *testing.T) {
	s := hosttest.New(t)
	ctx := t.Context()
	wantIDs(t, s.Host)
	if _, err := s.Booted(ctx); !errors.Is(err, host.ErrNotBooted) {
		t.Errorf("booted in a plain sysroot: %v", err)
	}
	if ok, err := s.HasSetDefault(ctx); err != nil || !ok {
		t.Fatalf("ostree without set-default: %v", err)
	}

	old, next := s.Commit(t, "4.16.0", nil), s.Commit(t, "4.17.0", map[string]string{"usr/etc/motd": "hi"})
	a := s.MustDeploy(t, "okd", old, "root=LABEL=root", "rw")
	b := s.MustDeploy(t, "rhcos_4.17.0", next, "rw", `x.y="a b"`, "ibu=4.17.0")
	wantIDs(t, s.Host, "okd 4.16.0", "rhcos_4.17.0 4.17.0")

	kargs := b.Boot.Kargs()
	if want := []string{"rw", `x.y="a b"`, "ibu=4.17.0"}; !slices.Equal(kargs[:len(kargs)-1], want) {
		t.Errorf("kernel arguments %q, want %q and ostree=", kargs, want)
	}
	if text, err := os.ReadFile(filepath.Join(b.Path, "etc/motd")); err != nil || string(text) != "hi" {
		t.Errorf("motd in %s: %q, %v", b.Path, text, err)
	}
	for _, kernel := range []string{b.Boot.Linux, b.Boot.Initrd} {
		if _, err := os.Stat(filepath.Join(s.Dir, "boot", kernel)); err != nil {
			t.Error(err)
		}
	}

	for range 2 { // a position given twice would switch back
		if err := s.SetDefault(ctx, b.Stateroot, b.Commit, b.Serial); err != nil {
			t.Fatal(err)
		}
		wantIDs(t, s.Host, "rhcos_4.17.0 4.17.0", "okd 4.16.0")
	}
	if err := s.SetDefault(ctx, a.Stateroot, a.Commit, a.Serial); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, s.Host, "okd 4.16.0", "rhcos_4.17.0 4.17.0")
	if err := s.SetDefault(ctx, "okd", next, 0); !errors.Is(err, host.ErrNotDeployed) {
		t.Errorf("a deployment that is not there became the default: %v", err)
	}

	for range 2 {
		if err := s.Undeploy(ctx, b.Stateroot, b.Commit, b.Serial); err != nil {
			t.Fatal(err)
		}
		wantIDs(t, s.Host, "okd 4.16.0")
	}
	for range 2 {
		if err := s.RemoveStateroot(ctx, "rhcos_4.17.0"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(s.Stateroot("rhcos_4.17.0")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the stateroot is still there: %v", err)
	}
}

func TestDeployTwiceKeepsEtc(t *testing.T) {
	s := hosttest.New(t)
	s.MustDeploy(t, "okd", s.Commit(t, "4.16.0", nil))
	c := s.Commit(t, "4.17.0", nil)
	first := s.MustDeploy(t, "new", c)
	if err := os.WriteFile(filepath.Join(first.Path, "etc/mine"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := s.MustDeploy(t, "new", c)
	if !second.Is("new", c, first.Serial) {
		t.Errorf("deployed anew as %s", second.ID())
	}
	changes, err := s.ConfigDiff(t.Context(), "new")
	if err != nil || !slices.Equal(changes, []host.Change{{Kind: 'A', Path: "mine"}}) {
		t.Errorf("changes in /etc %v, %v; want mine added", changes, err)
	}
}

// A seed repository holds the deployment refs of the seed's own system. Pulling them would repoint the refs that keep
// this system's running commit.
func TestPullLocalTakesNoRefs(t *testing.T) {
	seed, s := hosttest.New(t), hosttest.New(t)
	c := seed.Commit(t, "4.17.0", nil)
	seed.MustDeploy(t, "rhcos", c)
	old := s.Commit(t, "4.16.0", nil)
	s.MustDeploy(t, "okd", old)
	before := refs(t, s)
	for range 2 {
		if err := s.PullLocal(t.Context(), seed.Repo(), c); err != nil {
			t.Fatal(err)
		}
	}
	if after := refs(t, s); !slices.Equal(before, after) {
		t.Errorf("refs were %q, are %q", before, after)
	}
	s.MustDeploy(t, "new", c)
	s.Fsck(t)
	if err := s.PullLocal(t.Context(), seed.Repo(), "lab/4.17.0"); err == nil {
		t.Error("a ref was pulled")
	}
}

func refs(t *testing.T, s *hosttest.Sysroot) []string {
	t.Helper()
	var all []string
	dir := filepath.Join(s.Repo(), "refs")
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		to, err := os.ReadFile(path)
		all = append(all, strings.TrimPrefix(path, dir)+" "+string(to))
		return err
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("refs %q, %v", all, err)
	}
	return all
}

func TestPullLocalRefusesDamage(t *testing.T) {
	seed, s := hosttest.New(t), hosttest.New(t)
	c := seed.Commit(t, "4.17.0", map[string]string{"usr/bin/tool": "an object of the seed"})
	damaged := false
	err := filepath.WalkDir(filepath.Join(seed.Repo(), "objects"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".file" && !damaged {
			damaged = true
			return os.WriteFile(path, []byte("something else"), 0o644)
		}
		return err
	})
	if err != nil || !damaged {
		t.Fatalf("no object to damage: %v", err)
	}
	if err := s.PullLocal(t.Context(), seed.Repo(), c); err == nil {
		t.Error("a damaged object was pulled")
	}
}

// The boot loader follows the entries, not what ostree prints: when they differ nothing may be decided.
func TestStatusRefusesDisagreement(t *testing.T) {
	s := hosttest.New(t)
	d := s.MustDeploy(t, "okd", s.Commit(t, "4.16.0", nil))
	other := strings.Repeat("0", 64)
	for name, tc := range map[string]struct{ prints, wantErr string }{
		"another commit":     {"  okd " + other + ".0", "leads to " + d.Path},
		"another serial":     {"  okd " + d.Commit + ".1", "leads to " + d.Path},
		"one without entry":  {"  okd " + d.Commit + ".0\n  okd " + other + ".0", "has no boot entry"},
		"entry without any":  {"No deployments.", "unknown to ostree"},
		"the same and order": {"  okd " + d.Commit + ".0", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := host.New(host.Options{Sysroot: s.Dir, Ostree: []string{"printf", "%.0s%.0s%.0s" + tc.prints + "\n"}})
			_, err := h.Status(t.Context())
			if tc.wantErr == "" && err != nil {
				t.Error(err)
			}
			if tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("error %v, want %q", err, tc.wantErr)
			}
		})
	}
}

// An interrupted set-default may have taken effect; its exit code alone tells nothing.
func TestSetDefaultJudgesByResult(t *testing.T) {
	s := hosttest.New(t)
	s.MustDeploy(t, "okd", s.Commit(t, "4.16.0", nil))
	d := s.MustDeploy(t, "new", s.Commit(t, "4.17.0", nil))
	script := func(body string) *host.Host {
		path := filepath.Join(t.TempDir(), "ostree")
		text := "#!/bin/sh\nreal='" + strings.Join(s.Ostree, " ") + "'\n" + body
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return host.New(host.Options{Sysroot: s.Dir, Ostree: []string{path}})
	}
	idle := script(`[ "$2" = set-default ] && exit 1; exec $real "$@"`)
	if err := idle.SetDefault(t.Context(), "new", d.Commit, d.Serial); err == nil {
		t.Error("success although nothing changed")
	}
	lying := script(`[ "$2" = set-default ] && exit 0; exec $real "$@"`)
	if err := lying.SetDefault(t.Context(), "new", d.Commit, d.Serial); err == nil {
		t.Error("success although nothing changed")
	}
	late := script(`[ "$2" = set-default ] && { $real "$@"; exit 1; }; exec $real "$@"`)
	if err := late.SetDefault(t.Context(), "new", d.Commit, d.Serial); err != nil {
		t.Errorf("it took effect, yet: %v", err)
	}
	wantIDs(t, s.Host, "new 4.17.0", "okd 4.16.0")
}

func TestKilledDeployIsRepeated(t *testing.T) {
	s := hosttest.New(t)
	s.MustDeploy(t, "okd", s.Commit(t, "4.16.0", nil))
	c := s.Commit(t, "4.17.0", nil)
	if err := s.StaterootInit(t.Context(), "new"); err != nil {
		t.Fatal(err)
	}
	// What a killed deploy leaves: a directory that no list names.
	half := filepath.Join(s.Stateroot("new"), "deploy", c+".0")
	if err := os.MkdirAll(filepath.Join(half, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	wantIDs(t, s.Host, "okd 4.16.0")
	d := s.MustDeploy(t, "new", c)
	if _, err := os.Stat(filepath.Join(d.Path, "usr/lib/os-release")); err != nil {
		t.Error(err)
	}
}

func TestNamesThatLeaveTheirDirectory(t *testing.T) {
	s := hosttest.New(t)
	for _, name := range []string{"", "..", "a/b", "-x", "../../etc"} {
		if err := s.RemoveStateroot(context.Background(), name); err == nil {
			t.Errorf("stateroot %q removed", name)
		}
		if err := s.StaterootInit(context.Background(), name); err == nil {
			t.Errorf("stateroot %q made", name)
		}
	}
}
