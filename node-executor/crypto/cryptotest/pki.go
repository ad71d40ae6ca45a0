// Package cryptotest makes small public key infrastructures for tests.
package cryptotest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// Begin and End bound the validity of certificates that a test does not say otherwise about.
var (
	Begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	End   = Begin.AddDate(10, 0, 0)
)

var serials atomic.Int64

// EC returns a new P-256 key.
func EC(t testing.TB) *ecdsa.PrivateKey { return onCurve(t, elliptic.P256()) }

// EC384 returns a new P-384 key.
func EC384(t testing.TB) *ecdsa.PrivateKey { return onCurve(t, elliptic.P384()) }

func onCurve(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Ed returns a new Ed25519 key.
func Ed(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Pair is a certificate and its key.
type Pair struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// Option changes a template before it is signed.
type Option func(*x509.Certificate)

// Valid sets the validity.
func Valid(from, until time.Time) Option {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, until }
}

// Names adds subject alternative names.
func Names(names ...string) Option {
	return func(c *x509.Certificate) {
		for _, name := range names {
			if ip := net.ParseIP(name); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, name)
			}
		}
	}
}

// SubjectKeyID sets the identifier of the own key.
func SubjectKeyID(id []byte) Option { return func(c *x509.Certificate) { c.SubjectKeyId = id } }

// Extension adds one in the place of what would otherwise be made.
func Extension(id asn1.ObjectIdentifier, value []byte) Option {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Value: value})
	}
}

// Organization sets the subject's organization.
func Organization(name string) Option {
	return func(c *x509.Certificate) { c.Subject.Organization = []string{name} }
}

// Authority makes a self-signed certificate authority.
func Authority(t testing.TB, name string, key crypto.Signer, options ...Option) Pair {
	t.Helper()
	template := template(name, options)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	return sign(t, template, Pair{template, key}, key)
}

// Unidentified is the authority as one whose key has no identifier: what it signs has no authority key identifier.
func (issuer Pair) Unidentified() Pair {
	c := *issuer.Certificate
	c.SubjectKeyId = nil
	return Pair{&c, issuer.Key}
}

// Leaf makes a certificate on key that issuer signed.
func (issuer Pair) Leaf(t testing.TB, name string, key crypto.Signer, options ...Option) Pair {
	t.Helper()
	template := template(name, options)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	return sign(t, template, issuer, key)
}

// Intermediate makes an authority that issuer signed; the same name as the issuer's makes a bridge.
func (issuer Pair) Intermediate(t testing.TB, name string, key crypto.Signer, options ...Option) Pair {
	t.Helper()
	template := template(name, options)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	return sign(t, template, issuer, key)
}

func template(name string, options []Option) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1000 + serials.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: Begin, NotAfter: End,
	}
	for _, option := range options {
		option(c)
	}
	return c
}

func sign(t testing.TB, template *x509.Certificate, issuer Pair, key crypto.Signer) Pair {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.Certificate, key.Public(), issuer.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{c, key}
}

// PEM is the certificate's PEM.
func (p Pair) PEM() string { return Block("CERTIFICATE", p.Certificate.Raw) }

// KeyPEM is the key's PEM in the form that is usual for its algorithm.
func (p Pair) KeyPEM() string { return KeyPEM(p.Key) }

// Block is one PEM block.
func Block(label string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
}

// KeyPEM encodes RSA as PKCS #1, EC as SEC 1, Ed25519 as PKCS #8.
func KeyPEM(key crypto.Signer) string {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return Block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			panic(err)
		}
		return Block("EC PRIVATE KEY", der)
	}
	return KeyPEM8(key)
}

// KeyPEM8 encodes a key as PKCS #8.
func KeyPEM8(key crypto.Signer) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return Block("PRIVATE KEY", der)
}

// PublicPEM encodes a public key as PKIX.
func PublicPEM(key crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return Block("PUBLIC KEY", der)
}

// Token makes a JSON Web Token like those of service accounts, with Kubernetes' key id.
func Token(t testing.TB, key crypto.Signer, subject string) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(der)
	algorithm := "RS256"
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		algorithm = "ES256"
	}
	header := fmt.Sprintf(`{"alg":"%s","kid":"%s"}`, algorithm, base64.RawURLEncoding.EncodeToString(id[:]))
	claims, err := json.Marshal(map[string]any{"iss": "kubernetes/serviceaccount", "sub": subject})
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	switch k := key.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, k, sum[:])
		if err = signErr; err == nil {
			signature = make([]byte, 64)
			r.FillBytes(signature[:32])
			s.FillBytes(signature[32:])
		}
	default:
		t.Fatalf("cannot sign a token with a %T", key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}
