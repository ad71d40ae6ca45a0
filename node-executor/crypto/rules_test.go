package crypto_test

import (
	"bytes"
	"context"
	stdcrypto "crypto"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// A client of the old cluster trusts its authority. With the authority's key kept, the new cluster's serving
// certificate verifies under the client's own copy of the old certificate.
func TestKeptKey(t *testing.T) {
	for _, test := range []struct {
		name   string
		target cryptotest.Pair // the old cluster's authority
		ski    bool            // the rule names the identifier
	}{
		{name: "of the same algorithm", target: cryptotest.Authority(t, "ca", cryptotest.RSA(t, 3))},
		{name: "of another algorithm", target: cryptotest.Authority(t, "ca", cryptotest.EC(t))},
		{
			name: "with an identifier made in another way", ski: true,
			target: cryptotest.Authority(t, "ca", cryptotest.RSA(t, 3), cryptotest.SubjectKeyID([]byte("a very own identifier"))),
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSmall(t)
			rule := plan.KeepKey{CommonName: "ca", Key: test.target.Key}
			if test.ski {
				rule.SubjectKeyID = test.target.Certificate.SubjectKeyId
			}
			after, summary := regenerate(t, s.tree, plan.Rules{KeepKeys: []plan.KeepKey{rule}})
			s.consistent(t, after)
			verifies(t, certificate(t, after["pki/tls.crt"]), test.target.PEM())
			pair(t, after, "pki/ca.crt", "pki/ca.key")
			authority := certificate(t, after["pki/ca.crt"])
			if !bytes.Equal(authority.SubjectKeyId, test.target.Certificate.SubjectKeyId) {
				t.Errorf("got identifier %x, want %x", authority.SubjectKeyId, test.target.Certificate.SubjectKeyId)
			}
			if leaf := certificate(t, after["pki/tls.crt"]); !bytes.Equal(leaf.AuthorityKeyId, test.target.Certificate.SubjectKeyId) {
				t.Errorf("leaf names issuer %x, want %x", leaf.AuthorityKeyId, test.target.Certificate.SubjectKeyId)
			}
			if summary.Keys[plan.Given] != 1 {
				t.Errorf("got keys %v, want one given", summary.Keys)
			}
		})
	}
}

