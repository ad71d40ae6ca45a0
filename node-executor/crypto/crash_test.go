package crypto_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

var errCrash = errors.New("power lost")

// crashAt fails from the n-th point on, counting from 1, and records the points' names.
func crashAt(n int, points *[]string) func(string) error {
	return func(point string) error {
		*points = append(*points, point)
		if len(*points) >= n {
			return errCrash
		}
		return nil
	}
}

// running opens an etcd that the test serves.
type running struct{ client *clientv3.Client }

func (r running) Open(context.Context) (*clientv3.Client, func() error, error) {
	return r.client, func() error { return nil }, nil
}

func (running) ForgetLog(context.Context, func(string) error) error { return nil }

// crashCase is a cluster that is regenerated over and over.
type crashCase struct {
	small
	objects map[string]string
	client  *clientv3.Client
}

// start puts the seed's state back and returns a configuration for it.
func (c crashCase) start(ctx context.Context, t *testing.T) (crypto.Config, string) {
	t.Helper()
	if _, err := c.client.Delete(ctx, "/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	for key, value := range c.objects {
		if _, err := c.client.Put(ctx, key, value); err != nil {
			t.Fatal(err)
		}
	}
	dir := c.tree.write(t)
	config := configure(t, dir, plan.Rules{Renames: rename.Rules{rename.Hostname("sno-seed", "sno-target")}})
	config.Etcd = running{c.client}
	return config, dir
}

// oneGeneration checks that files and objects hold the same new material and nothing is left over.
func (c crashCase) oneGeneration(ctx context.Context, t *testing.T, config crypto.Config, dir string) {
	t.Helper()
	after := read(t, dir)
	c.consistent(t, after)
	if got, want := len(after), len(c.tree); got != want {
		t.Errorf("got %d files, want %d: %v", got, want, maps.Keys(after))
	}
	r, err := c.client.Get(ctx, tlsKey)
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("cannot get secret: %v", err)
	}
	secret := decoded(t, string(r.Kvs[0].Value), &corev1.Secret{})
	if string(secret.Data["tls.key"]) != after["pki/tls.key"] || string(secret.Data["tls.crt"]) != after["pki/tls.crt"] {
		t.Error("secret and file are of two generations")
	}
	entries, err := os.ReadDir(config.Journal)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "prepared") {
			t.Errorf("journal with private keys was left: %s", e.Name())
		}
	}
}

func TestCrashAtEveryPoint(t *testing.T) {
	s := newSmall(t)
	s.tree["etcd-certs/peer-sno-seed.crt"] = s.leaf.PEM() // a file that is renamed
	programs := cryptotest.EtcdPrograms(t)
	cryptotest.ServeEtcd(t, programs["3.6"], filepath.Join(t.TempDir(), "etcd"), func(ctx context.Context, client *clientv3.Client) {
		c := crashCase{small: s, objects: s.objects(t), client: client}
		var points []string
		config, dir := c.start(ctx, t)
		config.Fault = crashAt(1<<30, &points)
		if _, err := crypto.Regenerate(ctx, config); err != nil {
			t.Fatal(err)
		}
		c.oneGeneration(ctx, t, config, dir)
		all := points
		for n := range all {
			t.Run(fmt.Sprintf("%02d %s", n+1, all[n]), func(t *testing.T) {
				config, dir := c.start(ctx, t)
				var points []string
				config.Fault = crashAt(n+1, &points)
				if _, err := crypto.Regenerate(ctx, config); !errors.Is(err, errCrash) {
					t.Fatalf("got error %v, want a crash", err)
				}
				// And once more on the way back, if there is that much left to do.
				points = nil
				config.Fault = crashAt(2, &points)
				if _, err := crypto.Regenerate(ctx, config); err != nil && !errors.Is(err, errCrash) {
					t.Fatal(err)
				}
				config.Fault = nil
				summary, err := crypto.Regenerate(ctx, config)
				if err != nil {
					t.Fatal(err)
				}
				c.oneGeneration(ctx, t, config, dir)
				done := read(t, dir)
				again, err := crypto.Regenerate(ctx, config)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(summary, again); diff != "" {
					t.Errorf("a finished regeneration was reported otherwise:\n%s", diff)
				}
				if diff := cmp.Diff(done, read(t, dir)); diff != "" {
					t.Error("a finished regeneration was repeated")
				}
			})
		}
	})
}

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
