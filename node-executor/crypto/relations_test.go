package crypto_test

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"

	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/jwk"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// relations checks that what was equal is equal, what differed differs, what signed what still does, and nothing old works
// with anything new.
func (c comparison) relations() {
	for i, was := range c.old.leaves {
		for j := range i {
			if bytes.Equal(was.Bytes, c.old.leaves[j].Bytes) != bytes.Equal(c.renewed.leaves[i].Bytes, c.renewed.leaves[j].Bytes) {
				c.r.Fatalf("copies at %s and %s", was.Path, c.old.leaves[j].Path)
			}
		}
	}
	wasKeys, isKeys := c.keys()
	for i, was := range c.old.leaves {
		if c.old.isCopy(i) {
			continue
		}
		is := c.renewed.leaves[i]
		for k := range wasKeys {
			before, after := was.relation(wasKeys[k]), is.relation(isKeys[k])
			if before != after {
				c.r.Fatalf("%s at %s and key %d: was %+v, is %+v", was.Kind, was.Path, k, before, after)
			}
			if crossed := is.relation(wasKeys[k]); crossed != (related{}) {
				others := c.f.external[string(was.Bytes)] || was.Kind == crawl.Token && bytes.Equal(was.Bytes, is.Bytes)
				if !others {
					c.r.Fatalf("new %s at %s works with an old key", was.Kind, was.Path)
				}
			}
		}
		if _, replaced := c.f.replaced[string(was.Bytes)]; was.public != nil && !replaced {
			c.sameAlgorithm(was.public, is.public)
		}
	}
}

// isCopy tells whether a leaf stood somewhere before.
func (s sight) isCopy(i int) bool {
	return slices.ContainsFunc(s.leaves[:i], func(l *material) bool { return bytes.Equal(l.Bytes, s.leaves[i].Bytes) })
}

// keys are all public keys that there were, each once, and what became of them where each stood first.
func (c comparison) keys() (old, renewed []any) {
	for i, l := range c.old.leaves {
		if l.public != nil && !slices.ContainsFunc(old, func(key any) bool { return equalKeys(key, l.public) }) {
			old, renewed = append(old, l.public), append(renewed, c.renewed.leaves[i].public)
		}
	}
	return old, renewed
}

// sameAlgorithm checks that a key is like the one that it replaces, unless a rule gives it.
func (c comparison) sameAlgorithm(old, renewed stdcrypto.PublicKey) {
	id, err := pki.IDOf(old)
	if err != nil {
		c.r.Fatal(err)
	}
	if authority, given := c.f.given[id]; given {
		if !equalKeys(authority.Key.Public(), renewed) {
			c.r.Fatalf("key %s is not the given one", id)
		}
		return
	}
	if was, is := algorithm(c.r, old), algorithm(c.r, renewed); was != is {
		c.r.Fatalf("a key of %s became one of %s", was, is)
	}
}

func algorithm(r *rapid.T, public any) pki.Algorithm {
	a, err := pki.AlgorithmOf(public)
	if err != nil {
		r.Fatal(err)
	}
	return a
}

// material is a leaf and what is in it; the fields that do not concern its kind are nil.
type material struct {
	crawl.Leaf
	certificate *x509.Certificate
	public      any // key: a certificate's too
	private     stdcrypto.Signer
	token       *token.Token
}

func readMaterial(r *rapid.T, l crawl.Leaf) *material {
	m := &material{Leaf: l}
	var err error
	switch l.Kind {
	case crawl.Certificate:
		if m.certificate, err = x509.ParseCertificate(l.Bytes); err == nil {
			m.public = m.certificate.PublicKey
		}
	case crawl.PrivateKey:
		if m.private, _, err = pki.ParsePrivateKey(l.Bytes); err == nil {
			m.public = m.private.Public()
		}
	case crawl.PublicKey:
		m.public, err = x509.ParsePKIXPublicKey(l.Bytes)
	case crawl.JSONKey:
		var k *jwk.Key
		if k, err = jwk.Parse(l.Bytes); err == nil {
			m.public, m.private = k.Public, k.Private
		}
	case crawl.Token:
		m.token, err = token.Parse(l.Bytes)
	}
	if err != nil {
		r.Fatalf("%s at %s: %v", l.Kind, l.Path, err)
	}
	return m
}

func equalKeys(a, b any) bool {
	return a.(interface {
		Equal(stdcrypto.PublicKey) bool
	}).Equal(b)
}

type related struct{ same, signed bool }

// relation says what a piece of material has to do with a key.
func (m *material) relation(key any) (is related) {
	if m.public != nil {
		is.same = equalKeys(m.public, key)
	}
	if c := m.certificate; c != nil {
		issuer := &x509.Certificate{PublicKey: key}
		is.signed = issuer.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
	}
	if m.token != nil {
		is.signed = m.token.SignedBy(key)
	}
	return is
}

