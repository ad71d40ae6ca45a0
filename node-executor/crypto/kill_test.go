package crypto_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest/fixture"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
)

// victimVariable makes this program regenerate a cluster, and perhaps die of it, in place of running tests.
const victimVariable = "REROOT_TEST_REGENERATE"

func TestMain(m *testing.M) {
	text := os.Getenv(victimVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	if err := beVictim(text); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// victim is one regeneration in a process of its own.
type victim struct {
	Place fixture.Place
	// Hostname is renamed from the one to the other, if set.
	Hostname [2]string
	// KillAt is the step, counted from 1, before which the process kills itself; 0 lives.
	KillAt int
}

func (v victim) config() crypto.Config {
	config := v.Place.Config()
	config.Generate = cryptotest.NewKeys("fresh").Make
	if v.Hostname[0] != "" {
		config.Rules.Renames = rename.Rules{rename.Hostname(v.Hostname[0], v.Hostname[1])}
	}
	return config
}

// beVictim is the child. It prints the name of every step, as soon as it is reached.
func beVictim(text string) error {
	var v victim
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return err
	}
	config, steps := v.config(), 0
	config.Fault = func(step string) error {
		steps++
		fmt.Println(step)
		if steps == v.KillAt {
			return errors.Join(syscall.Kill(os.Getpid(), syscall.SIGKILL), errors.New("survived"))
		}
		return nil
	}
	_, err := crypto.Regenerate(context.Background(), config)
	return err
}

// run runs the child and returns the steps that it reached and whether it was killed.
func (v victim) run(t *testing.T) (steps []string, killed bool) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env, child.Stderr = append(os.Environ(), victimVariable+"="+string(text)), &errs
	out, err := child.Output()
	status, _ := child.ProcessState.Sys().(syscall.WaitStatus)
	killed = status.Signaled() && status.Signal() == syscall.SIGKILL
	if err != nil && !killed {
		t.Fatalf("%v: %s", err, errs.String())
	}
	return strings.Fields(string(out)), killed
}

// dieTwice kills a regeneration at a step, once more soon after it went on, and lets the third attempt live.
func (v victim) dieTwice(t *testing.T, at int) {
	t.Helper()
	v.KillAt = at
	if steps, killed := v.run(t); !killed || len(steps) != at {
		t.Fatalf("reached %d steps, killed: %t; want to die at %d", len(steps), killed, at)
	}
	v.KillAt = 2
	v.run(t) // perhaps there was only one step left
	v.KillAt = 0
	if _, killed := v.run(t); killed {
		t.Fatal("was killed by someone else")
	}
}

// copied is the victim on a copy of its cluster.
func (v victim) copied(t *testing.T) victim {
	t.Helper()
	dir := t.TempDir()
	for name, place := range map[string]*string{"etc": &v.Place.Etc, "var": &v.Place.Var} {
		to := filepath.Join(dir, name)
		// Not os.CopyFS, which forgets modes: etcd insists on that of its directory.
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", *place, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		*place = to
	}
	v.Place.Scratch = filepath.Join(dir, "scratch")
	if err := os.Mkdir(v.Place.Scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	return v
}

// shape says which material stands where and belongs together, without saying which it is: two clusters that
// are the same but for their keys have the same shape, and one with pieces of two generations has another.
func shape(g *graph.Graph) []string {
	places := func(p []graph.Place) string {
		sites := map[string]int{} // what is a copy of what, not at which offset
		for _, place := range p {
			sites[place.Site]++
		}
		return fmt.Sprint(sites) // sorted by key
	}
	keys := map[*graph.Key]string{}
	var lines []string
	for _, k := range g.Keys {
		var names []string
		for _, c := range k.Certificates {
			names = append(names, c.CommonName+places(c.Places))
		}
		slices.Sort(names)
		keys[k] = fmt.Sprintf("%s %t %s %v", k.Algorithm, k.Private != nil, places(k.Places), names)
		lines = append(lines, "key "+keys[k])
	}
	for _, c := range g.Certificates {
		lines = append(lines, fmt.Sprintf("certificate %s %s on %s by %s", c.CommonName, places(c.Places), keys[c.Key], keys[c.Issuer]))
	}
	for _, t := range g.Tokens {
		lines = append(lines, fmt.Sprintf("token %s by %s", places(t.Places), keys[t.Key]))
	}
	slices.Sort(lines)
	return lines
}

// sameGeneration checks that a cluster that went through crashes is as one that did not, that nothing of the seed is
// left in it, and that nothing is left to do.
func (v victim) sameGeneration(t *testing.T, want []string, seed *graph.Graph) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(v.Place.Scratch, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "prepared") {
			t.Errorf("journal with private keys was left: %s", e.Name())
		}
	}
	if again, err := crypto.Regenerate(t.Context(), v.config()); err != nil || len(again.Replaced) == 0 {
		t.Errorf("a finished regeneration was reported as %+v, %v", again, err)
	}
	after := v.inspect(t)
	if diff := cmp.Diff(want, shape(after)); diff != "" {
		t.Errorf("not as without a crash:\n%s", diff)
	}
	for id, k := range seed.Keys {
		if k.Private != nil && after.Keys[id] != nil {
			t.Errorf("the seed's key %s is still there", id)
		}
	}
	nothingOld(t, v.Place, seed)
}

