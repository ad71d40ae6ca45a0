// Package pki reads keys and certificates without losing anything, and re-issues certificates on other
// keys by changing only those parts of their DER that must change.
//
// The standard library's certificate builder is not used: it drops unknown critical
// extensions and keeps a stale subject key identifier. Nor is its parser, which refuses certificates (odd serial
// numbers, duplicate extensions) that do occur in trust bundles.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
)

// ErrUnsupported marks an algorithm or encoding that cannot be regenerated.
var ErrUnsupported = errors.New("unsupported algorithm or encoding")

// KeyID names a key pair: the SHA-256 of the public key's PKIX DER.
type KeyID [sha256.Size]byte

func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// IDOf returns the id of a public key.
func IDOf(public crypto.PublicKey) (KeyID, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return KeyID{}, fmt.Errorf("cannot encode public key: %w", err)
	}
	return sha256.Sum256(der), nil
}

// Algorithm is what a fresh key needs to be like an old one.
type Algorithm struct {
	Name string // RSA, ECDSA or Ed25519
	Bits int    // modulus or curve size
}

func (a Algorithm) String() string {
	if a.Name == "Ed25519" {
		return a.Name
	}
	return fmt.Sprintf("%s-%d", a.Name, a.Bits)
}

// AlgorithmOf describes a public key.
func AlgorithmOf(public crypto.PublicKey) (Algorithm, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return Algorithm{"RSA", key.N.BitLen()}, nil
	case *ecdsa.PublicKey:
		return Algorithm{"ECDSA", key.Curve.Params().BitSize}, nil
	case ed25519.PublicKey:
		return Algorithm{"Ed25519", 256}, nil
	}
	return Algorithm{}, fmt.Errorf("cannot use a %T: %w", public, ErrUnsupported)
}

// Generate makes a key pair with the system's random source.
func Generate(a Algorithm) (crypto.Signer, error) {
	switch a.Name {
	case "RSA":
		return rsa.GenerateKey(rand.Reader, a.Bits)
	case "Ed25519":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case "ECDSA":
		for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			if curve.Params().BitSize == a.Bits {
				return ecdsa.GenerateKey(curve, rand.Reader)
			}
		}
	}
	return nil, fmt.Errorf("cannot generate a key of %s: %w", a, ErrUnsupported)
}

// Form is the encoding in which a key stands somewhere.
type Form string

// The forms of keys.
const (
	PKCS1 Form = "PKCS #1" // RSA, private or public
	PKCS8 Form = "PKCS #8"
	SEC1  Form = "SEC 1"
	PKIX  Form = "PKIX"
)

// ParsePrivateKey reads DER by its content. The PEM label beside it does not count: PKCS #8 under
// the label EC PRIVATE KEY occurs.
func ParsePrivateKey(der []byte) (crypto.Signer, Form, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			_, err := AlgorithmOf(signer.Public())
			return signer, PKCS8, err
		}
		return nil, "", fmt.Errorf("cannot use a %T: %w", key, ErrUnsupported)
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, PKCS1, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, SEC1, nil
	}
	// The parsers' own errors are left out: they may quote parts of the key.
	return nil, "", fmt.Errorf("cannot read private key: %w", ErrUnsupported)
}

// PublicHalf reads the public half of a private key in DER. Of RSA it looks at nothing else: reading all of such a key checks it,
// which takes long.
func PublicHalf(der []byte) (crypto.PublicKey, error) {
	inner := der
	var general struct {
		Version   int
		Algorithm struct {
			ID         asn1.ObjectIdentifier
			Parameters asn1.RawValue `asn1:"optional"`
		}
		Key []byte
	}
	if _, err := asn1.Unmarshal(der, &general); err == nil {
		inner = general.Key
	}
	var numbers struct {
		Version int
		N       *big.Int
		E       int
	}
	if _, err := asn1.Unmarshal(inner, &numbers); err == nil {
		return &rsa.PublicKey{N: numbers.N, E: numbers.E}, nil
	}
	key, _, err := ParsePrivateKey(der)
	if err != nil {
		return nil, err
	}
	return key.Public(), nil
}

// MarshalPrivateKey encodes a key in a form. A form that the key's algorithm does not have (a preserved
// key of another algorithm) becomes PKCS #8.
func MarshalPrivateKey(key crypto.Signer, form Form) ([]byte, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if form == PKCS1 {
			return x509.MarshalPKCS1PrivateKey(k), nil
		}
	case *ecdsa.PrivateKey:
		if form == SEC1 {
			return x509.MarshalECPrivateKey(k)
		}
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// ParsePublicKey reads DER by its content.
func ParsePublicKey(der []byte) (crypto.PublicKey, Form, error) {
	if key, err := x509.ParsePKIXPublicKey(der); err == nil {
		_, err := AlgorithmOf(key)
		return key, PKIX, err
	}
	if key, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return key, PKCS1, nil
	}
	return nil, "", fmt.Errorf("cannot read public key: %w", ErrUnsupported)
}

// MarshalPublicKey encodes a key in a form.
func MarshalPublicKey(key crypto.PublicKey, form Form) ([]byte, error) {
	if k, ok := key.(*rsa.PublicKey); ok && form == PKCS1 {
		return x509.MarshalPKCS1PublicKey(k), nil
	}
	return x509.MarshalPKIXPublicKey(key)
}

// Secrets returns byte strings that occur wherever the private key occurs and nowhere else, for a search:
// RSA's primes and private exponent, the scalar or seed of the others.
func Secrets(key crypto.Signer) [][]byte {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		secrets := [][]byte{k.D.Bytes()}
		for _, prime := range k.Primes {
			secrets = append(secrets, prime.Bytes())
		}
		return secrets
	case *ecdsa.PrivateKey:
		if scalar, err := k.Bytes(); err == nil {
			return [][]byte{scalar}
		}
	case ed25519.PrivateKey:
		return [][]byte{k.Seed()}
	}
	return nil
}