// The authority of the administrator's certificate has no private key anywhere: its certificate is kept whole.
func TestKeptCertificate(t *testing.T) {
	const name = "admin-kubeconfig-signer"
	target := cryptotest.Authority(t, name, cryptotest.EC(t))
	seed := cryptotest.Authority(t, name, cryptotest.EC(t))
	s := newSmall(t)
	s.tree["client-ca.crt"] = s.ca.PEM() + seed.PEM()
	kept, err := pki.ParseCertificate(target.Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	after, _ := regenerate(t, s.tree, plan.Rules{KeepCertificates: []plan.KeepCertificate{{Certificate: kept}}})
	s.consistent(t, after)
	if want := after["pki/ca.crt"] + target.PEM(); after["client-ca.crt"] != want {
		t.Errorf("got bundle\n%s\nwant\n%s", after["client-ca.crt"], want)
	}
	t.Run("without the rule nobody knows the key", func(t *testing.T) {
		after, summary := regenerate(t, s.tree, plan.Rules{Own: plan.DefaultOwn})
		renewed := certificates(t, after["client-ca.crt"])[1]
		if publicEqual(renewed.PublicKey, seed.Certificate.PublicKey) || renewed.Subject.CommonName != name {
			t.Error("the seed's administrator is still trusted")
		}
		if summary.Keys[plan.Fresh] != 4 {
			t.Errorf("got keys %v, want 4 fresh", summary.Keys)
		}
	})
}

func TestForeignAuthorities(t *testing.T) {
	s := newSmall(t)
	foreign := cryptotest.Authority(t, "ca", cryptotest.EC(t)) // the same name as the cluster's own
	s.tree["pki/bundle.pem"] += foreign.PEM()
	t.Run("unknown", func(t *testing.T) {
		if problems := refused(t, s.tree, plan.Rules{}); len(problems) != 1 {
			t.Errorf("got problems %v, want one", problems)
		}
	})
	for name, rules := range map[string]plan.Rules{
		"listed":         {External: []string{"file:/etc/trust/"}},
		"kept by policy": {Unknown: plan.Keep},
	} {
		t.Run(name, func(t *testing.T) {
			s.tree["trust/anchors.pem"] = foreign.PEM()
			after, _ := regenerate(t, s.tree, rules)
			s.consistent(t, after)
			if after["trust/anchors.pem"] != foreign.PEM() || !strings.HasSuffix(after["pki/bundle.pem"], foreign.PEM()) {
				t.Error("a foreign authority changed")
			}
		})
	}
}

func TestNames(t *testing.T) {
	s := newSmall(t)
	node := s.ca.Leaf(t, "system:node:sno-seed", cryptotest.EC(t), cryptotest.Organization("system:nodes"), cryptotest.Names("sno-seed", "2001:db8::10"))
	s.tree["node.crt"], s.tree["node.key"] = node.PEM(), node.KeyPEM()
	s.tree["kubeconfig"] = handwritten(s.tree)
	after, _ := regenerate(t, s.tree, plan.Rules{
		Names: map[string]string{"system:node:sno-seed": "system:node:sno-target", "2001:db8::10": "2001:db8::20", "192.0.2.10": "192.0.2.99"},
		Renames: rename.Rules{
			rename.Domain("seed.example", "target.example.org"), rename.Hostname("sno-seed", "sno-target"), rename.Port("api.seed.example", 6443, 7443),
		},
	})
	s.consistent(t, after)
	leaf := certificate(t, after["pki/tls.crt"])
	if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "api.target.example.org" || leaf.IPAddresses[0].String() != "192.0.2.99" {
		t.Errorf("got names %v and addresses %v", leaf.DNSNames, leaf.IPAddresses)
	}
	renamed := certificate(t, after["node.crt"])
	if renamed.Subject.String() != "CN=system:node:sno-target,O=system:nodes" || renamed.DNSNames[0] != "sno-target" || renamed.IPAddresses[0].String() != "2001:db8::20" {
		t.Errorf("got subject %s, names %v, addresses %v", renamed.Subject, renamed.DNSNames, renamed.IPAddresses)
	}
	if !strings.Contains(after["kubeconfig"], `"https://api.target.example.org:7443"`) {
		t.Errorf("server was not renamed:\n%s", after["kubeconfig"])
	}
}

func TestValidity(t *testing.T) {
	length := cryptotest.End.Sub(cryptotest.Begin)
	for _, test := range []struct {
		mode      plan.ValidityMode
		from, end string
	}{
		{plan.KeepValidity, cryptotest.Begin.String(), cryptotest.End.String()},
		{plan.Extend, now.String(), now.Add(length).String()},
		{plan.ForceExpire, now.Add(-length).String(), now.String()},
	} {
		t.Run(string(test.mode), func(t *testing.T) {
			after, _ := regenerate(t, newSmall(t).tree, plan.Rules{Validity: test.mode, Now: now})
			if leaf := certificate(t, after["pki/tls.crt"]); leaf.NotBefore.String() != test.from || leaf.NotAfter.String() != test.end {
				t.Errorf("valid from %s until %s, want from %s until %s", leaf.NotBefore, leaf.NotAfter, test.from, test.end)
			}
		})
	}
}

// A seed is made with everything expired and becomes a cluster by extending: what was valid for a time is so for as long
// again, however odd that time is.
func TestLengthsSurviveASeed(t *testing.T) {
	lengths := map[string]time.Duration{
		"a day": 24 * time.Hour, "ten years": cryptotest.End.Sub(cryptotest.Begin), "forty years": 40 * 365 * 24 * time.Hour,
		"no time": 0, "less than no time": -time.Hour,
	}
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	w := tree{"ca.crt": ca.PEM(), "ca.key": ca.KeyPEM()}
	for name, length := range lengths {
		leaf := ca.Leaf(t, name, cryptotest.EC(t), cryptotest.Valid(cryptotest.Begin, cryptotest.Begin.Add(length)))
		w[name+".crt"], w[name+".key"] = leaf.PEM(), leaf.KeyPEM()
	}
	seed, _ := regenerate(t, w, plan.Rules{Validity: plan.ForceExpire, Now: now})
	born := now.AddDate(0, 3, 0)
	cluster, _ := regenerate(t, seed, plan.Rules{Validity: plan.Extend, Now: born})
	for name, length := range lengths {
		if c := certificate(t, seed[name+".crt"]); !c.NotAfter.Equal(now) || c.NotAfter.Sub(c.NotBefore) != length {
			t.Errorf("seed's certificate for %s: valid from %s until %s", name, c.NotBefore, c.NotAfter)
		}
		if c := certificate(t, cluster[name+".crt"]); !c.NotBefore.Equal(born) || c.NotAfter.Sub(c.NotBefore) != length {
			t.Errorf("cluster's certificate for %s: valid from %s until %s", name, c.NotBefore, c.NotAfter)
		}
		if _, err := tls.X509KeyPair([]byte(cluster[name+".crt"]), []byte(cluster[name+".key"])); err != nil {
			t.Errorf("certificate for %s: %v", name, err)
		}
	}
}

func TestRulesThatDoNotFitAreRefused(t *testing.T) {
	unused, err := pki.ParseCertificate(cryptotest.Authority(t, "nobody", cryptotest.EC(t)).Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		rules plan.Rules
		want  string
	}{
		{"key of nobody", plan.Rules{KeepKeys: []plan.KeepKey{{CommonName: "nobody", Key: cryptotest.EC(t)}}}, "no certificate with that name"},
		{"certificate of nobody", plan.Rules{KeepCertificates: []plan.KeepCertificate{{Certificate: unused}}}, "no certificate has that name"},
		{"certificate whose key is here", plan.Rules{KeepCertificates: []plan.KeepCertificate{{CommonName: "leaf", Certificate: unused}}}, "keep the key instead"},
		{"value without a place", plan.Rules{Changes: rule.Rules{rule.PullSecret([]byte("{}"))}}, "cannot be set"},
		{"key named twice", plan.Rules{KeepKeys: []plan.KeepKey{{CommonName: "ca", Key: cryptotest.EC(t)}, {CommonName: "ca", Key: cryptotest.EC(t)}}}, "two rules"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := fmt.Sprint(refused(t, newSmall(t).tree, test.rules)); !strings.Contains(got, test.want) {
				t.Errorf("got problems %s, want one about %q", got, test.want)
			}
		})
	}
}

