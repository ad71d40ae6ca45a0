package keystore_test

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/keystore"
)

const secret = "s3cret wörd"

// run runs openssl or keytool, which make the key stores that there are.
func run(t testing.TB, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8")
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", program, args, err, complaints.String())
	}
	if program == "keytool" {
		return string(out)
	}
	return string(out) + complaints.String() // openssl lists schemes there
}

func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skip(program + " is not here")
	}
}

// store is a key store that another program made.
type store struct {
	doc      []byte
	password string
	list     func(t *testing.T, doc []byte) string // what that program says is in a store
	keys     int
	all      int // entries
}

// openssls makes stores with the certificates' and the key's scheme as options say.
func openssls(t testing.TB, options ...string) store {
	t.Helper()
	need(t, "openssl")
	dir := t.TempDir()
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	leaf := ca.Leaf(t, "leaf", cryptotest.RSA(t, 0))
	for name, text := range map[string]string{"crt": leaf.PEM(), "key": leaf.KeyPEM(), "ca": ca.PEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "openssl", append([]string{"pkcs12", "-export", "-in", "crt", "-inkey", "key", "-certfile", "ca", "-name", "the leaf", "-out", "p12", "-passout", "pass:" + secret}, options...)...)
	doc, err := os.ReadFile(filepath.Join(dir, "p12"))
	if err != nil {
		t.Fatal(err)
	}
	return store{doc, secret, func(t *testing.T, doc []byte) string {
		return opensslList(t, doc, secret)
	}, 1, 3}
}

func opensslList(t *testing.T, doc []byte, password string) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p12"), doc, 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, dir, "openssl", "pkcs12", "-in", "p12", "-legacy", "-info", "-nodes", "-passin", "pass:"+password)
}

// javas is a store that keytool made, with a key and a trusted certificate: java.jks and java.p12 with Java 17, java8.p12 with
// -J-Dkeystore.pkcs12.legacy. What keytool says is in it stands beside it.
func javas(t testing.TB, name string) store {
	t.Helper()
	read := func(name string) []byte {
		content, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	made := store{doc: read(name), password: "changeme", keys: 1, all: 3}
	made.list = func(t *testing.T, doc []byte) string {
		if _, err := exec.LookPath("keytool"); err != nil || bytes.Equal(doc, made.doc) {
			return string(read(name + ".list"))
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "ks"), doc, 0o600); err != nil {
			t.Fatal(err)
		}
		return run(t, dir, "keytool", "-list", "-rfc", "-keystore", "ks", "-storepass", made.password)
	}
	return made
}

// stores are made by other programs, in the schemes that they had over the years.
func stores(t testing.TB) map[string]func(t testing.TB) store {
	return map[string]func(t testing.TB) store{
		"OpenSSL 3": func(t testing.TB) store { return openssls(t) },
		"OpenSSL 1": func(t testing.TB) store { return openssls(t, "-legacy") },
		"AES-128, SHA-512": func(t testing.TB) store {
			return openssls(t, "-keypbe", "AES-128-CBC", "-certpbe", "AES-192-CBC", "-macalg", "SHA512")
		},
		"RC2-128 and 2 keys": func(t testing.TB) store {
			return openssls(t, "-legacy", "-keypbe", "PBE-SHA1-2DES", "-certpbe", "PBE-SHA1-RC2-128")
		},
		"keys in plain":      func(t testing.TB) store { return openssls(t, "-keypbe", "NONE", "-certpbe", "NONE") },
		"no integrity check": func(t testing.TB) store { return openssls(t, "-nomac") },
		"Java, PKCS #12":     func(t testing.TB) store { return javas(t, "java.p12") },
		"Java 8, PKCS #12":   func(t testing.TB) store { return javas(t, "java8.p12") },
		"Java, JKS":          func(t testing.TB) store { return javas(t, "java.jks") },
	}
}

