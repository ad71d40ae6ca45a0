package crypto_test

import (
	stdcrypto "crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// The weaknesses that were found in the established tool, twenty of them, and the test that says what this engine does:
//
//	 1  a crash leaves a mix                              TestKilledAtEveryStep, TestFixedRandomness, TestForests
//	 2  two certificates on a key                         TestTrees b
//	 3  bridges of a rollover                             TestTrees e
//	 4  one unknown block hides a value                   TestTrees c d h; TestEveryPlace "request and revocation list beside a key"
//	 5  orphans                                           TestOrphan
//	 6  dates from 2050 on                                TestTrees g; TestOddCertificates "valid beyond 2050"
//	 7  text is searched for                              TestTrees j k
//	 8  identifiers of an unknown make                    TestOddCertificates "identifier of an unknown make"
//	 9  documents are written anew                        TestTrees a
//	10  fields of later versions                          crawl.TestUnknownFieldSurvives
//	11  places that are not looked at                     TestEveryPlace, TestKeyStores, TestEncryptionAtRest, rule.TestLogins
//	12  bytes that are no text                            TestTrees o; TestEveryPlace "bytes that are no text beside a key"
//	13  a rule that fits two keys                         TestRuleThatFitsTwoKeys
//	14  forms of keys                                     TestTrees i l; crawl.TestLabels
//	15  tokens of other algorithms, tokens in YAML        TestTokenAlgorithms; TestEveryPlace "token in YAML"
//	16  a key without a certificate                       TestLoneKeys
//	17  private keys in the summary                       TestNoSecretInSummaryOrPlan
//	18  copies in other encodings                         TestEveryPlace "copy in another revision"
//	19  certificates and databases of OVN                 TestEveryPlace "certificate and key of OVN or Multus", "database of OVN"
//	20  a second writer                                   etcd's and files' tests of site.ErrForeignWrite

func p521(t testing.TB) stdcrypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaOf(t testing.TB, bits int) stdcrypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// remade is a certificate with another TBSCertificate, signed again: what no library agrees to make.
func remade(t *testing.T, c *x509.Certificate, issuer stdcrypto.Signer, edit func(members []asn1.RawValue) []asn1.RawValue) string {
	t.Helper()
	var outer struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	check := func(_ []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	check(asn1.Unmarshal(c.Raw, &outer))
	var members []asn1.RawValue
	for rest := outer.TBS.Bytes; len(rest) > 0; {
		var m asn1.RawValue
		next, err := asn1.Unmarshal(rest, &m)
		check(nil, err)
		members, rest = append(members, m), next
	}
	tbs, err := asn1.Marshal(edit(members))
	check(tbs, err)
	sum := sha256.Sum256(tbs)
	signature, err := issuer.Sign(rand.Reader, sum[:], stdcrypto.SHA256)
	check(signature, err)
	outer.TBS, outer.Signature = asn1.RawValue{FullBytes: tbs}, asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err := asn1.Marshal(outer)
	check(der, err)
	return cryptotest.Block("CERTIFICATE", der)
}

// oddity is an authority and a leaf of it, of a kind that libraries refuse or forget.
type oddity struct {
	name            string
	authority, leaf stdcrypto.Signer
	option          cryptotest.Option
	edit            func(members []asn1.RawValue) []asn1.RawValue // of both certificates
}

func oddities(t *testing.T) []oddity {
	return []oddity{
		{name: "P-521", authority: p521(t), leaf: p521(t)},
		{name: "Ed25519", authority: cryptotest.Ed(t), leaf: cryptotest.Ed(t)},
		{name: "RSA-1024", authority: rsaOf(t, 1024), leaf: rsaOf(t, 1024)},
		{name: "SHA-1", authority: cryptotest.RSA(t, 5), leaf: cryptotest.EC(t), option: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }},
		{name: "SHA-512 with PSS", authority: cryptotest.RSA(t, 5), leaf: cryptotest.EC(t), option: func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA512WithRSAPSS }},
		{name: "valid beyond 2050", authority: cryptotest.EC(t), leaf: cryptotest.EC(t), option: cryptotest.Valid(cryptotest.Begin, time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC))},
		{name: "identifier of an unknown make", authority: cryptotest.EC(t), leaf: cryptotest.EC(t), option: cryptotest.SubjectKeyID([]byte("chosen by someone"))},
		{name: "version 1", authority: cryptotest.EC(t), leaf: cryptotest.EC(t), edit: func(m []asn1.RawValue) []asn1.RawValue { return m[1:7] }},
		{name: "negative serial number", authority: cryptotest.EC(t), leaf: cryptotest.EC(t), edit: func(m []asn1.RawValue) []asn1.RawValue {
			m[1] = asn1.RawValue{Tag: asn1.TagInteger, Bytes: []byte{0x85, 0x01}}
			return m
		}},
		{name: "serial number zero", authority: cryptotest.EC(t), leaf: cryptotest.EC(t), edit: func(m []asn1.RawValue) []asn1.RawValue {
			m[1] = asn1.RawValue{Tag: asn1.TagInteger, Bytes: []byte{0}}
			return m
		}},
	}
}

