package graph_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
)

// read makes the graph of documents by the sites that they stand in.
func read(t *testing.T, docs map[string]string) *graph.Graph {
	t.Helper()
	g := graph.New()
	for site, doc := range docs {
		if _, err := crawl.Rewrite([]byte(doc), crawl.Handler{Leaf: func(l crawl.Leaf) ([]byte, error) {
			g.Add(site, l)
			return nil, nil
		}}); err != nil {
			t.Fatal(err)
		}
	}
	g.Relate()
	return g
}

func TestFaults(t *testing.T) {
	ca, next := cryptotest.Authority(t, "ca", cryptotest.EC(t)), cryptotest.Authority(t, "ca", cryptotest.EC(t))
	leaf, other := ca.Leaf(t, "leaf", cryptotest.EC(t)), ca.Leaf(t, "other", cryptotest.EC(t))
	bridge := ca.Intermediate(t, "ca", next.Key)
	foreign := cryptotest.Authority(t, "foreign", cryptotest.EC(t)).Leaf(t, "theirs", cryptotest.EC(t))
	signer := cryptotest.EC(t)
	for name, tc := range map[string]struct {
		docs map[string]string
		want string // "" is no fault
	}{
		"all fits": {map[string]string{
			"file:/ca.crt": ca.PEM(), "file:/ca.key": ca.KeyPEM(), "file:/tls.crt": leaf.PEM() + ca.PEM(), "file:/tls.key": leaf.KeyPEM(),
			"file:/kubelet.pem": other.PEM() + other.KeyPEM(), "file:/sa.key": cryptotest.KeyPEM(signer), "file:/token": cryptotest.Token(t, signer, "a"),
		}, ""},
		"others' certificates":             {map[string]string{"file:/trust.pem": foreign.PEM()}, ""},
		"a bridge without what is bridged": {map[string]string{"file:/ca.pem": next.PEM() + next.KeyPEM() + bridge.PEM()}, ""},
		"another generation of the issuer": {map[string]string{"file:/ca.pem": next.PEM() + next.KeyPEM(), "file:/tls.pem": leaf.PEM() + leaf.KeyPEM()},
			"certificate leaf"},
		"another key in a file beside":  {map[string]string{"file:/tls.crt": leaf.PEM(), "file:/tls.key": other.KeyPEM()}, "none of the certificates beside it is for it"},
		"another key in the same place": {map[string]string{"etcd:/tls": leaf.PEM() + other.KeyPEM()}, "none of the certificates beside it is for it"},
		"a token of another generation": {map[string]string{"file:/sa.key": ca.KeyPEM(), "file:/token": cryptotest.Token(t, signer, "a")}, "no key that is here signed it"},
		"an identifier that nothing has": {map[string]string{"file:/ca.pem": ca.PEM() + ca.KeyPEM(), "file:/tls.crt": cryptotest.Pair{
			Certificate: withIdentifier(ca, "of nobody").Leaf(t, "lost", cryptotest.EC(t)).Certificate}.PEM()}, "the key identifier that it names"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, fault := range read(t, tc.docs).Faults() {
				got = append(got, fault.String())
			}
			if text := strings.Join(got, "\n"); !strings.Contains(text, tc.want) || (tc.want == "") != (len(got) == 0) || len(got) > 1 {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// withIdentifier is the authority as somebody sees it who believes its key has another identifier.
func withIdentifier(p cryptotest.Pair, id string) cryptotest.Pair {
	c := *p.Certificate
	c.SubjectKeyId = []byte(id)
	return cryptotest.Pair{Certificate: &c, Key: p.Key}
}

func TestShowLoneMaterial(t *testing.T) {
	g := read(t, map[string]string{
		"file:/token":  cryptotest.Token(t, cryptotest.EC(t), "of others"),
		"file:/config": "kind: EncryptionConfiguration\nproviders:\n- aescbc:\n    keys:\n    - secret: c2l4dGVlbiBieXRlcy4uLg==\n",
		"file:/lost":   cryptotest.Block("CERTIFICATE", []byte{0x30, 0x03, 0x02, 0x01, 0x01}),
	})
	var dot strings.Builder
	if err := g.WriteDOT(&dot); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"unknown signers of tokens" -> "token `, `"encryption key `, `128 bits`} {
		if !strings.Contains(dot.String(), want) {
			t.Errorf("%q is not in\n%s", want, dot.String())
		}
	}
	for _, want := range []string{`"unread":[{"site":"file:/lost","path":"/pem(CERTIFICATE)@0","kind":"certificate","why":"`, `"bits":128`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if secret := "c2l4dGVlbiBieXRlcy4uLg"; strings.Contains(string(text)+dot.String(), secret) {
		t.Error("an encryption key is shown")
	}
}
