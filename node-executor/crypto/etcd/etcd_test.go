package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

func never(string) error { return nil }

func nobody(context.Context, *clientv3.Client) {}

func change(name, before, after string) site.Change {
	return site.Change{Ref: site.Ref{Store: site.Etcd, Name: name}, Before: site.HashOf([]byte(before)), After: []byte(after)}
}

func put(ctx context.Context, t *testing.T, client *clientv3.Client, key, value string, options ...clientv3.OpOption) {
	t.Helper()
	if _, err := client.Put(ctx, key, value, options...); err != nil {
		t.Fatal(err)
	}
}

func get(ctx context.Context, t *testing.T, client *clientv3.Client, key string) (value string, lease int64, found bool) {
	t.Helper()
	r, err := client.Get(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return "", 0, false
	}
	return string(r.Kvs[0].Value), r.Kvs[0].Lease, true
}

func TestKeyspace(t *testing.T) {
	program := cryptotest.EtcdPrograms(t)["3.6"]
	cryptotest.ServeEtcd(t, program, filepath.Join(t.TempDir(), "etcd"), func(ctx context.Context, client *clientv3.Client) {
		keys := etcd.New(client)
		t.Run("walk passes every key once", func(t *testing.T) { walkAll(ctx, t, client, keys) })
		t.Run("large batches", func(t *testing.T) { largeBatches(ctx, t, client, keys) })
		t.Run("changes", func(t *testing.T) { changes(ctx, t, client, keys) })
		t.Run("lease stays", func(t *testing.T) {
			lease, err := client.Grant(ctx, 3600)
			if err != nil {
				t.Fatal(err)
			}
			put(ctx, t, client, "leased", "old", clientv3.WithLease(lease.ID))
			if err := keys.Apply(ctx, []site.Change{change("leased", "old", "new")}, never); err != nil {
				t.Fatal(err)
			}
			if value, id, _ := get(ctx, t, client, "leased"); value != "new" || id != int64(lease.ID) {
				t.Errorf("got %q with lease %x, want new with %x", value, id, lease.ID)
			}
			read, err := client.Get(ctx, "leased")
			if err != nil {
				t.Fatal(err)
			}
			again := change("leased", "new", "newer")
			again.Version = read.Kvs[0].ModRevision
			if err := keys.Apply(ctx, []site.Change{again}, never); err != nil {
				t.Fatal(err)
			}
			if value, id, _ := get(ctx, t, client, "leased"); value != "newer" || id != int64(lease.ID) {
				t.Errorf("got %q with lease %x, want newer with %x", value, id, lease.ID)
			}
		})
		t.Run("history is forgotten, twice if need be", func(t *testing.T) {
			before, err := client.Get(ctx, "leased")
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := keys.Compact(ctx, never); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := client.Get(ctx, "leased", clientv3.WithRev(before.Header.Revision-1)); err == nil {
				t.Error("an old revision can still be read")
			}
		})
	})
}

func walkAll(ctx context.Context, t *testing.T, client *clientv3.Client, keys *etcd.Keyspace) {
	const count = 1203 // more than two pages
	for i := range count {
		put(ctx, t, client, fmt.Sprintf("walk/%05d", i), "x")
	}
	others := []string{"/kubernetes.io/secrets/a/b", "/kubernetes.io/configmaps/a/b", "/kubernetes.io/secrets0", "/kubernetes.io/services/a", "\xff\xff"}
	for _, key := range others {
		put(ctx, t, client, key, "x")
	}
	defer func() {
		for _, key := range append(others, "zz-later") {
			if _, err := client.Delete(ctx, key); err != nil {
				t.Error(err)
			}
		}
	}()
	seen := map[string]bool{}
	err := keys.Walk(ctx, func(s site.Site) error {
		if len(seen) == 0 && s.Name != others[0] {
			t.Errorf("%s came first", s.Name)
		}
		if seen[s.Name] {
			t.Errorf("%s came twice", s.Name)
		}
		seen[s.Name] = true
		// A write in between is not part of the walk.
		if len(seen) == 1 {
			put(ctx, t, client, "zz-later", "x")
		}
		return nil
	})
	if err != nil || len(seen) != count+len(others) || seen["zz-later"] {
		t.Errorf("got %d keys, %v; want %d", len(seen), err, count+len(others))
	}
}

