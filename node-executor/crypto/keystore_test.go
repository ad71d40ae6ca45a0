package crypto_test

import (
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/keystore"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// withKeyStore adds the small cluster's leaf and its authority in a PKCS #12.
func withKeyStore(t *testing.T, s *small, name, password string) {
	t.Helper()
	dir := tree{"crt": s.leaf.PEM(), "key": s.leaf.KeyPEM(), "ca": s.ca.PEM()}.write(t)
	cmd := exec.CommandContext(t.Context(), "openssl", "pkcs12", "-export", "-in", "crt", "-inkey", "key", "-certfile", "ca", "-name", "leaf", "-out", "p12", "-passout", "pass:"+password)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v: %s", err, out)
	}
	content, err := os.ReadFile(filepath.Join(dir, "p12"))
	if err != nil {
		t.Fatal(err)
	}
	s.tree[name] = string(content)
}

// sameAsFiles checks that a store holds the key and the certificates that the files hold.
func sameAsFiles(t *testing.T, store, password string, files tree) {
	t.Helper()
	opened, err := keystore.Open([]byte(store), [][]byte{[]byte(password)})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, e := range opened.Entries {
		found[string(e.DER)] = true
	}
	key, err := x509.ParsePKCS1PrivateKey(body(t, files["pki/tls.key"]))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if !found[string(der)] || !found[string(body(t, files["pki/tls.crt"]))] || !found[string(body(t, files["pki/ca.crt"]))] || len(found) != 3 {
		t.Errorf("the key store does not hold what the files hold")
	}
}

func TestKeyStores(t *testing.T) {
	for _, test := range []struct {
		name, password string
		beside         tree
	}{
		{"password in a file beside it", "over there", tree{"app/other": "not this\n", "app/keystore.password": "over there\n"}},
		{"password that comes before it", "aaa", tree{"app/aaa": "aaa"}},
		{"well-known password", "changeit", nil},
		{"empty password", "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSmall(t)
			withKeyStore(t, &s, "app/keystore.p12", test.password)
			for name, content := range test.beside {
				s.tree[name] = content
			}
			after, _ := regenerate(t, s.tree, plan.Rules{})
			s.consistent(t, after)
			sameAsFiles(t, after["app/keystore.p12"], test.password, after)
		})
	}
	t.Run("password nowhere", func(t *testing.T) {
		s := newSmall(t)
		withKeyStore(t, &s, "app/keystore.p12", "nobody knows")
		s.tree["elsewhere/keystore.password"] = "nobody knows" // another directory
		problems := refused(t, s.tree, plan.Rules{})
		if len(problems) != 1 || problems[0].Where != "file:/etc/app/keystore.p12" || !strings.Contains(problems[0].What, "key store") {
			t.Errorf("got problems %v, want one about the key store", problems)
		}
		after, summary := regenerate(t, s.tree, plan.Rules{Unread: plan.Keep})
		s.consistent(t, after)
		if after["app/keystore.p12"] != s.tree["app/keystore.p12"] || len(summary.Notes) != 1 || !strings.Contains(summary.Notes[0].What, "kept by policy") {
			t.Errorf("got notes %v, want the key store reported and kept", summary.Notes)
		}
	})
	t.Run("copies stay copies", func(t *testing.T) {
		s := newSmall(t)
		withKeyStore(t, &s, "app/keystore.p12", "changeit")
		s.tree["other/keystore.p12"] = s.tree["app/keystore.p12"]
		if after, _ := regenerate(t, s.tree, plan.Rules{}); after["other/keystore.p12"] != after["app/keystore.p12"] {
			t.Error("two copies of a key store differ")
		}
	})
	t.Run("key only in the store", func(t *testing.T) {
		s := newSmall(t)
		withKeyStore(t, &s, "app/keystore.p12", "changeit")
		delete(s.tree, "pki/tls.key")
		before := s.tree["app/keystore.p12"]
		after, summary := regenerate(t, s.tree, plan.Rules{})
		if after["app/keystore.p12"] == before || summary.Keys[plan.Fresh] != 3 {
			t.Errorf("got keys %v, want three fresh ones", summary.Keys)
		}
	})
}
