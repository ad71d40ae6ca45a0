package crawl_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"slices"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/jwk"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// marks are what takes the place of each kind of material: in the same form, and nearly always of another length.
type marks struct {
	certificate, token  []byte
	rsa, p256, p384, ed crypto.Signer
}

func newMarks(f *testing.F) marks {
	rsa, err := cryptotest.NewKeys("fuzz").Make(pki.Algorithm{Name: "RSA", Bits: 3072})
	if err != nil {
		f.Fatal(err)
	}
	m := marks{rsa: rsa, p256: cryptotest.EC(f), p384: cryptotest.EC384(f), ed: cryptotest.Ed(f)}
	m.certificate = cryptotest.Authority(f, "a name that is longer than others", m.rsa).Certificate.Raw
	m.token = []byte(cryptotest.Token(f, m.rsa, "a subject that is longer than others"))
	return m
}

// of returns what takes the place of a leaf; nil for what is not understood, which stays.
func (m marks) of(l crawl.Leaf) ([]byte, error) {
	switch l.Kind {
	case crawl.Certificate:
		return m.certificate, nil
	case crawl.Token:
		return m.token, nil
	case crawl.PrivateKey:
		old, form, err := pki.ParsePrivateKey(l.Bytes)
		if err != nil {
			return nil, nil
		}
		return pki.MarshalPrivateKey(m.key(old.Public()), form)
	case crawl.PublicKey:
		old, form, err := pki.ParsePublicKey(l.Bytes)
		if err != nil {
			return nil, nil
		}
		return pki.MarshalPublicKey(m.key(old).Public(), form)
	case crawl.JSONKey:
		k, err := jwk.Parse(l.Bytes)
		if err != nil {
			return nil, nil
		}
		return k.Replace(m.key(k.Public))
	case crawl.EncryptionKey:
		return bytes.Repeat([]byte("m"), 16+(len(l.Bytes)-8)%16), nil // 16, 24 and 32 become 24, 16 and 24
	}
	return nil, nil
}

// key is one of the old one's kind, of another size if there are others.
func (m marks) key(old crypto.PublicKey) crypto.Signer {
	switch a, _ := pki.AlgorithmOf(old); {
	case a.Name == "RSA":
		return m.rsa
	case a.Name == "Ed25519":
		return m.ed
	case a.Bits == 384:
		return m.p256
	}
	return m.p384
}

// put replaces leaves of a document and returns the leaves that there were.
func put(t *testing.T, doc []byte, with func(i int, l crawl.Leaf) ([]byte, error)) (after []byte, leaves []crawl.Leaf) {
	t.Helper()
	edits, err := crawl.Rewrite(doc, crawl.Handler{Leaf: func(l crawl.Leaf) ([]byte, error) {
		l.Bytes = bytes.Clone(l.Bytes)
		leaves = append(leaves, l)
		return with(len(leaves)-1, l)
	}})
	if err != nil {
		t.Fatal(err)
	}
	after, err = splice.Apply(doc, edits)
	if err != nil {
		t.Fatal(err)
	}
	return after, leaves
}

// same tells whether two lists are of the same kinds of material with the same bytes.
func same(a, b []crawl.Leaf) bool {
	return slices.EqualFunc(a, b, func(a, b crawl.Leaf) bool { return a.Kind == b.Kind && bytes.Equal(a.Bytes, b.Bytes) })
}

