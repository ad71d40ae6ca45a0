package crypto_test

import (
	stdcrypto "crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// forest is a random cluster: authorities in hierarchies of any shape, leaves, renewals, bridges, tokens, in files and
// values of etcd, in any nesting and number of copies; and rules to regenerate it by, with what they ought to lead to.
type forest struct {
	tree   tree
	values map[string]string // of etcd, not encrypted
	rules  plan.Rules
	seals  seals

	// external are certificates of others, by DER.
	external map[string]bool
	// replaced are certificates that a rule keeps another one for, both by DER.
	replaced map[string]string
	// given are the authorities whose key a rule gives, by the id of the old key.
	given map[pki.KeyID]cryptotest.Pair
	// identified are the given ones whose key identifier the rule gives too.
	identified map[pki.KeyID]bool
}

// grower draws a forest.
type grower struct {
	*forest
	r      *rapid.T
	t      *testing.T
	pieces []piece
	keys   []stdcrypto.Signer
	rsa    int // how many keys are of RSA
}

// piece is one piece of material in PEM or as a token.
type piece struct {
	text string
	key  any // the key in it, private or public, if it is one
}

func newForest(r *rapid.T, t *testing.T) *forest {
	f := &forest{
		tree: tree{"nothing": "no material\n"}, values: map[string]string{}, external: map[string]bool{}, replaced: map[string]string{},
		given: map[pki.KeyID]cryptotest.Pair{}, identified: map[pki.KeyID]bool{},
		rules: plan.Rules{Unknown: plan.Replace, Now: now, External: []string{"file:/etc/trust/"}},
	}
	f.rules.Validity = rapid.SampledFrom([]plan.ValidityMode{plan.KeepValidity, plan.Extend, plan.ForceExpire}).Draw(r, "validity")
	g := &grower{forest: f, r: r, t: t}
	g.grow()
	if g.chance("names", 3) {
		f.rules.Names = map[string]string{"b": "b of another", "host.example": "host.target.example", "192.0.2.10": "192.0.2.99"}
	}
	g.others()
	g.keepKey()
	g.keepCertificate()
	g.tokens()
	g.scatter()
	f.seals = g.seal()
	return f
}

// index draws one of n things: a report of a failure says which, and not what is in it.
func (g *grower) index(label string, n int) int { return rapid.IntRange(0, n-1).Draw(g.r, label) }

// chance is true once in n times.
func (g *grower) chance(label string, n int) bool { return rapid.IntRange(1, n).Draw(g.r, label) == n }

func (g *grower) key(label string) stdcrypto.Signer {
	return []func() stdcrypto.Signer{
		func() stdcrypto.Signer { return cryptotest.EC(g.t) },
		func() stdcrypto.Signer { return cryptotest.EC384(g.t) },
		func() stdcrypto.Signer { return cryptotest.Ed(g.t) },
		g.newRSA,
	}[g.index(label, 4)]()
}

// newRSA is a key that the forest does not have yet.
func (g *grower) newRSA() stdcrypto.Signer {
	g.rsa++
	return cryptotest.RSA(g.t, g.rsa)
}

func (g *grower) add(p cryptotest.Pair) { g.pieces = append(g.pieces, piece{text: p.PEM()}) }

func (g *grower) addPrivate(key stdcrypto.Signer) {
	form := []func(stdcrypto.Signer) string{cryptotest.KeyPEM, cryptotest.KeyPEM8}[g.index("form", 2)]
	g.pieces = append(g.pieces, piece{text: form(key), key: key})
}

// grow makes the hierarchies.
func (g *grower) grow() {
	for range rapid.IntRange(1, 5).Draw(g.r, "keys") {
		g.keys = append(g.keys, g.key("algorithm"))
	}
	authorities := []cryptotest.Pair{cryptotest.Authority(g.t, "root", g.keys[0], g.identifier(g.keys[0]))}
	g.add(authorities[0])
	for range rapid.IntRange(0, 8).Draw(g.r, "certificates") {
		issuer := authorities[g.index("issuer", len(authorities))]
		key := g.keys[g.index("key", len(g.keys))]
		options := []cryptotest.Option{g.identifier(key), g.namedBySerial(issuer)}
		name := rapid.SampledFrom([]string{"root", "a", "b", "c"}).Draw(g.r, "name")
		var made cryptotest.Pair
		switch rapid.IntRange(0, 2).Draw(g.r, "kind") {
		case 0:
			made = cryptotest.Authority(g.t, name, key, options[0])
			authorities = append(authorities, made)
		case 1:
			made = issuer.Intermediate(g.t, name, key, options...)
			authorities = append(authorities, made)
		default:
			made = issuer.Leaf(g.t, name, key, append(options, cryptotest.Names("host.example", "192.0.2.10"))...)
			g.client(issuer, made)
			g.served(issuer, made)
		}
		g.add(made)
	}
	for _, key := range g.keys {
		if !g.chance("key was thrown away", 2) {
			g.addPrivate(key)
		}
		if g.chance("bare public key", 2) {
			g.pieces = append(g.pieces, piece{text: cryptotest.PublicPEM(key.Public()), key: key.Public()})
		}
	}
}

// identifiers are ways in which key identifiers are made of a public key; nil where one is not defined. They are those of
// Go since 1.25, of Go before, and of library-go.
var identifiers = []func(stdcrypto.PublicKey) []byte{
	func(k stdcrypto.PublicKey) []byte { sum := sha256.Sum256(subjectPublicKey(k)); return sum[:20] },
	func(k stdcrypto.PublicKey) []byte { sum := sha1.Sum(subjectPublicKey(k)); return sum[:] },
	func(k stdcrypto.PublicKey) []byte {
		key, ok := k.(*rsa.PublicKey)
		if !ok {
			return nil
		}
		sum := sha1.Sum(key.N.Bytes())
		return sum[:]
	},
}

// subjectPublicKey is the content of a PKIX key's bit string.
func subjectPublicKey(k stdcrypto.PublicKey) []byte {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		panic(err)
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		panic(err)
	}
	return info.Key.Bytes
}