func TestOddCertificates(t *testing.T) {
	for _, o := range oddities(t) {
		t.Run(o.name, func(t *testing.T) {
			var options []cryptotest.Option
			if o.option != nil {
				options = append(options, o.option)
			}
			ca := cryptotest.Authority(t, "odd", o.authority, options...)
			leaf := ca.Leaf(t, "odd leaf", o.leaf, options...)
			s := newSmall(t)
			s.tree["odd/ca.crt"], s.tree["odd/tls.crt"] = ca.PEM(), leaf.PEM()
			s.tree["odd/ca.key"], s.tree["odd/tls.key"] = ca.KeyPEM(), leaf.KeyPEM()
			if o.edit != nil {
				s.tree["odd/ca.crt"], s.tree["odd/tls.crt"] = remade(t, ca.Certificate, ca.Key, o.edit), remade(t, leaf.Certificate, ca.Key, o.edit)
			}
			after, summary := regenerate(t, s.tree, plan.Rules{})
			s.consistent(t, after)
			if summary.Keys[plan.Fresh] != 5 || summary.Certificates[plan.Reissued] != 4 {
				t.Errorf("got keys %v and certificates %v, want all anew", summary.Keys, summary.Certificates)
			}
			dir := after.write(t)
			// Go's verifier refuses some of them, whoever made them.
			out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-no_check_time", "-auth_level", "0", "-CAfile", filepath.Join(dir, "odd/ca.crt"), filepath.Join(dir, "odd/tls.crt")).CombinedOutput()
			if err != nil {
				t.Errorf("openssl: %v: %s", err, out)
			}
			for _, name := range []string{"odd/ca", "odd/tls"} {
				c, err := pki.ParseCertificate(body(t, after[name+".crt"]))
				if err != nil {
					t.Fatal(err)
				}
				key, _, err := pki.ParsePrivateKey(body(t, after[name+".key"]))
				if err != nil {
					t.Fatal(err)
				}
				if id, err := pki.IDOf(key.Public()); err != nil || id != c.KeyID {
					t.Errorf("%s: certificate and key are no pair", name)
				}
				if c.Serial.Sign() <= 0 {
					t.Errorf("%s: got serial number %s", name, c.Serial)
				}
			}
		})
	}
}

// One rule must mean one key: the same name on two is a question, not an answer.
func TestRuleThatFitsTwoKeys(t *testing.T) {
	s := newSmall(t)
	other := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	s.tree["other/ca.crt"], s.tree["other/ca.key"] = other.PEM(), other.KeyPEM()
	rules := plan.Rules{KeepKeys: []plan.KeepKey{{CommonName: "ca", Key: cryptotest.EC(t)}}}
	if problems := refused(t, s.tree, rules); len(problems) != 1 || !strings.Contains(problems[0].What, "2 keys have that name") {
		t.Errorf("got problems %v", problems)
	}
	rules.KeepKeys[0].Site = "/etc/other/ca.key"
	after, summary := regenerate(t, s.tree, rules)
	s.consistent(t, after)
	if summary.Keys[plan.Given] != 1 || certificate(t, after["pki/ca.crt"]).PublicKeyAlgorithm != x509.RSA {
		t.Errorf("got keys %v; the rule's site does not tell which key is meant", summary.Keys)
	}
}

func TestTokenAlgorithms(t *testing.T) {
	s := newSmall(t)
	signer := cryptotest.EC(t)
	s.tree["ec/sa.key"], s.tree["ec/sa.pub"] = cryptotest.KeyPEM(signer), cryptotest.PublicPEM(signer.Public())
	s.tree["ec/token"] = cryptotest.Token(t, signer, "system:serviceaccount:a:ec") + "\n"
	s.tree["foreign/token"] = cryptotest.Token(t, cryptotest.EC(t), "of another issuer")
	after, summary := regenerate(t, s.tree, plan.Rules{})
	s.consistent(t, after)
	public, _, err := pki.ParsePublicKey(body(t, after["ec/sa.pub"]))
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := token.Parse([]byte(strings.TrimSpace(after["ec/token"])))
	if err != nil {
		t.Fatal(err)
	}
	if renewed.Algorithm != "ES256" || !renewed.SignedBy(public) || renewed.SignedBy(signer.Public()) {
		t.Error("the token is not signed by its key's successor")
	}
	if after["foreign/token"] != s.tree["foreign/token"] || summary.Tokens[plan.Kept] != 1 || len(summary.Notes) != 1 {
		t.Errorf("got tokens %v and notes %v, want the foreign one kept and reported", summary.Tokens, summary.Notes)
	}
}

// A private key needs no certificate to be replaced.
func TestLoneKeys(t *testing.T) {
	s := newSmall(t)
	keys := []stdcrypto.Signer{cryptotest.EC(t), p521(t), cryptotest.Ed(t), cryptotest.RSA(t, 6)}
	for i, key := range keys {
		s.tree[fmt.Sprint("lone/", i)], s.tree[fmt.Sprint("lone/8-", i)] = cryptotest.KeyPEM(key), cryptotest.KeyPEM8(key)
	}
	after, _ := regenerate(t, s.tree, plan.Rules{})
	s.consistent(t, after)
	for i, old := range keys {
		first, _, err := pki.ParsePrivateKey(body(t, after[fmt.Sprint("lone/", i)]))
		if err != nil {
			t.Fatal(err)
		}
		second, _, err := pki.ParsePrivateKey(body(t, after[fmt.Sprint("lone/8-", i)]))
		if err != nil {
			t.Fatal(err)
		}
		of := func(key stdcrypto.Signer) pki.KeyID {
			id, err := pki.IDOf(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		if of(first) == of(old) || of(first) != of(second) {
			t.Errorf("key %d was kept, or became two", i)
		}
	}
}
