package crypto_test

import (
	"bytes"
	"context"
	stdcrypto "crypto"
	"encoding/base64"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// Whatever the forest, the invariants hold of what it becomes, also where the power was lost on the way, and of what some
// become when they are regenerated again. One etcd, which goes on running, has the values of one forest after the other.
func TestForests(t *testing.T) {
	cryptotest.ServeEtcd(t, cryptotest.EtcdPrograms(t)["3.6"], filepath.Join(t.TempDir(), "etcd"), func(ctx context.Context, client *clientv3.Client) {
		rapid.Check(t, func(r *rapid.T) { regrow(ctx, r, t, client) })
	})
}

func regrow(ctx context.Context, r *rapid.T, t *testing.T, client *clientv3.Client) {
	f := newForest(r, t)
	dir := f.tree.write(t)
	for _, name := range slices.Sorted(maps.Keys(f.tree)) {
		mode := rapid.SampledFrom([]os.FileMode{0o600, 0o640, 0o444}).Draw(r, "mode")
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			r.Fatal(err)
		}
	}
	fill(ctx, r, client, f.stored(r))
	n := node{ctx, r, t, client, dir}
	old := n.seen()
	n.regenerate(f, "fresh")
	renewed := n.seen()
	comparison{t, r, f, old, renewed}.check()
	if rapid.IntRange(0, 3).Draw(r, "again") != 3 { // it takes as long as the first time
		return
	}
	again := &forest{external: f.external, rules: plan.Rules{Unknown: plan.Replace, Validity: plan.Extend, Now: now, External: f.rules.External}}
	n.regenerate(again, "again")
	comparison{t, r, again, renewed, n.seen()}.check()
}

// fill gives an etcd the values and no others.
func fill(ctx context.Context, r *rapid.T, client *clientv3.Client, values map[string]string) {
	if _, err := client.Delete(ctx, "\x00", clientv3.WithFromKey()); err != nil {
		r.Fatal(err)
	}
	for name, value := range values {
		if _, err := client.Put(ctx, name, value); err != nil {
			r.Fatal(err)
		}
	}
}

// node is a place for forests to grow.
type node struct {
	context.Context
	*rapid.T
	t      *testing.T
	client *clientv3.Client
	dir    string
}

// regenerate may lose its power once before one of its steps, and is called again then.
func (n node) regenerate(f *forest, pool string) {
	config := configure(n.t, n.dir, f.rules)
	config.Etcd = etcd.Endpoint{Config: clientv3.Config{Endpoints: n.client.Endpoints()}}
	config.Generate = cryptotest.NewKeys(pool).Make
	crashAt, step := rapid.IntRange(0, 80).Draw(n.T, "crash"), 0 // few have so many steps
	config.Fault = func(string) error {
		if step++; step == crashAt {
			return errCrash
		}
		return nil
	}
	_, err := crypto.Regenerate(n, config)
	if errors.Is(err, errCrash) {
		_, err = crypto.Regenerate(n, config)
	}
	if err != nil {
		n.Fatal(err)
	}
}

// sight is a forest as it stands: on the disk and in etcd.
type sight struct {
	tree      tree
	stats     map[string]*syscall.Stat_t // of files
	values    map[string]string          // of etcd, opened
	revisions map[string]int64           // of values' last changes
	envelopes map[string]atrest.Envelope // of encrypted values

	leaves []*material       // in the order of places' names
	around map[string]string // places with nothing where their material is
}

func (n node) seen() sight {
	s := sight{
		tree: read(n.t, n.dir), stats: map[string]*syscall.Stat_t{}, values: map[string]string{}, revisions: map[string]int64{},
		envelopes: map[string]atrest.Envelope{}, around: map[string]string{},
	}
	for name := range s.tree {
		s.stats[name] = &syscall.Stat_t{}
		if err := syscall.Lstat(filepath.Join(n.dir, name), s.stats[name]); err != nil {
			n.Fatal(err)
		}
	}
	key, err := base64.StdEncoding.DecodeString(encryptionKeyIn(s.tree))
	if err != nil {
		n.Fatal(err)
	}
	ring := atrest.NewRing(key)
	all, err := n.client.Get(n, "\x00", clientv3.WithFromKey())
	if err != nil {
		n.Fatal(err)
	}
	for _, kv := range all.Kvs {
		name := string(kv.Key)
		s.values[name], s.revisions[name] = string(kv.Value), kv.ModRevision
		if !atrest.Encrypted(kv.Value) {
			continue
		}
		envelope, content, err := ring.Open(name, kv.Value)
		if err != nil {
			n.Fatal(err)
		}
		s.values[name], s.envelopes[name] = string(content), envelope
	}
	places := s.places()
	for _, place := range slices.Sorted(maps.Keys(places)) {
		s.look(n.T, place, places[place])
	}
	return s
}

// places are the contents of all files and values.
func (s sight) places() map[string]string {
	places := map[string]string{}
	for name, content := range s.tree {
		places["file:"+name] = content
	}
	for name, content := range s.values {
		places["etcd:"+name] = content
	}
	return places
}

func (s *sight) look(r *rapid.T, place, content string) {
	edits, err := crawl.Rewrite([]byte(content), crawl.Handler{Leaf: func(l crawl.Leaf) ([]byte, error) {
		l.Path, l.Bytes = place+l.Path, bytes.Clone(l.Bytes)
		for _, seen := range s.leaves {
			if bytes.Equal(seen.Bytes, l.Bytes) {
				copied := *seen
				copied.Path = l.Path
				s.leaves = append(s.leaves, &copied)
				return nil, nil
			}
		}
		s.leaves = append(s.leaves, readMaterial(r, l))
		return nil, nil
	}})
	if err != nil || len(edits) != 0 {
		r.Fatalf("got edits %v, %v for nothing", edits, err)
	}
	edits, err = crawl.Rewrite([]byte(content), crawl.Handler{Leaf: func(crawl.Leaf) ([]byte, error) { return []byte("-"), nil }})
	if err != nil {
		r.Fatal(err)
	}
	around, err := splice.Apply([]byte(content), edits)
	if err != nil {
		r.Fatal(err)
	}
	s.around[place] = string(around)
}

// privates are the private keys among the leaves.
func (s sight) privates(r *rapid.T) map[pki.KeyID]stdcrypto.Signer {
	found := map[pki.KeyID]stdcrypto.Signer{}
	for _, l := range s.leaves {
		if l.private == nil {
			continue
		}
		id, err := pki.IDOf(l.public)
		if err != nil {
			r.Fatal(err)
		}
		found[id] = l.private
	}
	return found
}

// encryptionKeys are those of encryption at rest among the leaves.
func (s sight) encryptionKeys() (keys [][]byte) {
	for _, l := range s.leaves {
		if l.Kind == crawl.EncryptionKey {
			keys = append(keys, l.Bytes)
		}
	}
	return keys
}

// objects are the values that an API server stores as protobuf, by key.
func (s sight) objects() map[string]string {
	found := map[string]string{}
	for name, value := range s.values {
		if strings.HasPrefix(value, "k8s\x00") {
			found[name] = value
		}
	}
	return found
}
