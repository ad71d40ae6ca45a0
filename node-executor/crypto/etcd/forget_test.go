package etcd_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
)

var errCrash = errors.New("power lost")

// oldValue begins every value that must be nowhere in the end.
const oldValue = "a private key of the seed "

// world is a data directory of one minor version.
type world struct {
	minor, program, dir string
	etcd.DataDir
	before state
}

// newWorld has an etcd write a directory and kills it, so that its log holds what its backend does not.
func newWorld(t *testing.T, minor string, write func(context.Context, *clientv3.Client)) world {
	t.Helper()
	programs := cryptotest.EtcdPrograms(t)
	w := world{minor: minor, program: programs[minor], dir: filepath.Join(t.TempDir(), "etcd")}
	w.DataDir = etcd.DataDir{Dir: w.dir, Programs: programs, Runner: cryptotest.Runner{}}
	cryptotest.ServeEtcd(t, w.program, w.dir, nobody) // until it has a version
	killed := w.DataDir
	killed.Runner = killing{killed.Runner}
	client, stop, err := killed.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	write(t.Context(), client)
	w.before = ask(t.Context(), t, client)
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Fatalf("got error %v, want it to have been killed", err)
	}
	return w
}

// killing runs programs that are killed when they should stop.
type killing struct{ etcd.Runner }

func (k killing) Start(ctx context.Context, program string, args []string) (etcd.Process, error) {
	p, err := k.Runner.Start(ctx, program, args)
	return killed{p}, err
}

type killed struct{ etcd.Process }

func (k killed) Stop(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return k.Process.Stop(ctx)
}

// replaceAll puts new values in the place of all that there are, and forgets the old ones as far as a running etcd can.
func (w world) replaceAll(t *testing.T) {
	t.Helper()
	client, stop, err := w.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := client.Get(t.Context(), "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		if bytes.HasPrefix(kv.Value, []byte(oldValue)) {
			put(t.Context(), t, client, string(kv.Key), "new", clientv3.WithLease(clientv3.LeaseID(kv.Lease)))
		}
	}
	if err := errors.Join(etcd.New(client).Compact(t.Context(), never), stop()); err != nil {
		t.Fatal(err)
	}
}

// state is what an etcd says of a directory.
type state struct {
	Values          map[string]string
	Leases          map[string]int64
	Version         string
	Storage         string
	Member, Cluster uint64
}

