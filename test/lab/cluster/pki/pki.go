// Package pki makes the certificate authorities, certificates and keys of a lab
// cluster in the shapes that OKD's operators give them, so that what regenerates
// cryptography meets on the lab's disks what it would meet on a cluster's:
//
//   - RSA keys as PKCS#1 ("RSA PRIVATE KEY") and elliptic ones as SEC1 ("EC
//     PRIVATE KEY"), as openshift/library-go writes them;
//   - a serving certificate's file carries the certificate and then its signer's;
//   - authorities carry a subject key identifier, and what they issue refers to it.
//
// Everything is generated, nothing is copied from a cluster.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// Algorithm names a kind of key.
type Algorithm string

// The kinds of key that OKD uses for its own certificates.
const (
	RSA2048 Algorithm = "RSA-2048"
	RSA4096 Algorithm = "RSA-4096"
	P256    Algorithm = "P-256"
	P384    Algorithm = "P-384"
)

// backdate is how long before its making a certificate is valid, so that clocks
// that are slightly behind accept it.
const backdate = time.Minute

// NewKey generates a private key.
func NewKey(alg Algorithm) (crypto.Signer, error) {
	switch alg {
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return nil, fmt.Errorf("cannot generate key: unknown algorithm %q", alg)
}

// PrivatePEM encodes an RSA key as PKCS#1 and an elliptic one as SEC1.
func PrivatePEM(key crypto.Signer) ([]byte, error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k)), nil
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return nil, fmt.Errorf("cannot encode key: %w", err)
		}
		return encode("EC PRIVATE KEY", der), nil
	}
	return nil, fmt.Errorf("cannot encode key: unknown type %T", key)
}

// PublicPEM encodes the public half of key as PKIX under the given PEM label,
// which is "PUBLIC KEY" by the book.
func PublicPEM(label string, key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("cannot encode public key: %w", err)
	}
	return encode(label, der), nil
}

// A Pair is a certificate with its private key. Pairs do not change once made
// and may be shared between goroutines.
type Pair struct {
	Cert *x509.Certificate
	Key  crypto.Signer
	// Signer issued Cert; nil when Cert is an authority of its own.
	Signer *Pair
}

// CertPEM is the certificate alone.
func (p *Pair) CertPEM() []byte { return encode("CERTIFICATE", p.Cert.Raw) }

// ChainPEM is the certificate followed by its signer's, if another issued it.
func (p *Pair) ChainPEM() []byte {
	if p.Signer == nil {
		return p.CertPEM()
	}
	return slices.Concat(p.CertPEM(), p.Signer.CertPEM())
}

// KeyPEM is the private key, as [PrivatePEM] encodes it.
func (p *Pair) KeyPEM() ([]byte, error) { return PrivatePEM(p.Key) }

// NewAuthority makes a self-signed certificate authority called subject.
func NewAuthority(subject pkix.Name, key crypto.Signer, validity time.Duration) (*Pair, error) {
	template := &x509.Certificate{
		Subject:               subject,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	return issue(template, nil, key, validity)
}

// Leaf describes a certificate for an authority to issue.
type Leaf struct {
	Subject pkix.Name
	// Hosts are the names and addresses it is valid for as a server.
	Hosts []string
	// Client says that it is valid as a client.
	Client   bool
	Validity time.Duration
}

// Issue makes a certificate on key that p signs.
func (p *Pair) Issue(leaf Leaf, key crypto.Signer) (*Pair, error) {
	template := &x509.Certificate{
		Subject:               leaf.Subject,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		BasicConstraintsValid: true,
	}
	if leaf.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if len(leaf.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range leaf.Hosts {
		// Addresses are put among the names too, as library-go does for clients
		// that compare an address with the names.
		template.DNSNames = append(template.DNSNames, host)
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		}
	}
	return issue(template, p, key, leaf.Validity)
}

func issue(template *x509.Certificate, signer *Pair, key crypto.Signer, validity time.Duration) (*Pair, error) {
	// 63 bits: positive, and far fewer than the 20 octets that RFC 5280 allows.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return nil, fmt.Errorf("cannot draw serial number: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	now := time.Now().UTC().Truncate(time.Second)
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(validity)
	parent, parentKey := template, key
	if signer != nil {
		parent, parentKey = signer.Cert, signer.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, fmt.Errorf("cannot issue certificate %q: %w", template.Subject, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read certificate %q: %w", template.Subject, err)
	}
	return &Pair{Cert: cert, Key: key, Signer: signer}, nil
}

func encode(label string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
}
