// Package golden compares what tests produce with files that people have reviewed. `go test -rewrite` writes what is
// produced now into the files instead; commit that only if you understand the difference.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write what the tests produce now into testdata; commit it only if you understand the difference")

// Compare compares got with the content of a file in testdata.
func Compare(t testing.TB, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// Scripts performs every script of a directory, which are its *.txt, and compares what that says with testdata's file of
// the same name; the two may be the same file, when what is said stands among the script's lines.
func Scripts(t *testing.T, dir string, perform func(t *testing.T, script string) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			Compare(t, filepath.Base(file), perform(t, string(script)))
		})
	}
}
