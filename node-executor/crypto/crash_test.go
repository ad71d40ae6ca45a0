package crypto_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
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