func open(t *testing.T, doc []byte, password string) *keystore.Store {
	t.Helper()
	s, err := keystore.Open(doc, [][]byte{{}, []byte("wrong"), []byte(password)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStoresOfOthers(t *testing.T) {
	for name, make := range stores(t) {
		t.Run(name, func(t *testing.T) {
			made := make(t)
			s := open(t, made.doc, made.password)
			keys, replacements := 0, map[int][]byte{}
			renewed := cryptotest.Authority(t, "renewed", cryptotest.EC(t))
			for i, e := range s.Entries {
				if e.Err != nil {
					t.Fatalf("%s: %v", e.Alias, e.Err)
				}
				if !e.Private {
					if _, err := x509.ParseCertificate(e.DER); err != nil {
						t.Error(err)
					}
					continue
				}
				keys++
				if _, err := x509.ParsePKCS8PrivateKey(e.DER); err != nil {
					t.Error(err)
				}
				der, err := x509.MarshalPKCS8PrivateKey(renewed.Key)
				if err != nil {
					t.Fatal(err)
				}
				replacements[i] = der
			}
			if keys != made.keys || len(s.Entries) != made.all {
				t.Errorf("got %d keys of %d entries, want %d of %d", keys, len(s.Entries), made.keys, made.all)
			}
			leaf := slices.IndexFunc(s.Entries, func(e keystore.Entry) bool { return !e.Private })
			replacements[leaf] = renewed.Certificate.Raw
			before := made.list(t, made.doc)
			changed, err := s.Replace(replacements)
			if err != nil {
				t.Fatal(err)
			}
			again := open(t, changed, made.password)
			for i, e := range s.Entries {
				if want, ok := replacements[i]; ok {
					e.DER = want
				}
				if diff := cmp.Diff(e, again.Entries[i]); diff != "" {
					t.Errorf("entry %d:\n%s", i, diff)
				}
			}
			// The program that made it reads it, and sees everything else as it was.
			if diff := cmp.Diff(skeleton(before), skeleton(made.list(t, changed))); diff != "" {
				t.Errorf("another program sees other attributes or schemes:\n%s", diff)
			}
		})
	}
}

// skeleton is a listing without what is encoded, what is said of the certificate, and the day, which keytool makes up.
func skeleton(listing string) (kept []string) {
	inside := false
	for line := range strings.Lines(listing) {
		switch {
		case strings.HasPrefix(line, "-----BEGIN"):
			inside = true
		case strings.HasPrefix(line, "-----END"):
			inside = false
		case !inside && !strings.HasPrefix(line, "subject") && !strings.HasPrefix(line, "issuer") && !strings.HasPrefix(line, "Creation date"):
			kept = append(kept, line)
		}
	}
	return kept
}

// A renewed key is the pair of its renewed certificate to the program that uses the store.
func TestKeyIsUsable(t *testing.T) {
	made := openssls(t)
	s := open(t, made.doc, made.password)
	renewed := cryptotest.Authority(t, "renewed", cryptotest.EC(t))
	der, err := x509.MarshalPKCS8PrivateKey(renewed.Key)
	if err != nil {
		t.Fatal(err)
	}
	replacements := map[int][]byte{}
	for i, e := range s.Entries {
		switch {
		case e.Private:
			replacements[i] = der
		case e.Alias == "the leaf":
			replacements[i] = renewed.Certificate.Raw
		}
	}
	changed, err := s.Replace(replacements)
	if err != nil {
		t.Fatal(err)
	}
	listing := opensslList(t, changed, made.password)
	if !strings.Contains(listing, strings.TrimSpace(cryptotest.KeyPEM8(renewed.Key))) || !strings.Contains(listing, strings.TrimSpace(renewed.PEM())) {
		t.Errorf("openssl reads\n%s", listing)
	}
}

// Java decrypts a renewed key: it takes it into a store of another type, from which openssl reads it.
func TestKeyIsUsableInJava(t *testing.T) {
	need(t, "keytool")
	made := javas(t, "java.jks")
	s := open(t, made.doc, made.password)
	renewed := cryptotest.EC(t)
	der, err := x509.MarshalPKCS8PrivateKey(renewed)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := s.Replace(map[int][]byte{slices.IndexFunc(s.Entries, func(e keystore.Entry) bool { return e.Private }): der})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jks"), changed, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "keytool", "-importkeystore", "-srckeystore", "jks", "-srcstorepass", made.password, "-srcalias", "server", "-destkeystore", "p12", "-deststoretype", "PKCS12", "-deststorepass", made.password)
	doc, err := os.ReadFile(filepath.Join(dir, "p12"))
	if err != nil {
		t.Fatal(err)
	}
	if listing := opensslList(t, doc, made.password); !strings.Contains(listing, strings.TrimSpace(cryptotest.KeyPEM8(renewed))) {
		t.Errorf("openssl reads\n%s", listing)
	}
}

func TestNoPassword(t *testing.T) {
	for name, make := range stores(t) {
		if name == "keys in plain" {
			continue // has only an integrity check, as TestDamaged says
		}
		t.Run(name, func(t *testing.T) {
			if s, err := keystore.Open(make(t).doc, [][]byte{[]byte("wrong"), {}}); !errors.Is(err, keystore.ErrPassword) && !locked(s) {
				t.Errorf("got store %v, error %v", s, err)
			}
		})
	}
}

// locked tells whether a store without a check of its own shows no key.
func locked(s *keystore.Store) bool {
	return s != nil && !slices.ContainsFunc(s.Entries, func(e keystore.Entry) bool { return e.Private && e.Err == nil })
}

func TestDamaged(t *testing.T) {
	p12, jks := openssls(t), javas(t, "java.jks")
	for name, doc := range map[string][]byte{
		"nothing": nil, "a sequence": {0x30, 0x00}, "JKS without an end": jks.doc[:100], "PKCS #12 without an end": p12.doc[:len(p12.doc)-1],
		"PKCS #12 with another content": bytes.Replace(p12.doc, []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x06}, []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x05}, 1),
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := keystore.Open(doc, [][]byte{[]byte(secret), []byte("changeme")}); err == nil {
				t.Errorf("got entries %v", s.Entries)
			}
		})
	}
}

