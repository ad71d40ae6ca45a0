package pki_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/test/lab/cluster/pki"
)

func TestIssue(t *testing.T) {
	for _, alg := range []pki.Algorithm{pki.RSA2048, pki.P256, pki.P384} {
		t.Run(string(alg), func(t *testing.T) {
			authority, err := pki.NewAuthority(pkix.Name{CommonName: "signer"}, newKey(t, alg), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			pair, err := authority.Issue(pki.Leaf{
				Subject: pkix.Name{CommonName: "server"}, Hosts: []string{"api.lab.example", "192.0.2.1"}, Client: true, Validity: time.Minute,
			}, newKey(t, alg))
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AddCert(authority.Cert)
			for _, host := range []string{"api.lab.example", "192.0.2.1"} {
				if _, err := pair.Cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
					t.Errorf("as server %s: %v", host, err)
				}
			}
			if _, err := pair.Cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Errorf("as client: %v", err)
			}
			if _, err := pair.Cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other.lab.example"}); err == nil {
				t.Error("valid for a name it was not issued for")
			}
			if string(pair.Cert.AuthorityKeyId) != string(authority.Cert.SubjectKeyId) || len(authority.Cert.SubjectKeyId) == 0 {
				t.Error("certificate does not refer to its signer's key")
			}
		})
	}
}

func TestEncoding(t *testing.T) {
	authority, err := pki.NewAuthority(pkix.Name{CommonName: "signer"}, newKey(t, pki.RSA2048), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := authority.Issue(pki.Leaf{Subject: pkix.Name{CommonName: "client"}, Client: true, Validity: time.Hour}, newKey(t, pki.P256))
	if err != nil {
		t.Fatal(err)
	}
	public, err := pki.PublicPEM("RSA PUBLIC KEY", authority.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"authority's key", keyPEM(t, authority), "RSA PRIVATE KEY"},
		{"leaf's key", keyPEM(t, leaf), "EC PRIVATE KEY"},
		{"authority's chain", authority.ChainPEM(), "CERTIFICATE"},
		{"leaf", leaf.CertPEM(), "CERTIFICATE"},
		{"leaf's chain", leaf.ChainPEM(), "CERTIFICATE CERTIFICATE"},
		{"public key", public, "RSA PUBLIC KEY"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var labels []string
			for block, rest := pem.Decode(test.data); block != nil; block, rest = pem.Decode(rest) {
				labels = append(labels, block.Type)
			}
			if got := strings.Join(labels, " "); got != test.want {
				t.Errorf("blocks %q, want %q", got, test.want)
			}
		})
	}
}

func newKey(t *testing.T, alg pki.Algorithm) crypto.Signer {
	t.Helper()
	key, err := pki.NewKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyPEM(t *testing.T, pair *pki.Pair) []byte {
	t.Helper()
	data, err := pair.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestUnknownAlgorithm(t *testing.T) {
	if _, err := pki.NewKey("ROT13"); err == nil {
		t.Error("made a key of an unknown algorithm")
	}
}

func TestSignToken(t *testing.T) {
	key, err := pki.NewKey(pki.RSA2048)
	if err != nil {
		t.Fatal(err)
	}
	token, err := pki.SignToken(key.(*rsa.PrivateKey), map[string]any{"sub": "me"})
	if err != nil {
		t.Fatal(err)
	}
	if parts := strings.Split(token, "."); len(parts) != 3 || parts[1] != "eyJzdWIiOiJtZSJ9" {
		t.Errorf("token %q is not header, claims, signature", token)
	}
}