func largeBatches(ctx context.Context, t *testing.T, client *clientv3.Client, keys *etcd.Keyspace) {
	large := string(bytes.Repeat([]byte("x"), 400<<10))
	var all []site.Change
	for i := range 200 {
		key, after := fmt.Sprintf("batch/%03d", i), "new"
		if i%50 == 0 {
			after = large
		}
		put(ctx, t, client, key, "old")
		all = append(all, change(key, "old", after))
	}
	transactions := 0
	if err := keys.Apply(ctx, all, func(string) error { transactions++; return nil }); err != nil {
		t.Fatal(err)
	}
	if transactions < 4 {
		t.Errorf("got %d transactions for 200 keys", transactions)
	}
	if value, _, _ := get(ctx, t, client, "batch/150"); value != large {
		t.Errorf("got a value of %d bytes", len(value))
	}
}

func changes(ctx context.Context, t *testing.T, client *clientv3.Client, keys *etcd.Keyspace) {
	remove := change("key", "old", "")
	remove.Delete = true
	create := change("key", "", "new")
	create.Create = true
	for _, test := range []struct {
		name   string
		change site.Change
		before string // "" is no key
		want   string
		err    error
	}{
		{"put", change("key", "old", "new"), "old", "new", nil},
		{"put already", change("key", "old", "new"), "new", "new", nil},
		{"someone else wrote", change("key", "old", "new"), "other", "other", site.ErrForeignWrite},
		{"someone else deleted", change("key", "old", "new"), "", "", site.ErrForeignWrite},
		{"delete", remove, "old", "", nil},
		{"deleted already", remove, "", "", nil},
		{"delete what changed", remove, "other", "other", site.ErrForeignWrite},
		{"create", create, "", "new", nil},
		{"created already", create, "new", "new", nil},
		{"create over another", create, "other", "other", site.ErrForeignWrite},
	} {
		check := func(t *testing.T, c site.Change) {
			changes, done := []site.Change{c}, test.before == test.want && test.err == nil
			if err := keys.Confirm(ctx, changes); (err == nil) != done {
				t.Errorf("confirming before: got error %v", err)
			}
			if err := keys.Apply(ctx, changes, never); !errors.Is(err, test.err) {
				t.Errorf("got error %v, want %v", err, test.err)
			}
			if err := keys.Confirm(ctx, changes); !errors.Is(err, test.err) {
				t.Errorf("confirming after: got error %v, want %v", err, test.err)
			}
			if got, _, _ := get(ctx, t, client, "key"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		}
		prepare := func(t *testing.T, history ...string) {
			if _, err := client.Delete(ctx, "key"); err != nil {
				t.Fatal(err)
			}
			for _, value := range history {
				if value != "" {
					put(ctx, t, client, "key", value)
				} else if _, err := client.Delete(ctx, "key"); err != nil {
					t.Fatal(err)
				}
			}
		}
		t.Run(test.name, func(t *testing.T) {
			prepare(t, test.before)
			check(t, test.change)
		})
		if test.change.Create {
			continue
		}
		t.Run(test.name+", read before", func(t *testing.T) {
			prepare(t, "old")
			read, err := client.Get(ctx, "key")
			if err != nil {
				t.Fatal(err)
			}
			if test.before != "old" {
				prepare(t, "old", test.before)
			}
			c := test.change
			c.Version = read.Kvs[0].ModRevision
			check(t, c)
		})
	}
	t.Run("all or nothing", func(t *testing.T) {
		put(ctx, t, client, "key", "old")
		put(ctx, t, client, "other", "old")
		var all []site.Change
		if err := keys.Walk(ctx, func(s site.Site) error {
			if s.Name == "key" || s.Name == "other" {
				c := change(s.Name, "old", "new")
				c.Version = s.Version
				all = append(all, c)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		put(ctx, t, client, "other", "another's")
		if err := keys.Apply(ctx, all, never); len(all) != 2 || !errors.Is(err, site.ErrForeignWrite) {
			t.Errorf("%d changes: got error %v, want %v", len(all), err, site.ErrForeignWrite)
		}
		if got, _, _ := get(ctx, t, client, "key"); got != "old" {
			t.Errorf("got %q", got)
		}
		put(ctx, t, client, "other", "new") // as a change that was made, before an interruption, would have left it
		transactions := 0
		if err := keys.Apply(ctx, all, func(string) error { transactions++; return nil }); err != nil || transactions != 2 {
			t.Errorf("got error %v after %d transactions, want the second to succeed", err, transactions)
		}
		if got, _, _ := get(ctx, t, client, "key"); got != "new" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("someone writes between reading and writing", func(t *testing.T) {
		put(ctx, t, client, "key", "old")
		err := keys.Apply(ctx, []site.Change{change("key", "old", "new")}, func(string) error {
			put(ctx, t, client, "key", "other")
			return nil
		})
		if got, _, _ := get(ctx, t, client, "key"); !errors.Is(err, site.ErrForeignWrite) || got != "other" {
			t.Errorf("got %q, %v; want the other's value and %v", got, err, site.ErrForeignWrite)
		}
	})
}

func TestMinor(t *testing.T) {
	for minor, program := range cryptotest.EtcdPrograms(t) {
		t.Run(minor, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "etcd")
			// Enough keys for branch pages and buckets of their own.
			cryptotest.ServeEtcd(t, program, data, func(ctx context.Context, client *clientv3.Client) {
				for i := range 500 {
					put(ctx, t, client, fmt.Sprint("key", i), string(bytes.Repeat([]byte("v"), 2000)))
				}
			})
			if got, err := etcd.Minor(filepath.Join(data, "member", "snap", "db")); err != nil || got != minor {
				t.Errorf("got %q, %v; want %s", got, err, minor)
			}
		})
	}
}

func TestMinorOfSomethingElse(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string][]byte{"empty": nil, "text": []byte("not a backend"), "zeros": make([]byte, 1<<20)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := etcd.Minor(path); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if _, err := etcd.Minor(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, os.ErrNotExist)
	}
}

// unused is a runner that must not be asked for anything.
type unused struct{ t *testing.T }

func (u unused) Start(_ context.Context, program string, _ []string) (etcd.Process, error) {
	u.t.Errorf("%s is started", program)
	return nil, errors.ErrUnsupported
}

// What no etcd of its own minor version is there for is refused before anything is written.
func TestOtherVersionsAreRefused(t *testing.T) {
	programs := cryptotest.EtcdPrograms(t)
	for _, tc := range []struct{ name, minor, old, patched string }{
		{"newer than all", "3.7", "clusterVersion3.7.0", "clusterVersion3.8.0"},
		{"unknown", "3.5", "clusterVersion3.5.0", "clusterVersion3.x.0"},
		{"between two", "3.6", "storageVersion3.6.0", "storageVersion3.7.0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "etcd")
			cryptotest.ServeEtcd(t, programs[tc.minor], data, func(ctx context.Context, _ *clientv3.Client) { written(ctx, t, data, tc.old) })
			db := filepath.Join(data, "member", "snap", "db")
			content, err := os.ReadFile(db)
			if err != nil {
				t.Fatal(err)
			}
			patched := bytes.ReplaceAll(content, []byte(tc.old), []byte(tc.patched))
			if err := os.WriteFile(db, patched, 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, err = etcd.DataDir{Dir: data, Programs: programs, Runner: unused{t}}.Open(t.Context())
			if !errors.Is(err, etcd.ErrVersion) {
				t.Errorf("got error %v, want %v", err, etcd.ErrVersion)
			}
			if now, err := os.ReadFile(db); err != nil || !bytes.Equal(now, patched) {
				t.Errorf("the backend was changed: %v", err)
			}
		})
	}
}

// written waits until the backend says something.
func written(ctx context.Context, t *testing.T, data, text string) {
	t.Helper()
	for {
		content, err := os.ReadFile(filepath.Join(data, "member", "snap", "db"))
		if err == nil && bytes.Contains(content, []byte(text)) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the backend never says %s: %v", text, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A damaged backend is an error, never a panic or an endless search.
func FuzzMinor(f *testing.F) {
	data := filepath.Join(f.TempDir(), "etcd")
	cryptotest.ServeEtcd(f, cryptotest.EtcdPrograms(f)["3.6"], data, nobody)
	db, err := os.ReadFile(filepath.Join(data, "member", "snap", "db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(16, []byte{0xff, 0xff}) // within the first meta page
	f.Add(4096*3, bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, at int, damage []byte) {
		damaged := bytes.Clone(db)
		if at >= 0 && at < len(damaged) {
			copy(damaged[at:], damage)
		}
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if minor, err := etcd.Minor(path); err == nil && minor == "" {
			t.Error("neither a version nor an error")
		}
	})
}

// dead is a program that ends at once.
type dead struct{ exited chan struct{} }

func (d dead) Start(context.Context, string, []string) (etcd.Process, error) { return d, nil }
func (d dead) Exited() <-chan struct{}                                       { return d.exited }
func (d dead) Stop(context.Context) error                                    { return nil }

func TestProgramThatEnds(t *testing.T) {
	programs := cryptotest.EtcdPrograms(t)
	data := filepath.Join(t.TempDir(), "etcd")
	cryptotest.ServeEtcd(t, programs["3.5"], data, nobody)
	d := dead{make(chan struct{})}
	close(d.exited)
	if _, _, err := (etcd.DataDir{Dir: data, Programs: programs, Runner: d}).Open(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v at once, want %v", err, context.Canceled)
	}
}
