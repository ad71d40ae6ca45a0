package commit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

func never(string) error { return nil }

func open(t *testing.T, dir string) *commit.Journal {
	t.Helper()
	j, err := commit.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() }) // closed already where the test did
	return j
}

func TestLife(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j := open(t, dir)
	if record, err := j.Prepared(); record != nil || err != nil {
		t.Fatalf("got %v, %v from an empty journal", record, err)
	}
	changes := []site.Change{
		{Ref: site.Ref{Store: site.File, Name: "/etc/a"}, Before: site.HashOf([]byte("old")), After: []byte{0, 255, 'x'}},
		{Ref: site.Ref{Store: site.Etcd, Name: "/b"}, Delete: true, Version: 7},
		{Ref: site.Ref{Store: site.File, Name: "/etc/c"}, Create: true, Like: "/etc/a", After: []byte("c")},
	}
	summary := json.RawMessage(`{"keys":{"fresh":1}}`)
	for range 2 {
		if err := j.Write(&commit.Record{Changes: changes, Summary: summary, Old: [][]byte{[]byte("old")}}, never); err != nil {
			t.Fatal(err)
		}
		if record, err := j.Prepared(); record != nil || err != nil {
			t.Fatalf("got %v, %v before the changes were inevitable", record, err)
		}
	}
	if err := j.Prepare(never); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j = open(t, dir) // after a crash
	record, err := j.Prepared()
	if err != nil {
		t.Fatal(err)
	}
	changes[1].Version = 0 // of an etcd that ended
	if diff := cmp.Diff(&commit.Record{Changes: changes, Summary: summary, Old: [][]byte{[]byte("old")}}, record); diff != "" {
		t.Error(diff)
	}
	if done, err := j.Done(); done != nil || err != nil {
		t.Errorf("got %s, %v before the end", done, err)
	}
	if err := j.Finish(record.Summary, never); err != nil {
		t.Fatal(err)
	}
	if done, err := j.Done(); err != nil || string(done) != string(summary) {
		t.Errorf("got %s, %v; want %s", done, err, summary)
	}
	if record, err := j.Prepared(); record != nil || err != nil {
		t.Errorf("got %v, %v: the journal with private keys is still there", record, err)
	}
}

func TestOnlyRootReads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j := open(t, dir)
	if err := errors.Join(j.Write(&commit.Record{}, never), j.Prepare(never)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: got %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// A journal that is cut off anywhere, or is none of this version, says nothing.
func TestDamagedJournalIsNotFollowed(t *testing.T) {
	dir := t.TempDir()
	whole := open(t, dir)
	changes := []site.Change{{Ref: site.Ref{Store: site.File, Name: "/etc/a"}, After: []byte("a")}, {Ref: site.Ref{Store: site.Etcd, Name: "/b"}, Delete: true}}
	if err := errors.Join(whole.Write(&commit.Record{Changes: changes, Summary: json.RawMessage(`{}`)}, never), whole.Prepare(never)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "prepared"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string][]byte{"of another format": []byte(`{"format":1,"changes":[]}`)}
	for length := range text {
		damaged[fmt.Sprint("of ", length, " bytes")] = text[:length]
	}
	for name, content := range damaged {
		dir := filepath.Join(t.TempDir(), "journal")
		j := open(t, dir)
		if err := os.WriteFile(filepath.Join(dir, "prepared"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if record, err := j.Prepared(); err == nil {
			t.Errorf("%s: got %v", name, record)
		}
	}
}

// A crash between the two files of the end leaves no private keys.
func TestDoneRemovesWhatIsLeft(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j := open(t, dir)
	if err := errors.Join(j.Write(&commit.Record{Changes: []site.Change{{After: []byte("secret")}}}, never), j.Prepare(never)); err != nil {
		t.Fatal(err)
	}
	crash := errors.New("power lost")
	err := j.Finish(json.RawMessage(`{}`), func(point string) error {
		if point == "journal.wipe" {
			return crash
		}
		return nil
	})
	if !errors.Is(err, crash) {
		t.Fatalf("got error %v, want a crash", err)
	}
	if done, err := j.Done(); done == nil || err != nil {
		t.Errorf("got %s, %v; want it done", done, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "prepared")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got error %v, want %v", err, os.ErrNotExist)
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j := open(t, dir)
	if _, err := commit.Open(dir); !errors.Is(err, commit.ErrLocked) {
		t.Errorf("got error %v, want %v", err, commit.ErrLocked)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// What was written and does not count is nowhere any more, whether it was discarded or a crash came.
func TestDiscard(t *testing.T) {
	for name, end := range map[string]func(*commit.Journal) error{"discarded": (*commit.Journal).Discard, "crashed": func(*commit.Journal) error { return nil }} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "journal")
			j := open(t, dir)
			if err := errors.Join(j.Write(&commit.Record{Changes: []site.Change{{After: []byte("secret")}}}, never), end(j), j.Close()); err != nil {
				t.Fatal(err)
			}
			j = open(t, dir)
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("got %v, %v; want nothing but the lock", entries, err)
			}
			if record, err := j.Prepared(); record != nil || err != nil {
				t.Errorf("got %v, %v", record, err)
			}
		})
	}
}
