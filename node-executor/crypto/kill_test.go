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

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest/fixture"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
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
	// Hostname and Address are renamed from the one to the other, if set.
	Hostname, Address [2]string
	// KillAt is the step, counted from 1, before which the process kills itself; 0 lives. Step makes it the step of that name,
	// counted by itself: what goes on at the same time may be faster or slower.
	KillAt int
	Step   string
}

func (v victim) config() crypto.Config {
	config := v.Place.Config()
	config.Generate = cryptotest.NewKeys("fresh").Make
	if v.Hostname[0] != "" {
		config.Rules.Renames = append(config.Rules.Renames, rename.Hostname(v.Hostname[0], v.Hostname[1]))
	}
	if v.Address[0] != "" {
		config.Rules.Renames = append(config.Rules.Renames, rename.Address(v.Address[0], v.Address[1]))
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
		if v.Step == "" || v.Step == step {
			steps++
		}
		fmt.Println(step)
		if steps == v.KillAt && (v.Step == "" || v.Step == step) {
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

// die kills a regeneration at a step, the n-th of those that one made which was let live. Of a kind that comes several
// times there may be fewer this time: then it lives, and killed is false.
func (v victim) die(t *testing.T, steps []string, n int) (killed bool) {
	t.Helper()
	v.Step, v.KillAt = steps[n], 0
	for _, step := range steps[:n+1] {
		if step == v.Step {
			v.KillAt++
		}
	}
	if _, killed = v.run(t); !killed && v.KillAt == 1 {
		t.Fatalf("there was no %s", v.Step)
	}
	return killed
}

// dieTwice kills a regeneration at a step, once more soon after it went on, and lets the third attempt live.
func (v victim) dieTwice(t *testing.T, steps []string, n int) {
	t.Helper()
	v.die(t, steps, n)
	v.Step, v.KillAt = "", 2
	v.run(t) // perhaps there was only one step left
	v.KillAt = 0
	if _, killed := v.run(t); killed {
		t.Fatal("was killed by someone else")
	}
}

// copied is the victim on a copy of its cluster, and of its journal if there is one.
func (v victim) copied(t *testing.T) victim {
	t.Helper()
	dir := t.TempDir()
	places := map[string]*string{"etc": &v.Place.Etc, "var": &v.Place.Var}
	if v.Place.Scratch == "" {
		v.Place.Scratch = t.TempDir()
	}
	places["scratch"] = &v.Place.Scratch
	v.etcdEnded(t)
	for name, place := range places {
		to := filepath.Join(dir, name)
		// Not os.CopyFS, which forgets modes: etcd insists on that of its directory.
		if out, err := exec.CommandContext(t.Context(), "cp", "-a", *place, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		*place = to
	}
	return v
}

// etcdEnded waits for the etcd of a process that was killed: it dies of that, a moment later.
func (v victim) etcdEnded(t *testing.T) {
	t.Helper()
	backend, err := os.Open(filepath.Join(v.Place.Var, "lib/etcd/member/snap/db"))
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	if err := syscall.Flock(int(backend.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
}

// contents are the hashes of all that the cluster consists of: files with their modes, keys of etcd, members.
func (v victim) contents(t *testing.T) map[string]string {
	t.Helper()
	v.etcdEnded(t)
	found := map[string]string{}
	config := v.config()
	tree, err := files.New(config.Roots, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, stop, err := config.Etcd.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range []site.Source{tree, etcd.New(client), etcd.NewMembers(client)} {
		err = errors.Join(err, source.Walk(t.Context(), func(s site.Site) error {
			found[s.Ref.String()] = site.HashOf(s.Content).String()
			return nil
		}))
	}
	if err := errors.Join(err, stop()); err != nil {
		t.Fatal(err)
	}
	for name := range read(t, v.Place.Etc) {
		info, err := os.Lstat(filepath.Join(v.Place.Etc, name))
		if err != nil {
			t.Fatal(err)
		}
		found["mode of "+name] = info.Mode().String()
	}
	return found
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
	minors := []string{"3.6"}
	if *full {
		minors = cryptotest.EtcdMinors
	}
	for _, minor := range minors {
		t.Run(minor, func(t *testing.T) { killedAtEveryStep(t, minor) })
	}
}

// doomed is a small cluster, a file, a node and a member of which are renamed.
func doomed(t *testing.T, s small, minor string) victim {
	t.Helper()
	s.tree["etcd-certs/peer-sno-seed.crt"] = s.leaf.PEM()
	programs := cryptotest.EtcdPrograms(t)
	seed := victim{
		Place:    fixture.Place{Etc: s.tree.write(t), Var: t.TempDir(), Etcds: programs},
		Hostname: [2]string{"sno-seed", "sno-target"}, Address: [2]string{"192.168.126.10", "192.0.2.20"},
	}
	if err := os.MkdirAll(filepath.Join(seed.Place.Var, "lib/kubelet"), 0o755); err != nil {
		t.Fatal(err)
	}
	cryptotest.ServeEtcd(t, programs[minor], filepath.Join(seed.Place.Var, "lib/etcd"), func(ctx context.Context, client *clientv3.Client) {
		s.put(ctx, t, client)
		members, err := client.MemberList(ctx)
		if err != nil || len(members.Members) != 1 {
			t.Fatalf("members %v, %v", members, err)
		}
		if _, err := client.MemberUpdate(ctx, members.Members[0].ID, []string{"https://192.168.126.10:2380"}); err != nil {
			t.Fatal(err)
		}
	})
	return seed
}

// killedAtEveryStep divides a regeneration where its journal is prepared. One that dies before that has changed nothing.
// One that dies later ends byte for byte as one that does not, since all that is left to chance is in the journal.
func killedAtEveryStep(t *testing.T, minor string) {
	s := newSmall(t)
	seed := doomed(t, s, minor)
	before := seed.copied(t).inspect(t)
	untouched := seed.contents(t)
	uneventful := seed.copied(t)
	steps, _ := uneventful.run(t)
	want := shape(uneventful.inspect(t))
	uneventful.sameGeneration(t, want, before)
	kinds := slices.Compact(slices.Sorted(slices.Values(steps)))
	if len(kinds) < 13 || !slices.Contains(kinds, "etcd.member") {
		t.Errorf("only kinds of steps %v", kinds)
	}
	decided := slices.Index(steps, "journal.prepare.rename") + 1
	prepared := seed.copied(t)
	prepared.die(t, steps, decided)
	finished := prepared.copied(t)
	rest, _ := finished.run(t)
	end := finished.contents(t)
	finished.sameGeneration(t, want, before)
	t.Logf("%d steps until the journal is prepared, %d of the rest", decided, len(rest))

	for n, step := range steps[:decided] {
		t.Run(fmt.Sprintf("%02d %s", n+1, step), func(t *testing.T) {
			t.Parallel()
			v := seed.copied(t)
			v.die(t, steps, n)
			if diff := cmp.Diff(untouched, v.contents(t)); diff != "" {
				t.Errorf("something changed before it was decided:\n%s", diff)
			}
			v.run(t)
			v.sameGeneration(t, want, before)
		})
	}
	for n, step := range rest {
		t.Run(fmt.Sprintf("%02d %s", decided+n+1, step), func(t *testing.T) {
			t.Parallel()
			v := prepared.copied(t)
			v.dieTwice(t, rest, n)
			if diff := cmp.Diff(end, v.contents(t)); diff != "" {
				t.Errorf("not as without a crash:\n%s", diff)
			}
			v.sameGeneration(t, want, before)
			s.consistent(t, read(t, v.Place.Etc))
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
			v.dieTwice(t, steps, n)
			v.sameGeneration(t, want, before)
		})
	}
}
