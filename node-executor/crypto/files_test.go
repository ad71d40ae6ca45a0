package crypto_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// Two names of a key stay one file; a name that nobody looks at would keep the seed's key, and is refused before anything is
// written.
func TestHardLinks(t *testing.T) {
	s := newSmall(t)
	dir := s.tree.write(t)
	if err := os.Link(filepath.Join(dir, "pki/tls.key"), filepath.Join(dir, "also.key")); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "key")
	if err := os.Link(filepath.Join(dir, "pki/tls.key"), outside); err != nil {
		t.Fatal(err)
	}
	before := read(t, dir)
	config := configure(t, dir, plan.Rules{})
	var refusal *crypto.RefusedError
	_, err := crypto.Regenerate(t.Context(), config)
	if !errors.As(err, &refusal) || len(refusal.Problems) != 2 || !strings.Contains(refusal.Problems[0].What, "1 more names") {
		t.Fatalf("got error %v, want a refusal", err)
	}
	if after := read(t, dir); len(after) != len(before) || after["pki/tls.key"] != before["pki/tls.key"] {
		t.Error("something changed although it was refused")
	}
	if err := os.Remove(outside); err != nil {
		t.Fatal(err)
	}
	if _, err := crypto.Regenerate(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	one, err := os.Stat(filepath.Join(dir, "pki/tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.Stat(filepath.Join(dir, "also.key"))
	after := read(t, dir)
	if err != nil || !os.SameFile(one, other) || after["pki/tls.key"] == before["pki/tls.key"] {
		t.Errorf("two files of one (%v), or the old key", err)
	}
}
