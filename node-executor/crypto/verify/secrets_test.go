package verify_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
)

func TestNoSecrets(t *testing.T) {
	s := stage(t, nil)
	needles := verify.OldSecrets(s.plan)
	if after := verify.Staged(s.plan, s.made, needles, s.found.Sites, s.changes); len(after) != 0 {
		t.Errorf("got problems %v with every change made", after)
	}
	before, err := verify.NoSecrets(context.Background(), s.tree, nil, needles)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, p := range before {
		found[strings.Split(p.Where, "/pem")[0]] = true
	}
	for _, name := range []string{"ca", "other", "leaf", "account"} {
		if !found["file:/etc/"+name] {
			t.Errorf("the old key in %s was not found", name)
		}
	}
}

// A key in a form that nobody thought of is found in files that hold nothing else, compressed ones too.
func TestNoSecretsWhereNothingChanges(t *testing.T) {
	dir, key := t.TempDir(), cryptotest.EC(t)
	hidden := hex.EncodeToString(pki.Secrets(key)[0])
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write([]byte("so to say " + hidden)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"key": cryptotest.KeyPEM(key), "plain": "so to say " + hidden, "zipped": zipped.String(), "nothing": "so to say"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := files.New([]files.Root{{Host: dir, Node: "/etc"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	found, err := scan.Scan(context.Background(), []site.Source{tree}, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	problems, err := verify.NoSecrets(context.Background(), &found.Others, found.Plain, verify.OldSecrets(plan.Decide(found, plan.Rules{})))
	if err != nil {
		t.Fatal(err)
	}
	var where []string
	for _, p := range problems {
		where = append(where, p.Where)
	}
	if want := []string{"file:/etc/plain", "file:/etc/zipped/gzip"}; !slices.Equal(where, want) {
		t.Errorf("found old keys in %v, want %v", where, want)
	}
}

func FuzzFind(f *testing.F) {
	key := cryptotest.EC(f)
	id, err := pki.IDOf(key.Public())
	if err != nil {
		f.Fatal(err)
	}
	needles := verify.NewNeedles(map[pki.KeyID]crypto.Signer{id: key})
	secret := pki.Secrets(key)[0]
	f.Add([]byte("before"), []byte("after"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		if owner, found := needles.Find(bytes.Join([][]byte{before, secret, after}, nil)); !found || owner != id {
			t.Error("not found")
		}
	})
}

// A key store is opened with the words from around it, also to search it.
func TestNoSecretsInKeyStores(t *testing.T) {
	ca := cryptotest.Authority(t, "in the store", cryptotest.EC(t))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pem"), []byte(ca.PEM()+ca.KeyPEM()), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "openssl", "pkcs12", "-export", "-in", "pem", "-out", "p12", "-passout", "pass:over there")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	store, err := os.ReadFile(filepath.Join(dir, "p12"))
	if err != nil {
		t.Fatal(err)
	}
	s := stage(t, map[string]string{"keystore.p12": string(store), "keystore.password": "over there\n"})
	if got := s.problems(); got != "" {
		t.Errorf("got problems\n%s\nwith every change made", got)
	}
	s.change("keystore.p12").After = store
	if got := s.problems(); !strings.Contains(got, "keystore.p12/keystore()@1: still holds the private key") {
		t.Errorf("got problems\n%s\nwant one about the old key in the store", got)
	}
}