// A store that asks for more work than anyone has time for is refused, not worked on.
func TestTooMuchWork(t *testing.T) {
	var store struct {
		Version int
		Content asn1.RawValue
		Check   struct {
			Digest     asn1.RawValue
			Salt       []byte
			Iterations int
		}
	}
	if _, err := asn1.Unmarshal(openssls(t).doc, &store); err != nil {
		t.Fatal(err)
	}
	for _, iterations := range []int{-1, 0, 1 << 30} {
		store.Check.Iterations = iterations
		doc, err := asn1.Marshal(store)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keystore.Open(doc, [][]byte{[]byte(secret)}); !errors.Is(err, keystore.ErrWork) {
			t.Errorf("%d iterations: got error %v, want %v", iterations, err, keystore.ErrWork)
		}
	}
}

// Whatever a document is: opening it ends, and what opens can be written so that it opens with the same entries.
func FuzzOpen(f *testing.F) {
	// One iteration: the time is for finding damage, not for deriving keys.
	f.Add(openssls(f, "-iter", "1").doc)
	f.Add(openssls(f, "-iter", "1", "-legacy", "-nomac").doc)
	f.Add(openssls(f, "-keypbe", "NONE", "-certpbe", "NONE", "-nomac").doc)
	f.Add(javas(f, "java.jks").doc)
	passwords := [][]byte{[]byte(secret), []byte("changeme"), {}}
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := keystore.Open(doc, passwords)
		if err != nil {
			return
		}
		same := map[int][]byte{}
		for i, e := range s.Entries {
			if e.Err == nil {
				same[i] = e.DER
			}
		}
		changed, err := s.Replace(same)
		if err != nil {
			t.Fatal(err)
		}
		again, err := keystore.Open(changed, passwords)
		if err != nil || len(again.Entries) != len(s.Entries) {
			t.Fatalf("cannot open again: %v", err)
		}
		for i, e := range s.Entries {
			if e.Alias != again.Entries[i].Alias || !bytes.Equal(e.DER, again.Entries[i].DER) {
				t.Fatalf("entry %d became another", i)
			}
		}
	})
}
