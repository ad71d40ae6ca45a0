package crypto_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// tree is files by path below /etc.
type tree map[string]string

// write makes a directory with the tree's files.
func (w tree) write(t testing.TB) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range w {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// read returns all files of a directory.
func read(t testing.TB, dir string) tree {
	t.Helper()
	found := tree{}
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// configure returns a configuration for the directory as /etc.
func configure(t testing.TB, dir string, rules plan.Rules) crypto.Config {
	t.Helper()
	return crypto.Config{
		Roots:    []files.Root{{Host: dir, Node: "/etc"}},
		Rules:    rules,
		Journal:  filepath.Join(t.TempDir(), "journal"),
		Generate: cryptotest.NewKeys("fresh").Make,
	}
}

// regenerate writes the tree, regenerates it and returns what it became.
func regenerate(t testing.TB, w tree, rules plan.Rules) (tree, *crypto.Summary) {
	t.Helper()
	dir := w.write(t)
	summary, err := crypto.Regenerate(context.Background(), configure(t, dir, rules))
	if err != nil {
		t.Fatal(err)
	}
	return read(t, dir), summary
}

// refused returns the problems with which the tree is refused, and checks that nothing changed.
func refused(t testing.TB, w tree, rules plan.Rules) []plan.Problem {
	t.Helper()
	dir := w.write(t)
	_, err := crypto.Regenerate(context.Background(), configure(t, dir, rules))
	var refusal *crypto.RefusedError
	if !errors.As(err, &refusal) {
		t.Fatalf("got error %v, want a refusal", err)
	}
	for name, content := range read(t, dir) {
		if w[name] != content {
			t.Errorf("%s changed although the plan was refused", name)
		}
	}
	return refusal.Problems
}

// certificates parses all certificates of a text, in order.
func certificates(t testing.TB, text string) []*x509.Certificate {
	t.Helper()
	var found []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, c)
	}
}

// certificate parses the only certificate of a text.
func certificate(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	found := certificates(t, text)
	if len(found) != 1 {
		t.Fatalf("got %d certificates, want 1", len(found))
	}
	return found[0]
}

// verifies checks that the leaf leads to one of the bundle's authorities.
func verifies(t testing.TB, leaf *x509.Certificate, bundle string) {
	t.Helper()
	if err := chain(t, leaf, bundle); err != nil {
		t.Errorf("certificate %s does not verify: %v", leaf.Subject, err)
	}
}

func chain(t testing.TB, leaf *x509.Certificate, bundle string) error {
	t.Helper()
	roots, inner := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range certificates(t, bundle) {
		if c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil {
			roots.AddCert(c)
		} else {
			inner.AddCert(c)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: inner, CurrentTime: leaf.NotBefore.Add(1),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}
