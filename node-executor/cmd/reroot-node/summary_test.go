package main_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
)

// The summary is what the engine's own type says.
func TestCryptoSummaryAsJSON(t *testing.T) {
	s := newSeed(t)
	s.config["summary"] = s.path("summary.json")
	if got := s.run("regenerate", "-o", "json", "--journal", s.path("another")); got.code != 0 {
		t.Fatalf("exit code %d:\n%s", got.code, got.stderr)
	}
	var summary crypto.Summary
	if err := json.Unmarshal([]byte(s.read("summary.json")), &summary); err != nil {
		t.Fatal(err)
	}
	if summary.Keys["fresh"] != 2 || len(summary.Replaced) != 2 {
		t.Errorf("got %+v", summary)
	}
}

// Recert writes its summary after a failure, too, and the lifecycle-agent collects it.
func TestSummaryOfAFailure(t *testing.T) {
	s := newSeed(t)
	secret := cryptotest.Block("ENCRYPTED PRIVATE KEY", []byte(strings.Repeat("private", 20)))
	for i := range 7 {
		s.write("node/etc/kubernetes/locked-"+string(rune('a'+i)), secret)
	}
	got := s.run("regenerate")
	if got.code != 6 || strings.Count(got.stderr, "\n  file:") != 7 || !strings.Contains(got.stderr, "because: 7 problems found in the plan\n") ||
		!strings.Contains(got.stderr, "no key, certificate, token or name was changed") {
		t.Errorf("exit code %d:\n%s", got.code, got.stderr)
	}
	summary := s.read("summary.yaml")
	if !strings.Contains(summary, "error: ") || strings.Count(summary, "where: file:") != 7 {
		t.Errorf("got summary:\n%s", summary)
	}
	s.noSecrets("the summary", summary, secret)
	if left, err := os.ReadDir(s.path("journal")); err != nil || len(left) != 1 {
		t.Errorf("got journal %v, %v", left, err)
	}
	// What was refused is done by the same command once it is mended.
	for i := range 7 {
		if err := os.Remove(s.path("node/etc/kubernetes/locked-" + string(rune('a'+i)))); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.run("regenerate"); got.code != 0 || strings.Contains(s.read("summary.yaml"), "error: ") {
		t.Errorf("exit code %d:\n%s", got.code, got.stderr)
	}
}
