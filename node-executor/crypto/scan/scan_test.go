package scan_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"os"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// sites are a store in memory, read in the order of their names.
type sites map[site.Ref][]byte

func (s sites) Walk(_ context.Context, visit func(site.Site) error) error {
	var refs []site.Ref
	for ref := range s {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b site.Ref) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
	for _, ref := range refs {
		if err := visit(site.Site{Ref: ref, Content: s[ref]}); err != nil {
			return err
		}
	}
	return nil
}

func file(name string) site.Ref   { return site.Ref{Store: site.File, Name: name} }
func object(name string) site.Ref { return site.Ref{Store: site.Etcd, Name: name} }

func secret(t *testing.T, data map[string][]byte) []byte {
	t.Helper()
	return []byte(cryptotest.Stored(t, &corev1.Secret{Data: data}))
}

func TestPasswordsOfKeyStores(t *testing.T) {
	store, err := os.ReadFile("../keystore/testdata/java.jks")
	if err != nil {
		t.Fatal(err)
	}
	const password = "changeme"
	for _, test := range []struct {
		name  string
		sites sites
		open  bool
	}{
		{"in the same secret", sites{object("/kubernetes.io/secrets/a/x"): secret(t, map[string][]byte{"keystore.jks": store, "password": []byte(password)})}, true},
		{"in another secret of the namespace", sites{
			object("/kubernetes.io/secrets/a/x"): secret(t, map[string][]byte{"keystore.jks": store}),
			object("/kubernetes.io/secrets/a/y"): secret(t, map[string][]byte{"words": []byte(password + "\n")}),
		}, true},
		{"in another namespace", sites{
			object("/kubernetes.io/secrets/a/x"): secret(t, map[string][]byte{"keystore.jks": store}),
			object("/kubernetes.io/secrets/b/y"): secret(t, map[string][]byte{"password": []byte(password)}),
		}, false},
		{"in a file of the directory", sites{file("/etc/a/x"): store, file("/etc/a/z"): []byte(password)}, true},
		{"in a file elsewhere", sites{file("/etc/a/x"): store, file("/etc/b/z"): []byte(password)}, false},
		{"in a secret, of a file", sites{file("/etc/a/x"): store, object("/etc/a/z"): secret(t, map[string][]byte{"password": []byte(password)})}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := scan.Scan(t.Context(), []site.Source{test.sites}, scan.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if opened := len(found.Graph.Certificates) == 2 && len(found.Graph.Keys) == 2; opened != test.open {
				t.Errorf("got %d certificates, want them found: %t", len(found.Graph.Certificates), test.open)
			}
			sealed := slices.ContainsFunc(found.Findings, func(f scan.Finding) bool { return f.Reason == crawl.Sealed && f.Serious })
			if sealed == test.open || len(found.Findings) > 1 {
				t.Errorf("got findings %v", found.Findings)
			}
		})
	}
}

// Values wait for their key, however many secrets are in between, and whatever the order.
func TestEncryptedValuesWait(t *testing.T) {
	keys := [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32)}
	holding := func(key []byte) []byte {
		return secret(t, map[string][]byte{"encryption.apiserver.operator.openshift.io-key": key})
	}
	sealed := func(key int, name string, content []byte) []byte {
		value, err := atrest.Seal(atrest.Envelope{Mode: atrest.GCM, Name: "1"}, keys[key], name, content)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	all := sites{
		object("/a"): sealed(2, "/a", []byte(`{"last":"of all"}`)),
		object("/b"): sealed(1, "/b", holding(keys[2])),
		object("/c"): sealed(0, "/c", holding(keys[1])),
		object("/d"): holding(keys[0]),
		object("/e"): sealed(1, "/moved", []byte("{}")), // not where it was encrypted for
	}
	found, err := scan.Scan(t.Context(), []site.Source{all}, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{}
	for _, s := range found.Sites {
		content[s.Name] = string(s.Content)
		if s.Before != site.HashOf(all[s.Ref]) {
			t.Errorf("%s: the hash is not of what is stored", s.Ref)
		}
	}
	if len(found.Graph.EncryptionKeys) != 3 || content["/a"] != `{"last":"of all"}` || len(found.Sites) != 4 {
		t.Errorf("got %d keys and sites %v", len(found.Graph.EncryptionKeys), content)
	}
	if len(found.Findings) != 1 || found.Findings[0].Site.Name != "/e" || found.Findings[0].Reason != crawl.Encrypted {
		t.Errorf("got findings %v, want one about /e", found.Findings)
	}
}

// What is only decoded, and no material, is searched all the same: such a site is not plain.
func TestBlocksOfOthersAreNotPlain(t *testing.T) {
	block := "-----BEGIN OPENSSH PRIVATE KEY-----\n" + base64.StdEncoding.EncodeToString([]byte("openssh-key-v1, and what else there is")) + "\n-----END OPENSSH PRIVATE KEY-----\n"
	all := sites{file("/etc/a"): []byte(block), file("/etc/b"): []byte("nothing")}
	found, err := scan.Scan(t.Context(), []site.Source{all}, scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if found.Plain[file("/etc/a")] || !found.Plain[file("/etc/b")] {
		t.Errorf("got plain %v", found.Plain)
	}
}
