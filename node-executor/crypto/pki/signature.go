package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // old roots are signed with it; only ever verified
	_ "crypto/sha256"
	_ "crypto/sha512"
	"encoding/asn1"
	"fmt"
)

// scheme is how a signature is made.
type scheme struct {
	oid  asn1.ObjectIdentifier
	key  string // algorithm name of the key
	hash crypto.Hash
}

// schemes are the signature algorithms of RFC 3279, 4055, 5758 and 8410. PSS is told by its parameters,
// see pssHash.
var schemes = []scheme{
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}, "RSA", crypto.SHA1},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, "RSA", crypto.SHA256},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, "RSA", crypto.SHA384},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, "RSA", crypto.SHA512},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}, "ECDSA", crypto.SHA1},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, "ECDSA", crypto.SHA256},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, "ECDSA", crypto.SHA384},
	{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, "ECDSA", crypto.SHA512},
	{asn1.ObjectIdentifier{1, 3, 101, 112}, "Ed25519", 0},
}

var (
	oidPSS    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
	hashByOID = map[string]crypto.Hash{
		"2.16.840.1.101.3.4.2.1": crypto.SHA256,
		"2.16.840.1.101.3.4.2.2": crypto.SHA384,
		"2.16.840.1.101.3.4.2.3": crypto.SHA512,
	}
)

type algorithmIdentifier struct {
	ID         asn1.ObjectIdentifier
	Parameters asn1.RawValue `asn1:"optional"`
}

// schemeOf reads an AlgorithmIdentifier.
func schemeOf(raw []byte) (s scheme, pss bool, err error) {
	var id algorithmIdentifier
	if _, err := asn1.Unmarshal(raw, &id); err != nil {
		return scheme{}, false, fmt.Errorf("cannot read signature algorithm: %w", err)
	}
	for _, s := range schemes {
		if s.oid.Equal(id.ID) {
			return s, false, nil
		}
	}
	if id.ID.Equal(oidPSS) {
		// Only the hash is needed: the mask generation uses the same one, the salt's length is found at verification.
		var parameters asn1.RawValue
		var hash algorithmIdentifier
		if _, err := asn1.Unmarshal(id.Parameters.FullBytes, &parameters); err == nil {
			if members, err := children(parameters.Bytes); err == nil && len(members) > 0 && members[0].Tag == 0 {
				_, _ = asn1.Unmarshal(members[0].Bytes, &hash)
			}
		}
		if known, ok := hashByOID[hash.ID.String()]; ok {
			return scheme{oid: oidPSS, key: "RSA", hash: known}, true, nil
		}
	}
	return scheme{}, false, fmt.Errorf("cannot use signature algorithm %s: %w", id.ID, ErrUnsupported)
}

// SignedBy tells whether the certificate's signature is the key's. Unlike the standard library it
// asks nothing else of the issuer: neither CA bits nor key usage, and SHA-1 is understood.
func (c *Certificate) SignedBy(public crypto.PublicKey) bool {
	s, pss, err := schemeOf(c.algorithm)
	if err != nil {
		return false
	}
	algorithm, err := AlgorithmOf(public)
	if err != nil || algorithm.Name != s.key {
		return false
	}
	digest := c.tbs
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(c.tbs)
		digest = h.Sum(nil)
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		if pss {
			return rsa.VerifyPSS(key, s.hash, digest, c.signature, nil) == nil
		}
		return rsa.VerifyPKCS1v15(key, s.hash, digest, c.signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, c.signature)
	case ed25519.PublicKey:
		return ed25519.Verify(key, digest, c.signature)
	}
	return false
}

// sign signs a TBSCertificate with an algorithm chosen by signatureAlgorithm.
func sign(tbs, algorithm []byte, key crypto.Signer) ([]byte, error) {
	s, pss, err := schemeOf(algorithm)
	if err != nil {
		return nil, err
	}
	digest := tbs
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(tbs)
		digest = h.Sum(nil)
	}
	var options crypto.SignerOpts = s.hash
	if pss {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.hash}
	}
	signature, err := key.Sign(rand.Reader, digest, options)
	if err != nil {
		return nil, fmt.Errorf("cannot sign: %w", err)
	}
	return signature, nil
}

// signatureAlgorithm returns the AlgorithmIdentifier to sign with: the old one where the new key can make it and it
// is not SHA-1, else the key's usual one.
func signatureAlgorithm(old []byte, public crypto.PublicKey) ([]byte, error) {
	algorithm, err := AlgorithmOf(public)
	if err != nil {
		return nil, err
	}
	if s, _, err := schemeOf(old); err == nil && s.key == algorithm.Name && s.hash != crypto.SHA1 {
		return bytes.Clone(old), nil
	}
	want := crypto.SHA256
	switch {
	case algorithm.Name == "Ed25519":
		want = 0
	case algorithm.Name == "ECDSA" && algorithm.Bits > 384:
		want = crypto.SHA512
	case algorithm.Name == "ECDSA" && algorithm.Bits > 256:
		want = crypto.SHA384
	}
	for _, s := range schemes {
		if s.key != algorithm.Name || s.hash != want {
			continue
		}
		id := algorithmIdentifier{ID: s.oid}
		if s.key == "RSA" { // RFC 4055 wants NULL here, the others want nothing
			id.Parameters = asn1.NullRawValue
		}
		return asn1.Marshal(id)
	}
	return nil, fmt.Errorf("cannot sign with %s: %w", algorithm, ErrUnsupported)
}