// Whatever a document is, a crawl ends, and without edits if nothing is replaced. If all is, by something of another length in
// each of its encodings, then that is found in its places, not a byte around it is another, and putting back what was there
// leads to a document with the old material, from which the same way leads to the same end. It need not be the first document:
// irregular lines of base64 become regular.
func FuzzRewrite(f *testing.F) {
	for _, doc := range documents(f) {
		f.Add([]byte(doc))
	}
	marks := newMarks(f)
	f.Fuzz(func(t *testing.T, doc []byte) {
		kept, old := put(t, doc, func(_ int, l crawl.Leaf) ([]byte, error) { return l.Bytes, nil })
		if !bytes.Equal(kept, doc) {
			t.Fatal("a document changed in which nothing was replaced")
		}
		want := slices.Clone(old)
		there, _ := put(t, doc, func(i int, l crawl.Leaf) ([]byte, error) {
			mark, err := marks.of(l)
			if mark != nil {
				want[i].Bytes = mark
			}
			return mark, err
		})
		_, marked := put(t, there, func(int, crawl.Leaf) ([]byte, error) { return nil, nil })
		if !same(marked, want) {
			allFound(t, marked, want)
			return
		}
		if was, is := around(t, doc), around(t, there); !bytes.Equal(was, is) {
			t.Fatalf("bytes around the material changed:\n%q\n%q", was, is)
		}
		back, _ := put(t, there, func(i int, _ crawl.Leaf) ([]byte, error) { return old[i].Bytes, nil })
		again, restored := put(t, back, func(i int, l crawl.Leaf) ([]byte, error) { return marks.of(l) })
		if !same(restored, old) {
			t.Fatalf("%d pieces of material were put back, and %d others are there", len(old), len(restored))
		}
		if !bytes.Equal(again, there) {
			t.Fatalf("the same way leads to another end:\n%q\n%q", there, again)
		}
	})
}

// allFound checks that everything that was put into a document is found in it. More may be: a line of base64 that follows
// another of full width may be taken for its continuation, or no longer.
func allFound(t *testing.T, found, put []crawl.Leaf) {
	t.Helper()
	count := func(in []crawl.Leaf, l crawl.Leaf) (n int) {
		for _, other := range in {
			if other.Kind == l.Kind && bytes.Equal(other.Bytes, l.Bytes) {
				n++
			}
		}
		return n
	}
	for _, l := range put {
		if count(found, l) < count(put, l) {
			t.Fatalf("a %s was put at %s and is not found", l.Kind, l.Path)
		}
	}
}

// around is a document with nothing in the place of its material.
func around(t *testing.T, doc []byte) []byte {
	t.Helper()
	after, _ := put(t, doc, func(int, crawl.Leaf) ([]byte, error) { return []byte("-"), nil })
	return after
}

// documents have all kinds of material, and a certificate in every nesting.
func documents(f *testing.F) []string {
	old, ec, rsa := cryptotest.Authority(f, "old", cryptotest.EC(f)), cryptotest.EC(f), cryptotest.RSA(f, 0)
	token, b64 := cryptotest.Token(f, ec, "a"), func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	docs := []string{
		token, "token: " + token + "\nnext: 1\n", `{"auths":{"r":{"auth":"` + b64("<token>:"+token) + `","password":"` + token + `"}}}`,
		old.PEM() + `{"x":` + quoted(f, jsonKeySet(f, cryptotest.EC(f))) + `}` + old.PEM(), jsonKeySet(f, ec, rsa, rsa.Public()),
		"kind: EncryptionConfiguration\nsecret: " + b64(string(bytes.Repeat([]byte{1}, 32))) + "\n" + old.PEM(),
		cryptotest.KeyPEM(rsa) + cryptotest.KeyPEM8(rsa) + cryptotest.KeyPEM(ec) + cryptotest.KeyPEM8(cryptotest.Ed(f)),
		cryptotest.PublicPEM(rsa.Public()) + cryptotest.PublicPEM(ec.Public()), string(old.Certificate.Raw), "der: " + b64(string(old.Certificate.Raw)) + "\n",
		ovsdb(`{"name":"x"}`+"\n", `{"a":`+quoted(f, old.PEM()+cryptotest.KeyPEM(ec))+"}\n", "{}"),
	}
	for _, nest := range nestings(f) {
		docs = append(docs, nest(old.PEM()), nest(cryptotest.KeyPEM(ec)), nest(token+"\n"))
	}
	return docs
}
