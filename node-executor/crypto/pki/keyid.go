package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
)

// skiMethod derives a subject key identifier from a key; nil when it is not defined for it.
type skiMethod func(public crypto.PublicKey) []byte

// skiMethods are the ways in which toolchains made subject key identifiers, tried in this order on the old key.
// The list grew with Go 1.25 and library-go; what matches none is no error (see NewSubjectKeyID).
var skiMethods = []skiMethod{
	func(k crypto.PublicKey) []byte { return sha256of160(keyBits(k)) }, // RFC 7093, method 1: Go ≥ 1.25
	func(k crypto.PublicKey) []byte { return sha1of(keyBits(k)) },      // RFC 5280, method 1
	func(k crypto.PublicKey) []byte { return sha1of(modulus(k)) },      // library-go, SHA-1
	func(k crypto.PublicKey) []byte { return sha256of160(modulus(k)) }, // library-go, SHA-256
	func(k crypto.PublicKey) []byte { return sha256of(keyBits(k)) },    // untruncated
	func(k crypto.PublicKey) []byte { return sha1of(spki(k)) },
	func(k crypto.PublicKey) []byte { return sha256of(spki(k)) },
	func(k crypto.PublicKey) []byte { return sha256of160(spki(k)) }, // RFC 7093, method 4
	func(k crypto.PublicKey) []byte { return sha1of(ecPoint(k)) },
	func(k crypto.PublicKey) []byte { return short(sha1of(keyBits(k))) }, // RFC 5280, method 2
}

// NewSubjectKeyID returns the identifier of a new key, made the way the old one was. An
// identifier that was made in no known way becomes RFC 7093's, and known is false.
func NewSubjectKeyID(old []byte, oldKey, newKey crypto.PublicKey) (id []byte, known bool) {
	for _, method := range skiMethods {
		if made := method(oldKey); made != nil && bytes.Equal(made, old) {
			if id := method(newKey); id != nil {
				return id, true
			}
		}
	}
	return skiMethods[0](newKey), false
}

// keyBits is the content of the BIT STRING subjectPublicKey.
func keyBits(k crypto.PublicKey) []byte {
	var info struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki(k), &info); err != nil {
		return nil
	}
	return info.Key.RightAlign()
}

func spki(k crypto.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return nil
	}
	return der
}

func modulus(k crypto.PublicKey) []byte {
	if key, ok := k.(*rsa.PublicKey); ok {
		return key.N.Bytes()
	}
	return nil
}

func ecPoint(k crypto.PublicKey) []byte {
	if key, ok := k.(*ecdsa.PublicKey); ok {
		if point, err := key.Bytes(); err == nil {
			return point[1:]
		}
	}
	return nil
}

func sha1of(b []byte) []byte {
	if b == nil {
		return nil
	}
	sum := sha1.Sum(b)
	return sum[:]
}

func sha256of(b []byte) []byte {
	if b == nil {
		return nil
	}
	sum := sha256.Sum256(b)
	return sum[:]
}

func sha256of160(b []byte) []byte {
	if b == nil {
		return nil
	}
	return sha256of(b)[:20]
}

// short is RFC 5280's second method: the bits 0100 and the last 60 bits of the SHA-1.
func short(sum []byte) []byte {
	if sum == nil {
		return nil
	}
	id := bytes.Clone(sum[12:])
	id[0] = id[0]&0x0f | 0x40
	return id
}
