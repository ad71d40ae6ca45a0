// Package token reads JSON Web Tokens and signs them anew on another key.
//
// Only the signature and the key id of the header change. The payload of a service account token must stay
// byte for byte what it was, and so must the order of the header's fields, which a JOSE library would not keep.
package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/jsonfield"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

var (
	// ErrMalformed marks what is not a token in compact form.
	ErrMalformed = errors.New("not a JSON Web Token in compact form")
	// ErrAlgorithm marks a key that cannot sign with the token's algorithm.
	ErrAlgorithm = errors.New("key does not fit the token's algorithm")
)

// ID names a token: the SHA-256 of its compact form.
type ID [sha256.Size]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Token is a JSON Web Token.
type Token struct {
	ID        ID
	Algorithm string // RS256, ES384, EdDSA …
	KeyID     string // the header's kid; "" when absent

	header    []byte // decoded
	payload   string // encoded
	signature []byte
}

// Parse reads the compact form.
func Parse(compact []byte) (*Token, error) {
	parts := strings.Split(string(compact), ".")
	if len(parts) != 3 {
		return nil, ErrMalformed
	}
	header, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return nil, ErrMalformed
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, ErrMalformed
	}
	var fields struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
	}
	if json.Unmarshal(header, &fields) != nil {
		return nil, ErrMalformed
	}
	return &Token{
		ID: sha256.Sum256(compact), Algorithm: fields.Algorithm, KeyID: fields.KeyID,
		header: header, payload: parts[1], signature: signature,
	}, nil
}

// KeyIDOf is the kid that Kubernetes gives to a key: base64url of the SHA-256 of its PKIX DER.
func KeyIDOf(id pki.KeyID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// digest returns the hash of an algorithm and the digest of the signed text, which for EdDSA is the text itself.
func digest(algorithm string, text []byte) (crypto.Hash, []byte, error) {
	var hash crypto.Hash
	switch {
	case algorithm == "EdDSA":
		return 0, text, nil
	case strings.HasSuffix(algorithm, "S256"):
		hash = crypto.SHA256
	case strings.HasSuffix(algorithm, "S384"):
		hash = crypto.SHA384
	case strings.HasSuffix(algorithm, "S512"):
		hash = crypto.SHA512
	default:
		return 0, nil, ErrAlgorithm
	}
	h := hash.New()
	h.Write(text)
	return hash, h.Sum(nil), nil
}

func (t *Token) signedText(header []byte) []byte {
	return []byte(base64.RawURLEncoding.EncodeToString(header) + "." + t.payload)
}

// SignedBy tells whether the token's signature is the key's.
func (t *Token) SignedBy(public crypto.PublicKey) bool {
	hash, sum, err := digest(t.Algorithm, t.signedText(t.header))
	if err != nil {
		return false
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		switch t.Algorithm[:2] {
		case "RS":
			return rsa.VerifyPKCS1v15(key, hash, sum, t.signature) == nil
		case "PS":
			return rsa.VerifyPSS(key, hash, sum, t.signature, nil) == nil
		}
	case *ecdsa.PublicKey:
		size := (key.Params().BitSize + 7) / 8
		if t.Algorithm != ecdsaAlgorithm(key) || len(t.signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(t.signature[:size]), new(big.Int).SetBytes(t.signature[size:])
		return ecdsa.Verify(key, sum, r, s)
	case ed25519.PublicKey:
		return t.Algorithm == "EdDSA" && ed25519.Verify(key, sum, t.signature)
	}
	return false
}

// ecdsaAlgorithm is the one algorithm that fits a curve (RFC 7518, section 3.4).
func ecdsaAlgorithm(key *ecdsa.PublicKey) string {
	return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Params().BitSize]
}

// Resign returns the compact form signed by another key of the same kind. A header whose kid is that of the old key
// gets that of the new one; another kid is kept.
func (t *Token) Resign(old pki.KeyID, key crypto.Signer) ([]byte, error) {
	id, err := pki.IDOf(key.Public())
	if err != nil {
		return nil, err
	}
	header, err := t.renamed(KeyIDOf(old), KeyIDOf(id))
	if err != nil {
		return nil, fmt.Errorf("cannot sign token %s: %w", t.ID, err)
	}
	text := t.signedText(header)
	hash, sum, err := digest(t.Algorithm, text)
	if err != nil {
		return nil, fmt.Errorf("cannot sign token %s with %s: %w", t.ID, t.Algorithm, err)
	}
	signature, err := t.sign(key, hash, sum)
	if err != nil {
		return nil, fmt.Errorf("cannot sign token %s with %s: %w", t.ID, t.Algorithm, err)
	}
	return append(append(text, '.'), base64.RawURLEncoding.EncodeToString(signature)...), nil
}

// renamed is the header with another kid where it has the old one. Another member may have the same value.
func (t *Token) renamed(old, renewed string) ([]byte, error) {
	fields, err := jsonfield.Parse(t.header)
	if err != nil {
		return nil, ErrMalformed
	}
	if fields["/kid"].Text != old {
		return t.header, nil
	}
	edits, err := fields.Set(t.header, "/kid", renewed)
	if err != nil {
		return nil, err
	}
	return splice.Apply(t.header, edits)
}

func (t *Token) sign(key crypto.Signer, hash crypto.Hash, sum []byte) ([]byte, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		switch t.Algorithm[:2] {
		case "RS":
			return rsa.SignPKCS1v15(rand.Reader, k, hash, sum)
		case "PS":
			return rsa.SignPSS(rand.Reader, k, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	case *ecdsa.PrivateKey:
		if t.Algorithm != ecdsaAlgorithm(&k.PublicKey) {
			return nil, ErrAlgorithm
		}
		r, s, err := ecdsa.Sign(rand.Reader, k, sum)
		if err != nil {
			return nil, err
		}
		size := (k.Params().BitSize + 7) / 8
		signature := make([]byte, 2*size)
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
		return signature, nil
	case ed25519.PrivateKey:
		if t.Algorithm == "EdDSA" {
			return ed25519.Sign(k, sum), nil
		}
	}
	return nil, ErrAlgorithm
}

// SamePayload tells whether two tokens carry the same claims, byte for byte.
func (t *Token) SamePayload(other *Token) bool { return t.payload == other.payload }

// Issuer is the claim iss; "" when there is none.
func (t *Token) Issuer() string {
	var claims struct {
		Issuer string `json:"iss"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(t.payload)
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}
