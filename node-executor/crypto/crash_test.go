package crypto_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	random "testing/cryptotest"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

var errCrash = errors.New("power lost")

func TestForeignWriteStopsAResume(t *testing.T) {
	s := newSmall(t)
	dir := s.tree.write(t)
	config := configure(t, dir, plan.Rules{})
	var points []string
	config.Fault = func(point string) error {
		points = append(points, point)
		if point == "file.stage" {
			return errCrash
		}
		return nil
	}
	if _, err := crypto.Regenerate(t.Context(), config); !errors.Is(err, errCrash) {
		t.Fatalf("got error %v, want a crash", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pki/tls.key"), []byte("someone else's"), 0o600); err != nil {
		t.Fatal(err)
	}
	config.Fault = nil
	if _, err := crypto.Regenerate(t.Context(), config); !errors.Is(err, site.ErrForeignWrite) {
		t.Errorf("got error %v, want %v", err, site.ErrForeignWrite)
	}
	if got := read(t, dir)["pki/tls.key"]; got != "someone else's" {
		t.Error("a file that someone else wrote was overwritten")
	}
}

func TestOneAtATime(t *testing.T) {
	config := configure(t, newSmall(t).tree.write(t), plan.Rules{})
	journal, err := commit.Open(config.Journal)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := crypto.Regenerate(t.Context(), config); !errors.Is(err, commit.ErrLocked) {
		t.Errorf("got error %v, want %v", err, commit.ErrLocked)
	}
	if err := journal.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := crypto.Regenerate(t.Context(), config); err != nil {
		t.Errorf("got error %v after the lock was released", err)
	}
}

// With the same source of randomness a regeneration has the same outcome, byte for byte, and so has one that dies at any step
// and goes on. The cluster has one key of each kind and one certificate, since chance must be asked for in one order: which of
// many keys of a kind is whose, and which certificate gets which serial number, is up to the scheduler. What larger
// clusters have in common is their shape before the journal is prepared, and every byte afterwards: see killedAtEveryStep.
func TestFixedRandomness(t *testing.T) {
	ca, account := cryptotest.Authority(t, "ca", cryptotest.EC(t)), cryptotest.RSA(t, 2)
	w := tree{
		"ca.crt": ca.PEM(), "ca.key": ca.KeyPEM(), "bundle.yaml": "ca: " + text64(ca.PEM()) + "\n", "bundle.gz": gzipped(t, "# mine\n"+ca.PEM()),
		"sa.key": cryptotest.KeyPEM(account), "sa.pub": cryptotest.Block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&account.PublicKey)),
		"token": cryptotest.Token(t, account, "a"), "other-token": cryptotest.Token(t, account, "b"),
	}
	if _, err := cryptotest.NewKeys("fresh").Make(pki.Algorithm{Name: "RSA", Bits: 2048}); err != nil { // not to be made of the test's randomness
		t.Fatal(err)
	}
	const seed = 5
	end := func(t *testing.T, crashAt int) (outcome tree, steps int) {
		dir := w.write(t)
		config := configure(t, dir, plan.Rules{Validity: plan.Extend, Now: now})
		config.Fault = func(string) error {
			if steps++; steps == crashAt {
				return errCrash
			}
			return nil
		}
		random.SetGlobalRandom(t, seed)
		_, err := crypto.Regenerate(t.Context(), config)
		if (crashAt != 0) != errors.Is(err, errCrash) || crashAt == 0 && err != nil {
			t.Fatalf("got error %v at step %d", err, crashAt)
		}
		if crashAt != 0 {
			config.Generate, config.Fault = cryptotest.NewKeys("fresh").Make, nil // as another process has it
			random.SetGlobalRandom(t, seed)
			if _, err := crypto.Regenerate(t.Context(), config); err != nil {
				t.Fatal(err)
			}
		}
		return read(t, dir), steps
	}
	want, steps := end(t, 0)
	if steps < 15 {
		t.Fatalf("took %d steps", steps)
	}
	if same := slices.Collect(maps.Keys(w)); slices.ContainsFunc(same, func(name string) bool { return w[name] == want[name] }) {
		t.Fatal("something did not change")
	}
	for n := range steps + 1 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if got, _ := end(t, n); cmp.Diff(want, got) != "" {
				t.Errorf("the outcome is another one:\n%s", cmp.Diff(want, got))
			}
		})
	}
}
