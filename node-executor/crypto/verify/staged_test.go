package verify_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"maps"
	"math/big"
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
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
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
	issuer    = "auth.openshift.io/certificate-issuer"
)

// secret is what the API server stores of a certificate and of when it says that it begins to be valid.
func secret(t *testing.T, certificate, begins string) string {
	t.Helper()
	immutable := true
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{notBefore: begins, issuer: "nobody"}}, Data: map[string][]byte{"tls.crt": []byte(certificate)}, Immutable: &immutable}
	return cryptotest.Stored(t, s)
}

// numbering has a certificate name the authority's by issuer and serial number besides its key's identifier.
func numbering(t *testing.T, authority *x509.Certificate) cryptotest.Option {
	t.Helper()
	value, err := asn1.Marshal(struct {
		ID     []byte          `asn1:"tag:0"`
		Issuer []asn1.RawValue `asn1:"tag:1"`
		Serial *big.Int        `asn1:"tag:2"`
	}{authority.SubjectKeyId, []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: authority.RawIssuer}}, authority.SerialNumber})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 35}, Value: value})
	}
}

// stage regenerates a small cluster, with more files if there are any, up to where it would be carried out.
func stage(t *testing.T, more map[string]string) *staged {
	t.Helper()
	dir := t.TempDir()
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	other := cryptotest.Authority(t, "other", cryptotest.EC(t))
	leaf := ca.Leaf(t, "leaf", cryptotest.EC(t), cryptotest.Names("node1", "10.0.0.1"), cryptotest.Organization("seed"))
	numbered := ca.Leaf(t, "numbered", cryptotest.EC(t), numbering(t, ca.Certificate))
	account := cryptotest.EC(t)
	tree := map[string]string{
		"ca": ca.PEM() + ca.KeyPEM(), "other": other.PEM() + other.KeyPEM(), "leaf": leaf.PEM() + leaf.KeyPEM(),
		"numbered": numbered.PEM() + numbered.KeyPEM(), "chain": leaf.PEM() + ca.PEM(), "bundle": ca.PEM() + other.PEM(),
		"account": cryptotest.KeyPEM(account), "token": cryptotest.Token(t, account, "a"),
		"manifest": "host: node1", "copy of manifest": "host: node1", "node1.conf": "only node1",
		"chrony.conf": "server ntp.seed", "lasting": "nothing to change",
		"encryption": "kind: EncryptionConfiguration\nsecret: " + base64.StdEncoding.EncodeToString([]byte("thirty-two bytes are a key of AES")[:32]),
	}
	maps.Copy(tree, more)
	for name, content := range tree {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := files.New([]files.Root{{Host: dir, Node: "/etc"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &staged{tree: files}
	rules := plan.Rules{Renames: rename.Rules{rename.Hostname("node1", "node2")}, Changes: rule.Rules{rule.Chrony([]byte("server node1"))}}
	objects := cryptotest.Values{secretKey: secret(t, leaf.PEM(), cryptotest.Begin.Format(time.RFC3339))}
	s.found, err = scan.Scan(context.Background(), []site.Source{files, objects}, scan.Options{Rules: scan.Rules{Renames: rules.Renames, Changes: rules.Changes}.Known})
	if err != nil {
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

func (s *staged) key(t *testing.T, name string) pki.KeyID { return s.certificate(t, name).Key.ID }

// problems are what the verification says.
func (s *staged) problems() string {
	var all []string
	for _, p := range verify.Staged(s.plan, s.made, verify.OldSecrets(s.plan), s.found.Sites, s.changes) {
		all = append(all, p.String())
	}
	return strings.Join(all, "\n")
}

// reissue makes a certificate again as it was made, but for a change.
func (s *staged) reissue(t *testing.T, name string, change func(*pki.Reissue)) {
	t.Helper()
	s.reissueFrom(t, name, nil, nil, change)
}

// reissueFrom does so from an old certificate in which a text is another one of the same length.
func (s *staged) reissueFrom(t *testing.T, name string, old, renewed []byte, change func(*pki.Reissue)) {
	t.Helper()
	for id, c := range s.found.Graph.Certificates {
		if c.CommonName != name {
			continue
		}
		now, err := pki.ParseCertificate(s.made.Certificates[id])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(c.DER, old) {
			t.Fatalf("%x is not in %x", old, c.DER)
		}
		from, err := pki.ParseCertificate(bytes.ReplaceAll(c.DER, old, renewed))
		if err != nil {
			t.Fatal(err)
		}
		r := pki.Reissue{
			Signer: s.made.Keys[c.Issuer.ID], PublicKey: s.made.Keys[c.Key.ID].Public(), Serial: now.Serial,
			SubjectKeyID: now.SubjectKeyID, AuthorityKeyID: now.AuthorityKeyID, AuthoritySerial: now.AuthoritySerial,
			NotBefore: now.NotBefore, NotAfter: now.NotAfter, Name: s.plan.Rules().Name,
		}
		change(&r)
		if s.made.Certificates[id], err = from.Reissue(r); err != nil {
			t.Fatal(err)
		}
	}
	s.stage(t)
}

// certificate returns an old certificate.
func (s *staged) certificate(t *testing.T, name string) *graph.Certificate {
	t.Helper()
	for _, c := range s.found.Graph.Certificates {
		if c.CommonName == name {
			return c
		}
	}
	t.Fatalf("no certificate %s", name)
	return nil
}

// replace changes the staged content of a site.
func (s *staged) replace(t *testing.T, name, old, renewed string) {
	t.Helper()
	c := s.change(name)
	if !bytes.Contains(c.After, []byte(old)) {
		t.Fatalf("%q is not in %q", old, c.After)
	}
	c.After = bytes.Replace(c.After, []byte(old), []byte(renewed), 1)
}

// drop forgets the change of a site.
func (s *staged) drop(name string) {
	s.changes = slices.DeleteFunc(s.changes, func(c site.Change) bool { return c.Name == "/etc/"+name })
}

func (s *staged) change(name string) *site.Change {
	for i := range s.changes {
		if s.changes[i].Name == "/etc/"+name || s.changes[i].Name == name {
			return &s.changes[i]
		}
	}
	return nil
}