// identifier draws how a certificate names its key, or that it does not.
func (g *grower) identifier(key stdcrypto.Signer) cryptotest.Option {
	way := g.index("key identifier", len(identifiers)+2)
	if way < len(identifiers) {
		return cryptotest.SubjectKeyID(identifiers[way](key.Public()))
	}
	if way == len(identifiers) { // by nobody's rule, but each the key's alone
		id := g.id(key)
		return cryptotest.SubjectKeyID([]byte(fmt.Sprintf("%d of %x", rapid.IntRange(0, 1).Draw(g.r, "identifier"), id[:4])))
	}
	return cryptotest.SubjectKeyID(nil) // but Go gives an authority one
}

// authorityKeyID is RFC 5280's, in the form that names the issuer's certificate.
type authorityKeyID struct {
	ID     []byte        `asn1:"optional,tag:0"`
	Issuer asn1.RawValue `asn1:"optional"`
	Serial *big.Int      `asn1:"optional,tag:2"`
}

var oidAuthorityKeyID = asn1.ObjectIdentifier{2, 5, 29, 35}

// namedBySerial sometimes has a certificate name its issuer's by issuer and serial number.
func (g *grower) namedBySerial(issuer cryptotest.Pair) cryptotest.Option {
	if !g.chance("issuer named by serial number", 4) {
		return func(*x509.Certificate) {}
	}
	directory, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: issuer.Certificate.RawIssuer})
	if err != nil {
		g.r.Fatal(err)
	}
	value, err := asn1.Marshal(authorityKeyID{
		ID:     issuer.Certificate.SubjectKeyId,
		Issuer: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: directory}, Serial: issuer.Certificate.SerialNumber,
	})
	if err != nil {
		g.r.Fatal(err)
	}
	return cryptotest.Extension(oidAuthorityKeyID, value)
}

// others are authorities of someone else, which a list of them tells; they stand among the cluster's too.
func (g *grower) others() {
	if !g.chance("others", 3) {
		return
	}
	other := cryptotest.Authority(g.t, "root", cryptotest.EC(g.t))
	g.external[string(other.Certificate.Raw)] = true
	g.tree["trust/anchors.pem"] = "# others\n" + other.PEM()
	g.add(other)
}

// keepKey gives the key of an authority that clients trust.
func (g *grower) keepKey() {
	if !g.chance("keep key", 3) {
		return
	}
	key := g.key("its algorithm")
	authority := cryptotest.Authority(g.t, "trusted", key, g.identifier(key))
	leaf := authority.Leaf(g.t, "of the trusted", cryptotest.EC(g.t), cryptotest.Names("host.example", "192.0.2.10"))
	g.add(authority)
	g.add(leaf)
	g.addPrivate(leaf.Key)
	g.tree["trusted/tls.key"], g.tree["trusted/tls.crt"] = authority.KeyPEM(), authority.PEM()

	given := []stdcrypto.Signer{cryptotest.EC(g.t), g.newRSA()}[g.index("given key", 2)]
	target := cryptotest.Authority(g.t, "trusted", given, g.identifier(given))
	rule := plan.KeepKey{CommonName: "trusted", Key: given}
	id := g.id(key)
	if g.chance("identifier given", 2) {
		rule.SubjectKeyID, g.identified[id] = target.Certificate.SubjectKeyId, true
	}
	if g.chance("site given", 2) {
		rule.Site = "/etc/trusted/tls.key"
	}
	g.given[id] = target
	g.rules.KeepKeys = []plan.KeepKey{rule}
}

// keepCertificate keeps that of an authority whose key was thrown away.
func (g *grower) keepCertificate() {
	if !g.chance("keep certificate", 3) {
		return
	}
	old, kept := cryptotest.Authority(g.t, "thrown away", g.key("old key")), cryptotest.Authority(g.t, "thrown away", cryptotest.EC(g.t))
	g.add(old)
	certificate, err := pki.ParseCertificate(kept.Certificate.Raw)
	if err != nil {
		g.r.Fatal(err)
	}
	g.rules.KeepCertificates = []plan.KeepCertificate{{Certificate: certificate}}
	g.replaced[string(old.Certificate.Raw)] = string(kept.Certificate.Raw)
}

func (g *grower) tokens() {
	if !g.chance("token", 2) {
		return
	}
	signer := []stdcrypto.Signer{cryptotest.EC(g.t), g.newRSA()}[g.index("token key", 2)]
	g.addPrivate(signer)
	for _, text := range []string{cryptotest.Token(g.t, cryptotest.EC(g.t), "of others"), cryptotest.Token(g.t, signer, "own")} {
		g.pieces = append(g.pieces, piece{text: text + "\n"})
		g.tree["logins.json"] += `{"auths":{"registry":{"auth":"` + text64("<token>:"+text) + `","password":"` + text + `"}}}` + "\n"
	}
}

func (g *grower) id(key stdcrypto.Signer) pki.KeyID {
	id, err := pki.IDOf(key.Public())
	if err != nil {
		g.r.Fatal(err)
	}
	return id
}

// jsonKey is a key as a JSON Web Key, with the id that Kubernetes gives it.
func (g *grower) jsonKey(key any) string {
	public := key
	if private, ok := key.(stdcrypto.Signer); ok {
		public = private.Public()
	}
	id, err := pki.IDOf(public)
	if err != nil {
		g.r.Fatal(err)
	}
	return quoted(g.t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: token.KeyIDOf(id), Use: "sig"}}})
}
