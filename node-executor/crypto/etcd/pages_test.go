package etcd_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
)

// backendIn is where a backend stands below a member's directory, whose parts it makes.
func backendIn(t testing.TB, member string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(member, "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(member, "snap", "db")
}

func clearPages(member string) error {
	root, err := os.OpenRoot(member)
	if err != nil {
		return err
	}
	return errors.Join(etcd.ClearFreePages(root), root.Close())
}

// churned writes a database by many transactions that put values of every size and delete most of them again, in buckets
// at top level, nested ones, and small ones that stand within their parent.
func churned(t testing.TB, path string, seed uint64, options *bbolt.Options) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	db, err := bbolt.Open(path, 0o600, options)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		err := db.Update(func(tx *bbolt.Tx) error {
			for range 30 {
				b, err := tx.CreateBucketIfNotExists(fmt.Append(nil, "bucket ", random.IntN(4)))
				if err == nil && random.IntN(3) == 0 {
					b, err = b.CreateBucketIfNotExists([]byte("nested"))
				}
				if err != nil {
					return err
				}
				key := fmt.Append(nil, "key ", random.IntN(200))
				if random.IntN(2) == 0 {
					err = b.Delete(key)
				} else {
					err = b.Put(key, bytes.Repeat([]byte(oldValue), 1+random.IntN(1<<random.IntN(10))))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = db.Update(func(tx *bbolt.Tx) error { // what is left has other values
		return eachEntry(tx, func(b *bbolt.Bucket, key []byte) error {
			return b.Put(key, bytes.Repeat([]byte{'n'}, 1+random.IntN(6000)))
		})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// eachEntry visits the keys of all buckets that are not buckets themselves.
func eachEntry(tx *bbolt.Tx, visit func(b *bbolt.Bucket, key []byte) error) error {
	var walk func(b *bbolt.Bucket) error
	walk = func(b *bbolt.Bucket) error {
		var keys [][]byte
		err := b.ForEach(func(k, _ []byte) error {
			keys = append(keys, bytes.Clone(k))
			return nil
		})
		for _, k := range keys {
			if inner := b.Bucket(k); inner != nil {
				err = errors.Join(err, walk(inner))
			} else {
				err = errors.Join(err, visit(b, k))
			}
		}
		return err
	}
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b) })
}

// stored is a database by bbolt's own account: its values, and the pages that it calls free.
type stored struct {
	values []string
	free   []int
}

func readStored(path string) (s stored, err error) {
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return s, db.View(func(tx *bbolt.Tx) error {
		var problems []error
		for err := range tx.Check() {
			problems = append(problems, err)
		}
		for id := 0; ; id++ {
			page, err := tx.Page(id)
			if err != nil {
				return err
			}
			if page == nil {
				break
			}
			if page.Type == "free" {
				s.free = append(s.free, id)
			}
		}
		return errors.Join(errors.Join(problems...), eachEntry(tx, func(b *bbolt.Bucket, key []byte) error {
			s.values = append(s.values, fmt.Sprintf("%d %s=%s", b.Root(), key, b.Get(key)))
			return nil
		}))
	})
}

// Nothing of the database changes, and all that bbolt calls free is zero, with or without a list of it in the file.
func TestClearFreePages(t *testing.T) {
	for seed, options := range []*bbolt.Options{
		{NoSync: true}, {NoSync: true, NoFreelistSync: true}, {NoSync: true, NoFreelistSync: true, PageSize: 16 << 10},
		{NoSync: true, FreelistType: bbolt.FreelistMapType}, {NoSync: true, NoFreelistSync: true, NoGrowSync: true},
	} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			member := t.TempDir()
			db := backendIn(t, member)
			churned(t, db, uint64(seed), options)
			if content, err := os.ReadFile(db); err != nil || !bytes.Contains(content, []byte(oldValue)) {
				t.Fatalf("there is nothing to clear: %v", err)
			}
			before, err := readStored(db)
			if err != nil || len(before.free) == 0 || len(before.values) == 0 {
				t.Fatalf("got %d free pages, %d values, error %v", len(before.free), len(before.values), err)
			}
			for range 2 {
				if err := clearPages(member); err != nil {
					t.Fatal(err)
				}
			}
			after, err := readStored(db)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before, after, cmp.AllowUnexported(stored{})); diff != "" {
				t.Errorf("the database is another one:\n%s", diff)
			}
			content, err := os.ReadFile(db)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(content, []byte(oldValue)) {
				t.Error("an old value is left")
			}
			size := os.Getpagesize()
			if options.PageSize != 0 {
				size = options.PageSize
			}
			for _, id := range before.free {
				if page := content[id*size : (id+1)*size]; len(bytes.Trim(page, "\x00")) > 0 {
					t.Errorf("free page %d holds something", id)
				}
			}
		})
	}
}

// FuzzClearFreePages damages a database at a place: it is refused and stays as it is, or whole pages of it become zero.
func FuzzClearFreePages(f *testing.F) {
	member := f.TempDir()
	db := backendIn(f, member)
	churned(f, db, 1, &bbolt.Options{NoSync: true, NoFreelistSync: true, PageSize: os.Getpagesize()})
	whole, err := os.ReadFile(db)
	if err != nil {
		f.Fatal(err)
	}
	for _, at := range []uint32{8, 16, 24, 40, 56, 4096 + 56, 3 * 4096, 5*4096 + 12} {
		f.Add(at, byte(1))
	}
	f.Fuzz(func(t *testing.T, at uint32, change byte) {
		member := t.TempDir()
		db := backendIn(t, member)
		damaged := bytes.Clone(whole)
		damaged[int(at)%len(damaged)] ^= change
		if err := os.WriteFile(db, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		refused := clearPages(member)
		content, err := os.ReadFile(db)
		if err != nil {
			t.Fatal(err)
		}
		for page := range len(damaged) / os.Getpagesize() {
			from, to := page*os.Getpagesize(), (page+1)*os.Getpagesize()
			if now := content[from:to]; !bytes.Equal(now, damaged[from:to]) && (refused != nil || len(bytes.Trim(now, "\x00")) > 0) {
				t.Errorf("page %d was changed; error %v", page, refused)
			}
		}
	})
}