// What may hide a private key stops the plan; what cannot is only noted.
func TestWhatIsNotUnderstood(t *testing.T) {
	key := cryptotest.KeyPEM(cryptotest.EC(t))
	for _, test := range []struct {
		name, content string
		refused       bool
	}{
		{"damaged key", strings.Replace(key, "M", "-", 3), true},
		{"key without an end", key[:len(key)-20], true},
		{"encrypted key", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n" + strings.Repeat("QUJD", 16) + "\n-----END RSA PRIVATE KEY-----\n", true},
		{"Java key store", "\xfe\xed\xfe\xed\x00\x00\x00\x02", true},
		{"key in a JWK", jsonKey(t), true},
		{"prose about keys", "Paste your -----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY----- here.\n", false},
		{"certificate request", cryptotest.Block("CERTIFICATE REQUEST", []byte{0x30, 0x00}), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSmall(t)
			s.tree["odd"] = test.content
			if strings.Contains(test.name, "JWK") {
				s.tree["jwk.key"] = cryptotest.KeyPEM(jwkKey(t))
			}
			if test.refused {
				refused(t, s.tree, plan.Rules{})
				return
			}
			after, _ := regenerate(t, s.tree, plan.Rules{})
			s.consistent(t, after)
			if after["odd"] != test.content {
				t.Error("what is not understood changed")
			}
		})
	}
}

func TestSetFile(t *testing.T) {
	s := newSmall(t)
	foreign := cryptotest.Authority(t, "of the seed's registry", cryptotest.EC(t))
	s.tree["chrony.conf"] = foreign.PEM() // would be refused as unknown
	after, _ := regenerate(t, s.tree, plan.Rules{Changes: rule.Rules{rule.Chrony([]byte("pool other"))}})
	s.consistent(t, after)
	if got := after["chrony.conf"]; got != "pool other" {
		t.Errorf("got %q", got)
	}
}

func TestNoSecretInSummaryOrPlan(t *testing.T) {
	s := newSmall(t)
	dir := s.tree.write(t)
	config := configure(t, dir, plan.Rules{})
	p, err := crypto.Prepare(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	summary, err := crypto.Regenerate(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(summary)
	if err != nil {
		t.Fatal(err)
	}
	shown := string(text) + fmt.Sprint(p.Problems, p.Notes)
	after := read(t, dir)
	for _, text := range []string{s.tree["pki/tls.key"], after["pki/tls.key"], s.tree["sa/token"], after["sa/token"]} {
		for piece := 40; piece+24 < len(text); piece += 24 {
			if strings.Contains(shown, strings.TrimSpace(text[piece:piece+24])) {
				t.Fatal("a summary holds a part of a secret")
			}
		}
	}
}

func jwkKey(t testing.TB) stdcrypto.Signer { return cryptotest.RSA(t, 4) }

// jsonKey writes a key's private exponent as JSON Web Keys do.
func jsonKey(t testing.TB) string {
	t.Helper()
	private := cryptotest.RSA(t, 4)
	text, err := json.Marshal(map[string]any{"kty": "RSA", "d": base64URL(private.D.Bytes()), "n": base64URL(private.N.Bytes())})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A certificate for ever has a length that Go cannot say, and the time of day has fractions that certificates have not.
func TestCertificateForEver(t *testing.T) {
	for _, fraction := range []time.Duration{0, 100 * time.Millisecond, 900 * time.Millisecond} {
		ca := cryptotest.Authority(t, "ca", cryptotest.EC(t), cryptotest.Valid(cryptotest.Begin, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)))
		after, _ := regenerate(t, tree{"ca.crt": ca.PEM(), "ca.key": ca.KeyPEM()}, plan.Rules{Validity: plan.Extend, Now: now.Add(fraction)})
		if c := certificate(t, after["ca.crt"]); !c.NotBefore.Equal(now) || c.NotAfter.Before(now.AddDate(292, 0, 0)) {
			t.Errorf("with a fraction of %s: valid from %s until %s", fraction, c.NotBefore, c.NotAfter)
		}
	}
}
