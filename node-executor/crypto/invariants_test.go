package crypto_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
)

// comparison is a forest before and after it was regenerated. Its methods check what must hold of every regeneration, by the
// numbers of the specification, with the standard library wherever that can tell. I14, that a crash makes no difference, is that
// they hold after one; that it makes none to a single byte, and that the same randomness has the same outcome (I13), are
// TestKilledAtEveryStep's and TestFixedRandomness's.
type comparison struct {
	t            *testing.T
	r            *rapid.T
	f            *forest
	old, renewed sight
}

func (c comparison) check() {
	if len(c.old.leaves) != len(c.renewed.leaves) {
		c.r.Fatalf("%d pieces of material became %d", len(c.old.leaves), len(c.renewed.leaves))
	}
	for _, invariant := range []struct {
		name  string
		check func()
	}{
		{"I9 what is not material stays as it is", c.bystanders},
		{"I10 metadata of files", c.metadata},
		{"I11 copies are copies", c.mirrors},
		{"I5 bundles list the successors, and others as they were", c.bundles},
		{"I1 and I6 each key has one successor, which signs what it signed", c.relations},
		{"I1 clients that trust a kept key trust what it signs", c.trusted},
		{"I2 no old secret is left", c.secrets},
		{"I3 tokens", c.tokens},
		{"I4 kubeconfigs", c.kubeconfigs},
		{"I7 identifiers of keys lead where they led", c.identifiers},
		{"I8 the text of certificates", c.texts},
		{"I12 annotations", c.annotations},
		{"encryption at rest", c.encryption},
	} {
		c.r.Log(invariant.name) // shown of the forest that fails, the last being the one that does
		invariant.check()
	}
}

// bystanders checks that not a byte changed around material, notes about it apart, and that what has none was not written.
func (c comparison) bystanders() {
	for place, was := range c.old.around {
		is := c.renewed.around[place]
		if key, stored := strings.CutPrefix(place, "etcd:"); stored {
			was, _ = silenced(c.t, key, was)
			is, _ = silenced(c.t, key, is)
		}
		if was != is {
			c.r.Fatalf("something around the material of %s changed:\n%q\n%q", place, was, is)
		}
	}
	if len(c.old.around) != len(c.renewed.around) {
		c.r.Fatalf("%d files and values became %d", len(c.old.around), len(c.renewed.around))
	}
	for name, value := range c.old.values {
		if _, sealed := c.old.envelopes[name]; !sealed && c.renewed.values[name] == value && c.renewed.revisions[name] != c.old.revisions[name] {
			c.r.Fatalf("%s was written though nothing in it changed", name)
		}
	}
	if c.renewed.values[bystanderKey] != c.old.values[bystanderKey] || c.renewed.tree["nothing"] != c.old.tree["nothing"] {
		c.r.Fatal("something without material changed")
	}
}

// metadata checks that what holds nothing was not touched, and that what was replaced has its owner and mode.
func (c comparison) metadata() {
	for name, content := range c.old.tree {
		was, is := c.old.stats[name], c.renewed.stats[name]
		if c.renewed.tree[name] == content && (was.Ino != is.Ino || was.Mtim != is.Mtim) {
			c.r.Fatalf("%s was written though nothing in it changed", name)
		}
		if was.Mode != is.Mode || was.Uid != is.Uid || was.Gid != is.Gid || was.Nlink != is.Nlink {
			c.r.Fatalf("%s has another owner, mode or number of links", name)
		}
	}
}

// copied are the texts that are copied as a whole from place to place: files, and entries of Secrets and ConfigMaps.
func copied(t *testing.T, s sight) map[string]string {
	found := map[string]string{}
	for name, content := range s.tree {
		found[name] = content
	}
	for key, value := range s.objects() {
		switch {
		case strings.HasPrefix(key, "/kubernetes.io/secrets/"):
			for entry, content := range cryptotest.Decoded(t, value, &corev1.Secret{}).Data {
				found[key+" "+entry] = string(content)
			}
		case strings.HasPrefix(key, "/kubernetes.io/configmaps/"):
			for entry, content := range cryptotest.Decoded(t, value, &corev1.ConfigMap{}).Data {
				found[key+" "+entry] = content
			}
		}
	}
	return found
}

func (c comparison) mirrors() {
	was, is := copied(c.t, c.old), copied(c.t, c.renewed)
	first := map[string]string{}
	for place, content := range was {
		other, seen := first[content]
		if !seen {
			first[content] = place
		} else if is[place] != is[other] {
			c.r.Fatalf("%s was a copy of %s", place, other)
		}
	}
}

// bundles checks what became of each certificate: others' stay, one has the rule's in its place, all else is another one of
// the same kind at the same place.
func (c comparison) bundles() {
	for i, l := range c.old.leaves {
		renewed := c.renewed.leaves[i]
		if l.Kind != renewed.Kind {
			c.r.Fatalf("a %s became a %s", l.Kind, renewed.Kind)
		}
		if l.Kind != crawl.Certificate {
			continue
		}
		rule, replaced := c.f.replaced[string(l.Bytes)]
		switch {
		case c.f.external[string(l.Bytes)] && !bytes.Equal(l.Bytes, renewed.Bytes):
			c.r.Fatalf("a certificate of others at %s changed", l.Path)
		case replaced && string(renewed.Bytes) != rule:
			c.r.Fatalf("the certificate at %s is not the one that the rule keeps", l.Path)
		case !c.f.external[string(l.Bytes)] && bytes.Equal(l.Bytes, renewed.Bytes):
			c.r.Fatalf("the certificate at %s is the seed's", l.Path)
		}
	}
}

