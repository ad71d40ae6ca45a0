// Package graph relates the material that a crawl found: which certificate is on which key, who signed
// it, which key signed which token.
//
// Keys are the nodes. A certificate is an edge from its issuer's key to its own, so that renewals, cross-signed
// bridges of a CA rollover and certificates without a private key need no special case. A certificate is identified by its
// DER, a key by its public half; every place where either stands is kept.
package graph

import (
	"cmp"
	"crypto"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/jwk"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// Place is where a piece of material stands: a site (a file or an etcd key) and the layers within.
type Place struct {
	Site string `json:"site"`
	Path string `json:"path"`
}

func (p Place) String() string {
	if p.Path == "" {
		return p.Site
	}
	return p.Site + " " + strings.TrimPrefix(p.Path, "/")
}

// Key is a key pair of which at least the public half is known.
type Key struct {
	ID        pki.KeyID
	Algorithm pki.Algorithm
	Public    crypto.PublicKey
	Private   crypto.Signer // nil when only the public half was found
	Places    []Place       // of the private and of bare public keys

	Certificates []*Certificate // on this key
	Signed       []*Certificate // by this key
	Tokens       []*Token       // by this key
}

// Certificate is an edge between two keys.
type Certificate struct {
	*pki.Certificate
	Key    *Key
	Issuer *Key // nil when no known key made its signature
	Places []Place
}

// SelfSigned tells whether the certificate's own key signed it.
func (c *Certificate) SelfSigned() bool { return c.Issuer == c.Key }

// Token is a JSON Web Token.
type Token struct {
	*token.Token
	Key    *Key // nil when no known key made its signature
	Places []Place
}

// EncryptionKey is a key of encryption at rest. It is related to nothing: what it opens is values, not material.
type EncryptionKey struct {
	ID     atrest.KeyID
	Bytes  []byte
	Places []Place
}

// Unread is a piece of material that could not be read, with what is wrong.
type Unread struct {
	Place
	Kind crawl.Kind
	Err  error
}

// Graph is all material of a node. It is filled by Add and then related once.
type Graph struct {
	Keys           map[pki.KeyID]*Key
	Certificates   map[pki.CertificateID]*Certificate
	Tokens         map[token.ID]*Token
	EncryptionKeys map[atrest.KeyID]*EncryptionKey
	Unread         []Unread

	copies map[[sha256.Size]byte]copied // private keys by the hash of a form in which they stood somewhere
}

// copied is a private key and the form in which it stands somewhere.
type copied struct {
	key  *Key
	form pki.Form
}

// New returns an empty graph.
func New() *Graph {
	return &Graph{
		Keys:           map[pki.KeyID]*Key{},
		Certificates:   map[pki.CertificateID]*Certificate{},
		Tokens:         map[token.ID]*Token{},
		EncryptionKeys: map[atrest.KeyID]*EncryptionKey{},
		copies:         map[[sha256.Size]byte]copied{},
	}
}

// Add interns a leaf found in a site.
func (g *Graph) Add(site string, leaf crawl.Leaf) {
	place := Place{Site: site, Path: leaf.Path}
	if err := g.add(place, leaf); err != nil {
		g.Unread = append(g.Unread, Unread{Place: place, Kind: leaf.Kind, Err: err})
	}
}

func (g *Graph) add(place Place, leaf crawl.Leaf) error {
	switch leaf.Kind {
	case crawl.Certificate:
		return g.addCertificate(place, leaf.Bytes)
	case crawl.PrivateKey:
		// Reading an RSA key checks it, which takes long, and most are copies.
		if known, _ := g.PrivateKey(leaf.Bytes); known != nil {
			known.Places = append(known.Places, place)
			return nil
		}
		private, form, err := pki.ParsePrivateKey(leaf.Bytes)
		if err != nil {
			return err
		}
		key, err := g.key(private.Public())
		if err != nil {
			return err
		}
		key.Private, g.copies[sha256.Sum256(leaf.Bytes)] = private, copied{key, form}
		key.Places = append(key.Places, place)
	case crawl.PublicKey:
		public, _, err := pki.ParsePublicKey(leaf.Bytes)
		if err != nil {
			return err
		}
		key, err := g.key(public)
		if err != nil {
			return err
		}
		key.Places = append(key.Places, place)
	case crawl.Token:
		t, err := token.Parse(leaf.Bytes)
		if err != nil {
			return err
		}
		if known := g.Tokens[t.ID]; known != nil {
			known.Places = append(known.Places, place)
			return nil
		}
		g.Tokens[t.ID] = &Token{Token: t, Places: []Place{place}}
	case crawl.JSONKey:
		parsed, err := jwk.Parse(leaf.Bytes)
		if err != nil {
			return err
		}
		key, err := g.key(parsed.Public)
		if err != nil {
			return err
		}
		if parsed.Private != nil {
			key.Private = parsed.Private
		}
		key.Places = append(key.Places, place)
	case crawl.EncryptionKey:
		id := atrest.IDOf(leaf.Bytes)
		key := g.EncryptionKeys[id]
		if key == nil {
			key = &EncryptionKey{ID: id, Bytes: leaf.Bytes}
			g.EncryptionKeys[id] = key
		}
		key.Places = append(key.Places, place)
	default:
		return fmt.Errorf("cannot add a %s", leaf.Kind)
	}
	return nil
}

// PrivateKey returns the key whose private half was added in exactly these bytes, and their form; nil when none was.
func (g *Graph) PrivateKey(der []byte) (*Key, pki.Form) {
	known := g.copies[sha256.Sum256(der)]
	return known.key, known.form
}

func (g *Graph) addCertificate(place Place, der []byte) error {
	// Most certificates are copies: a bundle of public roots stands in thirty places.
	if known := g.Certificates[sha256.Sum256(der)]; known != nil {
		known.Places = append(known.Places, place)
		return nil
	}
	parsed, err := pki.ParseCertificate(der)
	if err != nil {
		return err
	}
	if known := g.Certificates[parsed.ID]; known != nil {
		known.Places = append(known.Places, place)
		return nil
	}
	key, err := g.key(parsed.PublicKey)
	if err != nil {
		return err
	}
	c := &Certificate{Certificate: parsed, Key: key, Places: []Place{place}}
	g.Certificates[parsed.ID] = c
	key.Certificates = append(key.Certificates, c)
	return nil
}

func (g *Graph) key(public crypto.PublicKey) (*Key, error) {
	id, err := pki.IDOf(public)
	if err != nil {
		return nil, err
	}
	if known := g.Keys[id]; known != nil {
		return known, nil
	}
	algorithm, err := pki.AlgorithmOf(public)
	if err != nil {
		return nil, err
	}
	key := &Key{ID: id, Algorithm: algorithm, Public: public}
	g.Keys[id] = key
	return key, nil
}

// Relate finds the signer of every certificate and token by checking signatures. Likely signers are
// asked first, so that it takes about one check for each.
func (g *Graph) Relate() {
	bySubject := map[string][]*Key{}
	bySKI := map[string][]*Key{}
	certificates := g.SortedCertificates()
	for _, c := range certificates {
		bySubject[string(c.RawSubject)] = append(bySubject[string(c.RawSubject)], c.Key)
		if c.SubjectKeyID != nil {
			bySKI[string(c.SubjectKeyID)] = append(bySKI[string(c.SubjectKeyID)], c.Key)
		}
	}
	keys := g.SortedKeys()
	for _, c := range certificates {
		likely := append(slices.Clone(bySKI[string(c.AuthorityKeyID)]), bySubject[string(c.RawIssuer)]...)
		// All others follow: a parent's name may differ, and two may share a name and a key identifier.
		if c.Issuer = signer(c.SignedBy, append(likely, keys...)); c.Issuer != nil {
			c.Issuer.Signed = append(c.Issuer.Signed, c)
		}
	}
	byKeyID := map[string][]*Key{}
	for _, k := range keys {
		byKeyID[token.KeyIDOf(k.ID)] = []*Key{k}
	}
	for _, t := range g.SortedTokens() {
		if t.Key = signer(t.SignedBy, byKeyID[t.KeyID]); t.Key == nil {
			t.Key = signer(t.SignedBy, keys)
		}
		if t.Key != nil {
			t.Key.Tokens = append(t.Key.Tokens, t)
		}
	}
}

// signer returns the first of the keys that made the signature.
func signer(signedBy func(crypto.PublicKey) bool, keys []*Key) *Key {
	tried := map[*Key]bool{}
	for _, k := range keys {
		if tried[k] {
			continue
		}
		tried[k] = true
		if signedBy(k.Public) {
			return k
		}
	}
	return nil
}

// SortedKeys returns the keys by id.
func (g *Graph) SortedKeys() []*Key {
	return sorted(g.Keys, func(k *Key) string { return string(k.ID[:]) })
}

// SortedCertificates returns the certificates by id.
func (g *Graph) SortedCertificates() []*Certificate {
	return sorted(g.Certificates, func(c *Certificate) string { return string(c.ID[:]) })
}

// SortedTokens returns the tokens by id.
func (g *Graph) SortedTokens() []*Token {
	return sorted(g.Tokens, func(t *Token) string { return string(t.ID[:]) })
}

// SortedEncryptionKeys returns the keys of encryption at rest by id.
func (g *Graph) SortedEncryptionKeys() []*EncryptionKey {
	return sorted(g.EncryptionKeys, func(k *EncryptionKey) string { return string(k.ID[:]) })
}

func sorted[K comparable, V any](m map[K]V, by func(V) string) []V {
	values := make([]V, 0, len(m))
	for _, v := range m {
		values = append(values, v)
	}
	slices.SortFunc(values, func(a, b V) int { return cmp.Compare(by(a), by(b)) })
	return values
}
