package files_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// manyFiles makes 4,000 small files, as many as a node has below its roots, in directories like those of static pods.
func manyFiles(b *testing.B) (dir string, changes []site.Change) {
	b.Helper()
	const pods, secrets, values = 10, 50, 8
	dir = b.TempDir()
	for n := range pods * secrets * values {
		name := fmt.Sprintf("kubernetes/static-pod-resources/pod-%d/secrets/secret-%d/value-%d", n/values/secrets, n/values%secrets, n%values)
		content := bytes.Repeat([]byte{byte('a' + n%26)}, 1<<10+n)
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			b.Fatal(err)
		}
		changes = append(changes, site.Change{Ref: site.Ref{Store: site.File, Name: "/etc/" + name}, After: content})
	}
	return dir, changes
}

func BenchmarkWalk(b *testing.B) {
	dir, changes := manyFiles(b)
	tree, err := files.New([]files.Root{{Host: dir, Node: "/etc"}}, []string{"/etc/ssh", "/etc/pki"})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		seen := 0
		if err := tree.Walk(b.Context(), func(site.Site) error { seen++; return nil }); err != nil || seen != len(changes) {
			b.Fatalf("saw %d files of %d, %v", seen, len(changes), err)
		}
	}
}

func BenchmarkConfirm(b *testing.B) {
	dir, changes := manyFiles(b)
	tree, err := files.New([]files.Root{{Host: dir, Node: "/etc"}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := tree.Confirm(b.Context(), changes); err != nil {
			b.Fatal(err)
		}
	}
}
