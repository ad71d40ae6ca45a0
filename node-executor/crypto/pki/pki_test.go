package pki_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

func parse(t testing.TB, der []byte) *pki.Certificate {
	t.Helper()
	c, err := pki.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// odd is a certificate with everything that a template builder loses: an unknown critical extension, several
// values in one name part, odd string types, many kinds of alternative names.
func odd(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	value, err := asn1.Marshal("unknown to everybody")
	if err != nil {
		t.Fatal(err)
	}
	names := pkix.RDNSequence{
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 6}, Value: "DE"}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "one"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "two"}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte("odd@name")}}},
	}
	subject, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), RawSubject: subject, NotBefore: cryptotest.Begin, NotAfter: cryptotest.End,
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 3, KeyUsage: x509.KeyUsageCertSign, EmailAddresses: []string{"a@b.example"},
		DNSNames: []string{"odd.example"}, PermittedDNSDomains: []string{"example"}, PermittedDNSDomainsCritical: true,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: value}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// What is not needed is not read: that it is odd does not make a certificate unread.
func TestOddBasicConstraints(t *testing.T) {
	key := cryptotest.EC(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "odd"}, NotBefore: cryptotest.Begin, NotAfter: cryptotest.End,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte("odd")}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c := parse(t, der); c.CommonName != "odd" {
		t.Errorf("got name %q", c.CommonName)
	}
}

// PKCS #1 signatures are the same every time: a re-issue that changes nothing must give the same bytes.
func TestReissueOfNothingChangesNothing(t *testing.T) {
	key := cryptotest.RSA(t, 0)
	for name, der := range map[string][]byte{
		"odd":       odd(t, key),
		"authority": cryptotest.Authority(t, "ca", key).Certificate.Raw,
		"leaf":      cryptotest.Authority(t, "ca", key).Leaf(t, "leaf", cryptotest.EC(t), cryptotest.Names("a.example", "192.0.2.1", "2001:db8::1")).Certificate.Raw,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(t, der).Reissue(pki.Reissue{Signer: key, Name: func(s string) string { return s }})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, der) {
				t.Errorf("got\n%x\nwant\n%x", got, der)
			}
		})
	}
}

