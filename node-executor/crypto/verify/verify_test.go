package verify_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
)

// staged is a regeneration that is ready to be carried out.
type staged struct {
	tree    *files.Tree
	found   *scan.Result
	plan    *plan.Plan
	made    *plan.Issued
	changes []site.Change
}

const (
	secretKey = "/kubernetes.io/secrets/ns/leaf"
	notBefore = "auth.openshift.io/certificate-not-before"
)

// secret is what the API server stores of a certificate and of when it says that it begins to be valid.
func secret(t *testing.T, certificate, begins string) string {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{notBefore: begins}}, Data: map[string][]byte{"tls.crt": []byte(certificate)}}
	return cryptotest.Stored(t, s)
}

func stage(t *testing.T) *staged {
	t.Helper()
	dir := t.TempDir()
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	other := cryptotest.Authority(t, "other", cryptotest.EC(t))
	leaf := ca.Leaf(t, "leaf", cryptotest.EC(t))
	account := cryptotest.EC(t)
	for name, content := range map[string]string{
		"ca": ca.PEM() + ca.KeyPEM(), "other": other.PEM() + other.KeyPEM(), "leaf": leaf.PEM() + leaf.KeyPEM(),
		"bundle": ca.PEM() + other.PEM(), "account": cryptotest.KeyPEM(account), "token": cryptotest.Token(t, account, "a"),
		"manifest": "host: node1", "copy of manifest": "host: node1",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := files.New([]files.Root{{Host: dir, Node: "/etc"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &staged{tree: tree}
	rules := plan.Rules{Renames: rename.Rules{rename.Hostname("node1", "node2")}}
	objects := cryptotest.Values{secretKey: secret(t, leaf.PEM(), cryptotest.Begin.Format(time.RFC3339))}
	if s.found, err = scan.Scan(context.Background(), []site.Source{tree, objects}, scan.Options{Rules: scan.Rules{Renames: rules.Renames}.Known}); err != nil {
		t.Fatal(err)
	}
	s.plan = plan.Decide(s.found, rules)
	if len(s.plan.Problems) != 0 {
		t.Fatal(s.plan.Problems)
	}
	if s.made, err = s.plan.Issue(context.Background(), pki.Generate); err != nil {
		t.Fatal(err)
	}
	s.stage(t)
	return s
}

func (s *staged) stage(t *testing.T) {
	t.Helper()
	var err error
	if s.changes, err = s.plan.Stage(s.made); err != nil {
		t.Fatal(err)
	}
}

func (s *staged) key(t *testing.T, name string) pki.KeyID {
	t.Helper()
	for _, c := range s.found.Graph.Certificates {
		if c.CommonName == name {
			return c.Key.ID
		}
	}
	t.Fatalf("no certificate %s", name)
	return pki.KeyID{}
}

// reissue makes a certificate again, in a way of the test's own.
func (s *staged) reissue(t *testing.T, name string, change func(*pki.Reissue)) {
	t.Helper()
	for id, c := range s.found.Graph.Certificates {
		if c.CommonName != name {
			continue
		}
		r := pki.Reissue{Signer: s.made.Keys[c.Issuer.ID], PublicKey: s.made.Keys[c.Key.ID].Public()}
		change(&r)
		der, err := c.Reissue(r)
		if err != nil {
			t.Fatal(err)
		}
		s.made.Certificates[id] = der
	}
	s.stage(t)
}

func (s *staged) change(name string) *site.Change {
	for i := range s.changes {
		if s.changes[i].Name == "/etc/"+name || s.changes[i].Name == name {
			return &s.changes[i]
		}
	}
	return nil
}

// One rule of the regeneration is broken at a time, and the verification must notice.
func TestEveryMistakeIsNoticed(t *testing.T) {
	for _, test := range []struct {
		name  string
		wrong func(t *testing.T, s *staged)
		want  string
	}{
		{"nothing is wrong", func(*testing.T, *staged) {}, ""},
		{"a place was forgotten", func(_ *testing.T, s *staged) { s.changes = s.changes[1:] }, "not the successor"},
		{"a piece was lost", func(_ *testing.T, s *staged) { s.change("bundle").After = []byte("empty") }, "held 2 pieces of material and now 0"},
		{"two pieces changed places", func(_ *testing.T, s *staged) {
			c := s.change("bundle")
			half := bytes.Index(c.After[1:], []byte("-----BEGIN")) + 1
			c.After = append(bytes.Clone(c.After[half:]), c.After[:half]...)
		}, "not the successor"},
		{"a key was kept", func(t *testing.T, s *staged) {
			id := s.key(t, "other")
			s.made.Keys[id] = s.found.Graph.Keys[id].Private
			s.reissue(t, "other", func(*pki.Reissue) {})
		}, "not replaced by a new one"},
		{"two keys became one", func(t *testing.T, s *staged) {
			s.made.Keys[s.key(t, "other")] = s.made.Keys[s.key(t, "ca")]
			s.reissue(t, "other", func(*pki.Reissue) {})
		}, "same successor"},
		{"another algorithm", func(t *testing.T, s *staged) {
			s.made.Keys[s.key(t, "other")] = cryptotest.Ed(t)
			s.reissue(t, "other", func(*pki.Reissue) {})
		}, "of ECDSA-256 became Ed25519"},
		{"signed by another", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.Signer = s.made.Keys[s.key(t, "other")] })
		}, "not signed by its issuer's successor"},
		{"signed with the old key", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.Signer = s.found.Graph.Keys[s.key(t, "ca")].Private })
		}, "not signed by its issuer's successor"},
		{"on the old key", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.PublicKey = nil })
		}, "not on its key's successor"},
		{"the old identifier of the issuer", func(t *testing.T, s *staged) { s.reissue(t, "leaf", func(*pki.Reissue) {}) }, "no longer names its issuer's key"},
		{"another length of validity", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) { r.NotBefore, r.NotAfter = cryptotest.Begin, cryptotest.Begin.AddDate(1, 0, 0) })
		}, "another length of time"},
		{"a copy was forgotten", func(_ *testing.T, s *staged) { s.change("manifest").After = []byte("host: node1") }, "was a copy of"},
		{"a copy became another", func(_ *testing.T, s *staged) { s.change("copy of manifest").After = []byte("host: node3") }, "was a copy of"},
		{"an annotation was forgotten", func(t *testing.T, s *staged) {
			s.reissue(t, "leaf", func(r *pki.Reissue) {
				r.NotBefore, r.NotAfter = cryptotest.Begin.AddDate(0, 0, 1), cryptotest.End.AddDate(0, 0, 1)
			})
			c := s.change(secretKey)
			c.After = bytes.Replace(c.After, []byte(cryptotest.Begin.AddDate(0, 0, 1).Format(time.RFC3339)), []byte(cryptotest.Begin.Format(time.RFC3339)), 1)
		}, "is no longer true"},
		{"the token of another", func(t *testing.T, s *staged) {
			for id := range s.made.Tokens {
				s.made.Tokens[id] = []byte(cryptotest.Token(t, cryptotest.EC(t), "a"))
			}
			s.stage(t)
		}, "not signed by its key's successor"},
		{"other claims", func(t *testing.T, s *staged) {
			for id, token := range s.found.Graph.Tokens {
				s.made.Tokens[id] = []byte(cryptotest.Token(t, s.made.Keys[token.Key.ID], "someone else"))
			}
			s.stage(t)
		}, "another payload"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := stage(t)
			test.wrong(t, s)
			var all []string
			for _, p := range verify.Staged(s.plan, s.made, s.found.Sites, s.changes) {
				all = append(all, p.String())
			}
			got := strings.Join(all, "\n")
			if !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got problems\n%s\nwant one that says %q", got, test.want)
			}
		})
	}
}

func TestNoSecrets(t *testing.T) {
	s := stage(t)
	needles := verify.OldSecrets(s.plan)
	after, err := verify.NoSecretsStaged(s.found.Sites, s.changes, needles)
	if err != nil || len(after) != 0 {
		t.Errorf("got problems %v, %v with every change made", after, err)
	}
	before, err := verify.NoSecrets(context.Background(), []site.Source{s.tree}, nil, nil, needles)
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
	problems, err := verify.NoSecrets(context.Background(), []site.Source{&found.Others}, nil, found.Plain, verify.OldSecrets(plan.Decide(found, plan.Rules{})))
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
