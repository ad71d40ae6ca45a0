package etcd_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
)

// one returns the only file that matches the pattern below a data directory.
func one(t testing.TB, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "member", pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("got %v, %v; want one %s", found, err, pattern)
	}
	return found[0]
}

// A damaged log is an error and stays as it is, or it is read, and then what was written can be read as well.
func FuzzForget(f *testing.F) {
	data := filepath.Join(f.TempDir(), "etcd")
	programs := cryptotest.EtcdPrograms(f)
	cryptotest.ServeEtcd(f, programs["3.6"], data, nobody)
	// Opened and closed, it has a snapshot; cut, it is short.
	dir := etcd.DataDir{Dir: data, Programs: programs, Runner: cryptotest.Runner{}}
	_, stop, err := dir.Open(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(stop(), dir.Forget(f.Context(), never)); err != nil {
		f.Fatal(err)
	}
	logFile, snapshot := one(f, data, "wal/*.wal"), one(f, data, "snap/*.snap")
	log, err := os.ReadFile(logFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(0, []byte{0})                            // no damage
	f.Add(0, bytes.Repeat([]byte{0xff}, 8))        // a length without end
	f.Add(7, []byte{0x87})                         // filling
	f.Add(24, []byte{0xff})                        // a sum
	f.Add(len(log)-9, bytes.Repeat([]byte{0}, 64)) // the last frame
	f.Fuzz(func(t *testing.T, at int, damage []byte) {
		damaged := bytes.Clone(log)
		if at > 0 && at < len(damaged) || at == 0 && len(damage) > 1 {
			copy(damaged[at:], damage)
		}
		dir := t.TempDir()
		wal := filepath.Join(dir, "member", "wal", filepath.Base(logFile))
		snap := filepath.Join(dir, "member", "snap")
		if err := errors.Join(
			os.MkdirAll(filepath.Dir(wal), 0o700), os.MkdirAll(snap, 0o700), os.WriteFile(wal, damaged, 0o600),
			os.WriteFile(filepath.Join(snap, "db"), nil, 0o600), os.WriteFile(filepath.Join(snap, filepath.Base(snapshot)), nil, 0o600),
		); err != nil {
			t.Fatal(err)
		}
		d := etcd.DataDir{Dir: dir}
		if err := d.Forget(t.Context(), never); err != nil {
			if now, err := os.ReadFile(wal); err != nil || !bytes.Equal(now, damaged) {
				t.Errorf("a log that cannot be read was changed: %v", err)
			}
			return
		}
		renewed := one(t, dir, "wal/*")
		if err := d.Forget(t.Context(), never); err != nil {
			t.Errorf("its own log cannot be read: %v", err)
		}
		if one(t, dir, "wal/*") == renewed {
			t.Error("a new log has an old one's name")
		}
	})
}