func TestReissueKeepsWhatNobodyKnows(t *testing.T) {
	old := parse(t, odd(t, cryptotest.RSA(t, 0)))
	renewed := cryptotest.EC(t)
	der, err := old.Reissue(pki.Reissue{
		Signer: renewed, PublicKey: renewed.Public(), Serial: big.NewInt(99),
		Name: func(s string) string {
			return map[string]string{"odd@name": "even@name", "odd.example": "even.example"}[s]
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, der)
	if !got.SignedBy(renewed.Public()) || got.Serial.Int64() != 99 || got.CommonName != "even@name" {
		t.Errorf("got serial %s, name %s", got.Serial, got.CommonName)
	}
	if len(got.RawSubject) != len(old.RawSubject)+1 || !bytes.Contains(got.RawSubject, []byte("\x16\x09even@name")) {
		t.Errorf("got subject\n%x\nwant one byte more than\n%x", got.RawSubject, old.RawSubject)
	}
	a, b := old.Extensions(), got.Extensions()
	if len(a) != len(b) {
		t.Fatalf("got extensions %v, want %v", b, a)
	}
	for i := range a {
		if a[i].ID != b[i].ID || a[i].Critical != b[i].Critical {
			t.Errorf("got extension %v, want %v", b[i], a[i])
		}
	}
	if !bytes.Contains(der, []byte("unknown to everybody")) || !bytes.Contains(der, []byte("a@b.example")) {
		t.Error("values of extensions are gone")
	}
}

func TestSubjectKeyIDs(t *testing.T) {
	rsa, ec := cryptotest.RSA(t, 0), cryptotest.EC(t)
	for _, test := range []struct {
		name   string
		key    crypto.Signer
		method func(spki, bits, modulus []byte) []byte
		known  bool
	}{
		{"RFC 5280", rsa, func(_, bits, _ []byte) []byte { s := sha1.Sum(bits); return s[:] }, true},
		{"RFC 7093", ec, func(_, bits, _ []byte) []byte { s := sha256.Sum256(bits); return s[:20] }, true},
		{"library-go, SHA-1", rsa, func(_, _, modulus []byte) []byte { s := sha1.Sum(modulus); return s[:] }, true},
		{"library-go, SHA-256", rsa, func(_, _, modulus []byte) []byte { s := sha256.Sum256(modulus); return s[:20] }, true},
		{"whole SPKI", ec, func(spki, _, _ []byte) []byte { s := sha1.Sum(spki); return s[:] }, true},
		{"64 bits", ec, func(_, bits, _ []byte) []byte {
			s := sha1.Sum(bits)
			s[12] = s[12]&0x0f | 0x40
			return s[12:]
		}, true},
		{"made up", ec, func(_, _, _ []byte) []byte { return []byte("made up") }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			make := func(key crypto.Signer) []byte {
				spki, err := x509.MarshalPKIXPublicKey(key.Public())
				if err != nil {
					t.Fatal(err)
				}
				var info struct {
					Algorithm asn1.RawValue
					Key       asn1.BitString
				}
				if _, err := asn1.Unmarshal(spki, &info); err != nil {
					t.Fatal(err)
				}
				var modulus []byte
				if key == crypto.Signer(rsa) {
					modulus = rsa.N.Bytes()
				} else if other := cryptotest.RSA(t, 1); key == crypto.Signer(other) {
					modulus = other.N.Bytes()
				}
				return test.method(spki, info.Key.Bytes, modulus)
			}
			renewed := crypto.Signer(cryptotest.RSA(t, 1))
			if test.key == crypto.Signer(ec) {
				renewed = cryptotest.EC(t)
			}
			got, known := pki.NewSubjectKeyID(make(test.key), test.key.Public(), renewed.Public())
			if known != test.known {
				t.Errorf("known %t, want %t", known, test.known)
			}
			if test.known && !bytes.Equal(got, make(renewed)) {
				t.Errorf("got %x, want %x", got, make(renewed))
			}
			if len(got) == 0 {
				t.Error("got no identifier")
			}
		})
	}
}

// An authority key identifier may also name the issuer's certificate by name and serial number.
func TestAuthoritySerial(t *testing.T) {
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	name, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: ca.Certificate.RawSubject})
	if err != nil {
		t.Fatal(err)
	}
	value, err := asn1.Marshal(struct {
		ID     []byte        `asn1:"tag:0"`
		Issuer asn1.RawValue `asn1:"tag:1"`
		Serial *big.Int      `asn1:"tag:2"`
	}{[]byte("id"), asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: name}, ca.Certificate.SerialNumber})
	if err != nil {
		t.Fatal(err)
	}
	leaf := ca.Leaf(t, "leaf", cryptotest.EC(t), func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 35}, Value: value}}
	})
	old := parse(t, leaf.Certificate.Raw)
	if string(old.AuthorityKeyID) != "id" || old.AuthoritySerial.Cmp(ca.Certificate.SerialNumber) != 0 {
		t.Fatalf("got authority %q, %s", old.AuthorityKeyID, old.AuthoritySerial)
	}
	der, err := old.Reissue(pki.Reissue{
		Signer: ca.Key, AuthorityKeyID: []byte("another id"), AuthoritySerial: big.NewInt(1 << 40),
		Name: func(s string) string {
			if s == "ca" {
				return "renamed ca"
			}
			return s
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, der)
	if string(got.AuthorityKeyID) != "another id" || got.AuthoritySerial.Int64() != 1<<40 {
		t.Errorf("got authority %q, %s", got.AuthorityKeyID, got.AuthoritySerial)
	}
	if bytes.Count(der, []byte("renamed ca")) != 2 {
		t.Errorf("the issuer is not renamed in both places")
	}
}

func TestSignatures(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa := cryptotest.RSA(t, 0)
	for _, test := range []struct {
		name string
		old  crypto.Signer
		with x509.SignatureAlgorithm
		key  crypto.Signer
		want x509.SignatureAlgorithm
	}{
		{"RSA stays", rsa, x509.SHA512WithRSA, cryptotest.RSA(t, 1), x509.SHA512WithRSA},
		{"PSS stays", rsa, x509.SHA384WithRSAPSS, cryptotest.RSA(t, 1), x509.SHA384WithRSAPSS},
		{"SHA-1 becomes SHA-256", rsa, x509.SHA1WithRSA, cryptotest.RSA(t, 1), x509.SHA256WithRSA},
		{"RSA becomes P-384", rsa, x509.SHA256WithRSA, p384, x509.ECDSAWithSHA384},
		{"P-384 becomes P-521", p384, x509.ECDSAWithSHA384, p521, x509.ECDSAWithSHA384},
		{"RSA becomes P-521", rsa, x509.SHA256WithRSA, p521, x509.ECDSAWithSHA512},
		{"P-384 becomes RSA", p384, x509.ECDSAWithSHA384, rsa, x509.SHA256WithRSA},
		{"Ed25519 stays", cryptotest.Ed(t), x509.PureEd25519, cryptotest.Ed(t), x509.PureEd25519},
	} {
		t.Run(test.name, func(t *testing.T) {
			old := cryptotest.Authority(t, "ca", test.old, func(c *x509.Certificate) { c.SignatureAlgorithm = test.with })
			c := parse(t, old.Certificate.Raw)
			if !c.SignedBy(test.old.Public()) || c.SignedBy(cryptotest.EC(t).Public()) {
				t.Error("old signature is misjudged")
			}
			der, err := c.Reissue(pki.Reissue{Signer: test.key, PublicKey: test.key.Public()})
			if err != nil {
				t.Fatal(err)
			}
			got, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if got.SignatureAlgorithm != test.want {
				t.Errorf("got %s, want %s", got.SignatureAlgorithm, test.want)
			}
			if err := got.CheckSignature(got.SignatureAlgorithm, got.RawTBSCertificate, got.Signature); err != nil {
				t.Error(err)
			}
			openssl(t, der)
		})
	}
}

// openssl asks another implementation whether a self-signed certificate is in order.
func openssl(t *testing.T, der []byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-check_ss_sig", "-no_check_time", "-CAfile", path, path).CombinedOutput(); err != nil {
		t.Errorf("openssl: %v: %s", err, out)
	}
}