func (v victim) inspect(t *testing.T) *graph.Graph {
	t.Helper()
	g, err := crypto.Inspect(t.Context(), v.config())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// A small cluster dies before every single step.
func TestKilledAtEveryStep(t *testing.T) {
	s := newSmall(t)
	s.tree["etcd-certs/peer-sno-seed.crt"] = s.leaf.PEM() // a file that is renamed
	programs := cryptotest.EtcdPrograms(t)
	seed := victim{Place: fixture.Place{Etc: s.tree.write(t), Var: t.TempDir(), Etcds: programs}, Hostname: [2]string{"sno-seed", "sno-target"}}
	if err := os.MkdirAll(filepath.Join(seed.Place.Var, "lib/kubelet"), 0o755); err != nil {
		t.Fatal(err)
	}
	cryptotest.ServeEtcd(t, programs["3.6"], filepath.Join(seed.Place.Var, "lib/etcd"), func(ctx context.Context, client *clientv3.Client) {
		for key, value := range s.objects(t) {
			if _, err := client.Put(ctx, key, value); err != nil {
				t.Fatal(err)
			}
		}
	})
	before := seed.copied(t).inspect(t)
	uneventful := seed.copied(t)
	steps, _ := uneventful.run(t)
	want := shape(uneventful.inspect(t))
	uneventful.sameGeneration(t, want, before)
	if kinds := slices.Compact(slices.Sorted(slices.Values(steps))); len(kinds) < 12 {
		t.Errorf("only kinds of steps %v", kinds)
	}
	for n, step := range steps {
		t.Run(fmt.Sprintf("%02d %s", n+1, step), func(t *testing.T) {
			t.Parallel()
			v := seed.copied(t)
			v.dieTwice(t, n+1)
			v.sameGeneration(t, want, before)
			after := read(t, v.Place.Etc)
			s.consistent(t, after)
			if got, want := len(after), len(s.tree); got != want {
				t.Errorf("got %d files, want %d: %v", got, want, slices.Collect(maps.Keys(after)))
			}
			cryptotest.ServeEtcd(t, programs["3.6"], filepath.Join(v.Place.Var, "lib/etcd"), func(ctx context.Context, client *clientv3.Client) {
				r, err := client.Get(ctx, tlsKey)
				if err != nil || len(r.Kvs) != 1 {
					t.Fatalf("cannot get secret: %v", err)
				}
				secret := cryptotest.Decoded(t, string(r.Kvs[0].Value), &corev1.Secret{})
				if string(secret.Data["tls.key"]) != after["pki/tls.key"] || string(secret.Data["tls.crt"]) != after["pki/tls.crt"] {
					t.Error("secret and file are of two generations")
				}
			})
		})
	}
}

// A cluster of OKD's shape dies before some of its many steps: the first of each kind, and others by chance.
func TestKilledAtSomeSteps(t *testing.T) {
	made := fixture.New(t, fixture.Options{Size: 0, Seed: 1, Name: "seed", NewKey: cryptotest.NewKeys("seed").Make})
	seed := victim{Place: made.Place(""), Hostname: [2]string{made.Identity.Hostname, "target-node"}}
	before := seed.copied(t).inspect(t)
	uneventful := seed.copied(t)
	steps, _ := uneventful.run(t)
	want := shape(uneventful.inspect(t))
	samples := 2
	if *full {
		samples = 40
	}
	chosen := map[int]bool{}
	for range samples {
		chosen[rand.IntN(len(steps))] = true
	}
	if *full {
		for n, step := range steps {
			if !slices.Contains(steps[:n], step) {
				chosen[n] = true
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(chosen)) {
		t.Run(fmt.Sprintf("%d of %d %s", n+1, len(steps), steps[n]), func(t *testing.T) {
			v := seed.copied(t)
			v.dieTwice(t, n+1)
			v.sameGeneration(t, want, before)
		})
	}
}