// trusted checks that a client that has the old cluster's authority verifies what the seed's authority of that name signed.
func (c comparison) trusted() {
	for i, l := range c.old.leaves {
		if l.certificate == nil {
			continue
		}
		was, is := l.certificate, c.renewed.leaves[i].certificate
		for id, authority := range c.f.given {
			if was.Issuer.CommonName != "trusted" || was.Issuer.String() == was.Subject.String() {
				continue
			}
			if err := is.CheckSignatureFrom(authority.Certificate); err != nil {
				c.r.Fatalf("who trusts the kept key %s does not trust %s: %v", id, is.Subject, err)
			}
			if c.f.identified[id] && was.AuthorityKeyId != nil && !bytes.Equal(is.AuthorityKeyId, authority.Certificate.SubjectKeyId) {
				c.r.Fatalf("%s names its issuer's key %x, clients know it as %x", is.Subject, is.AuthorityKeyId, authority.Certificate.SubjectKeyId)
			}
		}
	}
}

// secrets searches every byte and layer for the old private keys and encryption keys.
func (c comparison) secrets() {
	needles := verify.NewNeedles(c.old.privates(c.r))
	for place, content := range c.renewed.places() {
		_, err := crawl.Rewrite([]byte(content), crawl.Handler{Layer: func(path string, layer []byte) {
			if owner, found := needles.Find(layer); found {
				c.r.Fatalf("%s%s holds the old private key %s", place, path, owner)
			}
			for _, key := range c.old.encryptionKeys() {
				if bytes.Contains(layer, key) || bytes.Contains(layer, []byte(base64.StdEncoding.EncodeToString(key))) {
					c.r.Fatalf("%s%s holds an old encryption key", place, path)
				}
			}
		}})
		if err != nil {
			c.r.Fatal(err)
		}
	}
}

// tokens checks that claims stay, and that a token names its signer's key by that key's id.
func (c comparison) tokens() {
	wasKeys, isKeys := c.keys()
	for i, l := range c.old.leaves {
		if l.token == nil {
			continue
		}
		renewed := c.renewed.leaves[i]
		if !bytes.Equal(bytes.Split(l.Bytes, []byte("."))[1], bytes.Split(renewed.Bytes, []byte("."))[1]) {
			c.r.Fatalf("the claims of the token at %s changed", l.Path)
		}
		for k, key := range wasKeys {
			if !l.token.SignedBy(key) {
				continue
			}
			id, err := pki.IDOf(isKeys[k])
			if err != nil || renewed.token.KeyID != token.KeyIDOf(id) {
				c.r.Fatalf("the token at %s names key %s, and %s signed it: %v", l.Path, renewed.token.KeyID, id, err)
			}
		}
	}
}

// kubeconfigs checks that each client's key fits its certificate, which the authority beside it signed.
func (c comparison) kubeconfigs() {
	is := copied(c.t, c.renewed)
	for place, text := range copied(c.t, c.old) {
		if kubeconfigIn(text) == nil {
			continue
		}
		config := kubeconfigIn(is[place])
		if config == nil {
			c.r.Fatalf("%s is no kubeconfig any more", place)
		}
		authority := certificate(c.t, string(config.Clusters["x"].CertificateAuthorityData))
		client, err := tls.X509KeyPair(config.AuthInfos["u"].ClientCertificateData, config.AuthInfos["u"].ClientKeyData)
		if err != nil {
			c.r.Fatalf("client of %s: %v", place, err)
		}
		leaf, err := x509.ParseCertificate(client.Certificate[0])
		if err != nil {
			c.r.Fatal(err)
		}
		if err := authority.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
			c.r.Fatalf("authority in %s: %v", place, err)
		}
	}
}

// annotations checks that what was true of something is true of the same, and that what was not is as it was.
func (c comparison) annotations() {
	was, is, spokeTruth := truths(c.t, c.old.values), truths(c.t, c.renewed.values), map[note]bool{}
	for n := range was {
		spokeTruth[note{key: n.key, name: n.name, pods: n.pods}] = true
		if !is[n] {
			c.r.Fatalf("%s of %s was true of %s", n.name, n.key, n.about)
		}
	}
	for key, value := range c.old.objects() {
		_, before := annotated(c.t, key, value)
		_, after := annotated(c.t, key, c.renewed.values[key])
		for i, meta := range before {
			for name, text := range meta.Annotations {
				if isNote(name) && !spokeTruth[note{key: key, name: name, pods: i > 0}] && after[i].Annotations[name] != text {
					c.r.Fatalf("%s of %s was true of nothing and changed", name, key)
				}
			}
		}
	}
}

// encryption checks that what was encrypted is, in the same way, and with a key that is none of the old ones. That it opens
// with the configuration's is how it was read.
func (c comparison) encryption() {
	for name, was := range c.old.envelopes {
		is, encrypted := c.renewed.envelopes[name]
		if !encrypted || is.Mode != was.Mode || is.Name != was.Name || is.Key == was.Key {
			c.r.Fatalf("%s was encrypted as %+v, and now as %+v", name, was, is)
		}
	}
	if len(c.old.envelopes) != len(c.renewed.envelopes) {
		c.r.Fatalf("%d encrypted values became %d", len(c.old.envelopes), len(c.renewed.envelopes))
	}
}