func TestForms(t *testing.T) {
	der := func(text string) []byte { block, _ := pem.Decode([]byte(text)); return block.Bytes }
	for _, test := range []struct {
		name string
		der  []byte
		form pki.Form
	}{
		{"PKCS #1", der(cryptotest.KeyPEM(cryptotest.RSA(t, 0))), pki.PKCS1},
		{"PKCS #8 RSA", der(cryptotest.KeyPEM8(cryptotest.RSA(t, 0))), pki.PKCS8},
		{"SEC 1", der(cryptotest.KeyPEM(cryptotest.EC(t))), pki.SEC1},
		{"PKCS #8 Ed25519", der(cryptotest.KeyPEM(cryptotest.Ed(t))), pki.PKCS8},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, form, err := pki.ParsePrivateKey(test.der)
			if err != nil || form != test.form {
				t.Fatalf("got form %s, error %v; want %s", form, err, test.form)
			}
			again, err := pki.MarshalPrivateKey(key, form)
			if err != nil || !bytes.Equal(again, test.der) {
				t.Errorf("does not come back as it was: %v", err)
			}
		})
	}
	if der, err := pki.MarshalPrivateKey(cryptotest.EC(t), pki.PKCS1); err != nil {
		t.Error(err)
	} else if _, form, err := pki.ParsePrivateKey(der); err != nil || form != pki.PKCS8 {
		t.Errorf("a key that has no such form: got %s, %v; want PKCS #8", form, err)
	}
}

func TestGenerate(t *testing.T) {
	for _, a := range []pki.Algorithm{{Name: "RSA", Bits: 1024}, {Name: "ECDSA", Bits: 224}, {Name: "ECDSA", Bits: 256}, {Name: "ECDSA", Bits: 384}, {Name: "ECDSA", Bits: 521}, {Name: "Ed25519", Bits: 256}} {
		t.Run(a.String(), func(t *testing.T) {
			key, err := pki.Generate(a)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := pki.AlgorithmOf(key.Public()); err != nil || got != a {
				t.Errorf("got %s, %v", got, err)
			}
			if len(pki.Secrets(key)) == 0 {
				t.Error("nothing to search for")
			}
		})
	}
	if _, err := pki.Generate(pki.Algorithm{Name: "DSA", Bits: 1024}); err == nil {
		t.Error("an unknown algorithm was accepted")
	}
}

func TestValidityEncoding(t *testing.T) {
	key := cryptotest.EC(t)
	c := parse(t, cryptotest.Authority(t, "ca", key).Certificate.Raw)
	from, until := time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	der, err := c.Reissue(pki.Reissue{Signer: key, NotBefore: from, NotAfter: until})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(der, []byte("\x17\x0d491231235959Z\x18\x0f20500101000000Z")) {
		t.Error("UTCTime ends and GeneralizedTime begins with 2050")
	}
}

// Whatever parses is re-issued on the same key without a change but the signature.
func FuzzParseCertificate(f *testing.F) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	f.Add(odd(f, key))
	f.Add(cryptotest.Authority(f, "ca", key).Leaf(f, "leaf", key, cryptotest.Names("a", "192.0.2.1")).Certificate.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := pki.ParseCertificate(der)
		if err != nil {
			return
		}
		again, err := c.Reissue(pki.Reissue{Signer: key})
		if err != nil {
			return
		}
		renewed, err := pki.ParseCertificate(again)
		if err != nil {
			t.Fatal(err)
		}
		if !renewed.SignedBy(key.Public()) || !bytes.Equal(renewed.RawSubject, c.RawSubject) || renewed.KeyID != c.KeyID || renewed.Serial.Cmp(c.Serial) != 0 {
			t.Error("a re-issue changed more than the signature")
		}
	})
}

// The public half is the same whether all of a private key is read or only that.
func TestPublicHalf(t *testing.T) {
	for _, key := range []crypto.Signer{cryptotest.RSA(t, 0), cryptotest.EC(t), cryptotest.EC384(t), cryptotest.Ed(t)} {
		for _, form := range []pki.Form{pki.PKCS1, pki.SEC1, pki.PKCS8} {
			der, err := pki.MarshalPrivateKey(key, form)
			if err != nil {
				t.Fatal(err)
			}
			half, err := pki.PublicHalf(der)
			if public := key.Public().(interface{ Equal(crypto.PublicKey) bool }); err != nil || !public.Equal(half) {
				t.Errorf("got %v, %v as the public half of a %T in %s", half, err, key, form)
			}
		}
	}
	if half, err := pki.PublicHalf([]byte("no key")); err == nil {
		t.Errorf("got %v of what is no key", half)
	}
}