func ask(ctx context.Context, t *testing.T, client *clientv3.Client) state {
	t.Helper()
	status, err := client.Status(ctx, client.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	s := state{map[string]string{}, map[string]int64{}, status.Version, status.StorageVersion, status.Header.MemberId, status.Header.ClusterId}
	all, err := client.Get(ctx, "\x00", clientv3.WithFromKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range all.Kvs {
		s.Values[string(kv.Key)] = string(kv.Value)
		s.Leases[string(kv.Key)] = kv.Lease
	}
	return s
}

// check has the directory's own etcd, started as on a node, serve it, and compares.
func (w world) check(t *testing.T, want state, when string) {
	t.Helper()
	cryptotest.ServeEtcd(t, w.program, w.dir, func(ctx context.Context, client *clientv3.Client) {
		if diff := cmp.Diff(want, ask(ctx, t, client)); diff != "" {
			t.Errorf("%s etcd serves something else:\n%s", when, diff)
		}
	})
	db := filepath.Join(w.dir, "member", "snap", "db")
	if _, err := readStored(db); err != nil {
		t.Errorf("%s bbolt finds the backend out of order: %v", when, err)
	}
	if minor, err := etcd.Minor(db); err != nil || minor != w.minor {
		t.Errorf("got version %q, %v; want %s as before", minor, err, w.minor)
	}
}

// after is the state with the new values.
func (w world) after() state {
	s := w.before
	s.Values = maps.Clone(s.Values)
	for key := range s.Values {
		s.Values[key] = "new"
	}
	return s
}

// left returns the files of the directory that hold an old value.
func (w world) left(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(oldValue)) {
			names = append(names, e.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func putOld(t *testing.T) func(context.Context, *clientv3.Client) {
	return func(ctx context.Context, client *clientv3.Client) {
		lease, err := client.Grant(ctx, 3600)
		if err != nil {
			t.Fatal(err)
		}
		put(ctx, t, client, "leased", oldValue, clientv3.WithLease(lease.ID))
		for i := range 30 {
			put(ctx, t, client, fmt.Sprintf("key-%02d", i), fmt.Sprint(oldValue, i))
		}
		put(ctx, t, client, "gone", oldValue)
		if _, err := client.Delete(ctx, "gone"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestForget(t *testing.T) {
	for _, minor := range cryptotest.EtcdMinors {
		t.Run(minor, func(t *testing.T) {
			w := newWorld(t, minor, putOld(t))
			if len(w.before.Values) != 31 || len(w.left(t)) == 0 {
				t.Fatalf("got %d keys, old values in %v", len(w.before.Values), w.left(t))
			}
			w.replaceAll(t)
			if len(w.left(t)) == 0 {
				t.Fatal("there is nothing to forget")
			}
			if err := w.Forget(t.Context(), never); err != nil {
				t.Fatal(err)
			}
			if left := w.left(t); len(left) > 0 {
				t.Errorf("old values are left in %v", left)
			}
			w.check(t, w.after(), "afterwards")
		})
	}
}

// At every point where it may crash etcd starts from what is there, and the next run ends as one that did not crash.
func TestForgetCrashes(t *testing.T) {
	for _, minor := range cryptotest.EtcdMinors {
		t.Run(minor, func(t *testing.T) {
			w := newWorld(t, minor, putOld(t))
			var points []string
			for n, err := 1, errCrash; err != nil; n++ {
				w.replaceAll(t)
				points = points[:0]
				err = w.Forget(t.Context(), func(point string) error {
					if points = append(points, point); len(points) == n {
						return errCrash
					}
					return nil
				})
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatalf("after a crash at %v: %v", points, err)
				}
				if err == nil && len(w.left(t)) > 0 {
					t.Errorf("old values are left in %v", w.left(t))
				}
				w.check(t, w.after(), fmt.Sprintf("after a crash at %v", points))
			}
			for _, want := range []string{"etcd.pages", "etcd.log.write", "etcd.log.rename", "etcd.wal.remove", "etcd.snap.remove"} {
				if !slices.Contains(points, want) {
					t.Errorf("got points %v, want %s among them", points, want)
				}
			}
		})
	}
}

// A log of several files ends as one, and a crash between two removals leaves no gap.
func TestForgetOfSeveralFiles(t *testing.T) {
	large := oldValue + strings.Repeat("x", 1<<20)
	w := newWorld(t, "3.5", func(ctx context.Context, client *clientv3.Client) {
		for range 130 {
			put(ctx, t, client, "large", large)
		}
	})
	w.replaceAll(t)
	removed := 0
	err := w.Forget(t.Context(), func(point string) error {
		if point == "etcd.wal.remove" {
			removed++
		}
		if removed == 3 {
			return errCrash
		}
		return nil
	})
	if !errors.Is(err, errCrash) {
		t.Fatalf("got error %v after %d removals, want a crash before the third", err, removed)
	}
	w.check(t, w.after(), "after a crash")
	w.replaceAll(t)
	if err := w.Forget(t.Context(), never); err != nil {
		t.Fatal(err)
	}
	if left := w.left(t); len(left) > 0 {
		t.Errorf("old values are left in %v", left)
	}
	w.check(t, w.after(), "afterwards")
}

func TestForgetRefuses(t *testing.T) {
	t.Run("a directory that an etcd has open", func(t *testing.T) {
		w := newWorld(t, "3.6", putOld(t))
		cryptotest.ServeEtcd(t, w.program, w.dir, func(ctx context.Context, _ *clientv3.Client) {
			if err := w.Forget(ctx, never); !errors.Is(err, etcd.ErrInUse) {
				t.Errorf("got error %v, want %v", err, etcd.ErrInUse)
			}
		})
	})
	t.Run("a log that is in no snapshot", func(t *testing.T) {
		w := newWorld(t, "3.6", putOld(t))
		w.replaceAll(t)
		cryptotest.ServeEtcd(t, w.program, w.dir, func(ctx context.Context, client *clientv3.Client) { put(ctx, t, client, "key-00", oldValue) })
		w.check(t, func() state { s := w.after(); s.Values["key-00"] = oldValue; return s }(), "started once more")
		if err := w.Forget(t.Context(), never); err == nil || !strings.Contains(err.Error(), "in no snapshot") {
			t.Errorf("got error %v", err)
		}
	})
}