// identifiers checks that a key identifier still leads where it led, and to others only if they are on the key that made the
// signature: identifiers that follow no rule become one that does. One that follows a rule follows it still. And no two
// certificates of an issuer share a serial number.
func (c comparison) identifiers() {
	leads := func(leaves []*material, from int) (to []int) {
		for i, l := range leaves {
			if l.certificate != nil && names(c.r, leaves[from].certificate, l.certificate) {
				to = append(to, i)
			}
		}
		return to
	}
	serials := map[string][]byte{}
	for i, l := range c.old.leaves {
		if l.certificate == nil || c.old.isCopy(i) {
			continue
		}
		renewed := c.renewed.leaves[i].certificate
		was, is := leads(c.old.leaves, i), leads(c.renewed.leaves, i)
		if _, replaced := c.f.replaced[string(l.Bytes)]; !replaced {
			c.sameIdentifier(l.certificate, renewed)
			if slices.ContainsFunc(was, func(to int) bool { return !slices.Contains(is, to) }) {
				c.r.Fatalf("the authority key identifier at %s led to the certificates %v and now to %v", l.Path, was, is)
			}
		}
		for _, to := range is {
			issuer := c.renewed.leaves[to].certificate
			if !slices.Contains(was, to) && issuer.CheckSignature(renewed.SignatureAlgorithm, renewed.RawTBSCertificate, renewed.Signature) != nil {
				c.r.Fatalf("the authority key identifier at %s now leads to %s, which is not its issuer", l.Path, c.renewed.leaves[to].Path)
			}
		}
		name := string(renewed.RawIssuer) + renewed.SerialNumber.String()
		if other, taken := serials[name]; taken && !bytes.Equal(other, renewed.Raw) {
			c.r.Fatalf("two certificates of %s have the serial number %s", renewed.Issuer, renewed.SerialNumber)
		}
		serials[name] = renewed.Raw
	}
}

// names tells whether a certificate's authority key identifier, in all its parts, names another one.
func names(r *rapid.T, c, issuer *x509.Certificate) bool {
	if len(c.AuthorityKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId) {
		return false
	}
	for _, e := range c.Extensions {
		if !e.Id.Equal(oidAuthorityKeyID) {
			continue
		}
		var id authorityKeyID
		if _, err := asn1.Unmarshal(e.Value, &id); err != nil {
			r.Fatal(err)
		}
		if id.Serial != nil && (id.Serial.Cmp(issuer.SerialNumber) != 0 || !bytes.Contains(id.Issuer.FullBytes, issuer.RawIssuer)) {
			return false
		}
		return true
	}
	return false
}

// sameIdentifier checks that a subject key identifier is made of the new key as the old one was of the old.
func (c comparison) sameIdentifier(was, is *x509.Certificate) {
	id, err := pki.IDOf(was.PublicKey)
	if err != nil {
		c.r.Fatal(err)
	}
	var want []byte
	for _, of := range identifiers {
		if made := of(was.PublicKey); made != nil && bytes.Equal(made, was.SubjectKeyId) {
			want = of(is.PublicKey)
			break
		}
	}
	switch {
	case was.SubjectKeyId == nil, c.f.external[string(was.Raw)]:
		want = was.SubjectKeyId
	case c.f.identified[id]:
		want = c.f.given[id].Certificate.SubjectKeyId
	case want == nil:
		want = identifiers[0](is.PublicKey) // what nobody knows how to make becomes what Go makes
	}
	if !bytes.Equal(is.SubjectKeyId, want) {
		c.r.Fatalf("%s has the key identifier %x, want %x", is.Subject, is.SubjectKeyId, want)
	}
}

// texts checks that a certificate says what it said, but for names that a rule replaces and the validity.
func (c comparison) texts() {
	for i, l := range c.old.leaves {
		_, replaced := c.f.replaced[string(l.Bytes)]
		if l.certificate == nil || replaced || c.f.external[string(l.Bytes)] {
			continue
		}
		was, is := l.certificate, c.renewed.leaves[i].certificate
		if c.renamed(was.Subject) != is.Subject.String() || c.renamed(was.Issuer) != is.Issuer.String() || was.KeyUsage != is.KeyUsage || was.IsCA != is.IsCA {
			c.r.Fatalf("the text of %s changed", was.Subject)
		}
		want := namesOf(was)
		for i, name := range want {
			want[i] = c.name(name)
		}
		slices.Sort(want)
		if got := namesOf(is); !slices.Equal(got, want) {
			c.r.Fatalf("%s has the names %v, want %v", is.Subject, got, want)
		}
		if was.SerialNumber.Cmp(is.SerialNumber) == 0 || is.SerialNumber.Sign() <= 0 {
			c.r.Fatalf("serial number of %s is %s", is.Subject, is.SerialNumber)
		}
		c.sameExtensions(was, is)
		c.sameValidity(was, is)
	}
}

func (c comparison) name(old string) string {
	if renamed, ok := c.f.rules.Names[old]; ok {
		return renamed
	}
	return old
}

// renamed is a name as the rules want it.
func (c comparison) renamed(old pkix.Name) string {
	old.CommonName = c.name(old.CommonName)
	old.Names = nil
	return old.String()
}

// sameExtensions checks those that nothing has to change, and that there are no others.
func (c comparison) sameExtensions(was, is *x509.Certificate) {
	mayChange := []asn1.ObjectIdentifier{{2, 5, 29, 14}, {2, 5, 29, 17}, oidAuthorityKeyID} // two of keys, and alternative names
	if len(was.Extensions) != len(is.Extensions) {
		c.r.Fatalf("%s has %d extensions, had %d", is.Subject, len(is.Extensions), len(was.Extensions))
	}
	for i, a := range was.Extensions {
		b := is.Extensions[i]
		free := slices.ContainsFunc(mayChange, a.Id.Equal)
		if !a.Id.Equal(b.Id) || a.Critical != b.Critical || !free && !bytes.Equal(a.Value, b.Value) {
			c.r.Fatalf("extension %s of %s changed", a.Id, was.Subject)
		}
	}
}

func (c comparison) sameValidity(was, is *x509.Certificate) {
	begin, end := was.NotBefore, was.NotAfter
	switch length := end.Sub(begin); c.f.rules.Validity {
	case plan.Extend:
		begin, end = now, now.Add(length)
	case plan.ForceExpire:
		begin, end = now.Add(-length), now
	}
	if !is.NotBefore.Equal(begin) || !is.NotAfter.Equal(end) {
		c.r.Fatalf("%s is valid from %s until %s, want from %s until %s", is.Subject, is.NotBefore, is.NotAfter, begin, end)
	}
}
