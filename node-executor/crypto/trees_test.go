package crypto_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
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

var now = time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC)

// small is the smallest cluster: an authority, a leaf, a bundle, a service account key and a token.
type small struct {
	ca, leaf cryptotest.Pair
	account  *rsa.PrivateKey
	tree     tree
}

func newSmall(t testing.TB) small {
	s := small{ca: cryptotest.Authority(t, "ca", cryptotest.RSA(t, 0)), account: cryptotest.RSA(t, 2)}
	s.leaf = s.ca.Leaf(t, "leaf", cryptotest.RSA(t, 1), cryptotest.Names("api.seed.example", "192.0.2.10"))
	s.tree = tree{
		"pki/ca.crt": s.ca.PEM(), "pki/ca.key": s.ca.KeyPEM(),
		"pki/tls.crt": s.leaf.PEM(), "pki/tls.key": s.leaf.KeyPEM(),
		"pki/bundle.pem": "# what we trust\n" + s.ca.PEM(),
		"sa/sa.key":      cryptotest.KeyPEM(s.account),
		"sa/sa.pub":      cryptotest.Block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&s.account.PublicKey)),
		"sa/token":       cryptotest.Token(t, s.account, "system:serviceaccount:a:b"),
		"bystander.conf": "nothing = secret\n",
	}
	return s
}

// consistent checks what must hold of every regenerated small cluster.
func (s small) consistent(t testing.TB, after tree) {
	t.Helper()
	leaf := certificate(t, after["pki/tls.crt"])
	verifies(t, leaf, after["pki/bundle.pem"])
	verifies(t, leaf, after["pki/ca.crt"])
	openssl(t, after["pki/bundle.pem"], after["pki/tls.crt"])
	if _, err := tls.X509KeyPair([]byte(after["pki/tls.crt"]), []byte(after["pki/tls.key"])); err != nil {
		t.Errorf("leaf and key are no pair: %v", err)
	}
	if leaf.SerialNumber.Cmp(s.leaf.Certificate.SerialNumber) == 0 {
		t.Error("serial number was kept")
	}
	if chain(t, s.leaf.Certificate, after["pki/bundle.pem"]) == nil {
		t.Error("the seed's leaf is still trusted")
	}
	public, _, err := pki.ParsePublicKey(body(t, after["sa/sa.pub"]))
	if err != nil {
		t.Fatal(err)
	}
	compact, err := token.Parse([]byte(strings.TrimSpace(after["sa/token"])))
	if err != nil {
		t.Fatal(err)
	}
	if !compact.SignedBy(public) || compact.SignedBy(s.account.Public()) {
		t.Error("token is not signed by the new key alone")
	}
	if id, err := pki.IDOf(public); err != nil || compact.KeyID != token.KeyIDOf(id) {
		t.Errorf("token names key %s, want %s", compact.KeyID, token.KeyIDOf(id))
	}
	if after["bystander.conf"] != s.tree["bystander.conf"] {
		t.Error("a file without material changed")
	}
	noOldKeys(t, s.tree, after)
}

// openssl asks another implementation whether the leaf leads to the bundle.
func openssl(t testing.TB, bundle, leaf string) {
	t.Helper()
	dir := tree{"bundle": bundle, "leaf": leaf}.write(t)
	out, err := exec.CommandContext(t.Context(), "openssl", "verify", "-no_check_time", "-CAfile", filepath.Join(dir, "bundle"), filepath.Join(dir, "leaf")).CombinedOutput()
	if err != nil {
		t.Errorf("openssl: %v: %s", err, out)
	}
}

func body(t testing.TB, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("no PEM block")
	}
	return block.Bytes
}

// noOldKeys searches the new tree for the private keys of the old one, independently of the engine's own search.
func noOldKeys(t testing.TB, before, after tree) {
	t.Helper()
	all := ""
	for _, content := range after {
		all += content
	}
	flat := strings.NewReplacer("\n", "", "\r", "", " ", "", "\\n", "").Replace(all)
	for name, content := range before {
		for rest := []byte(content); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if strings.Contains(block.Type, "PRIVATE KEY") && strings.Contains(flat, base64.StdEncoding.EncodeToString(block.Bytes)) {
				t.Errorf("private key of %s is still there", name)
			}
		}
	}
}

// The fifteen trees on which the established tool was observed, each a small cluster with one twist.
func TestTrees(t *testing.T) {
	for _, test := range []struct {
		name  string
		twist func(t *testing.T, s *small)
		check func(t *testing.T, s small, after tree)
	}{
		{"a kubeconfig written by hand keeps comments and quoting", withKubeconfig, checkKubeconfig},
		{"b renewal on the same key", func(t *testing.T, s *small) {
			s.tree["pki/renewed.crt"] = s.ca.Leaf(t, "leaf-renewed", s.leaf.Key).PEM()
		}, func(t *testing.T, _ small, after tree) {
			renewed := certificate(t, after["pki/renewed.crt"])
			verifies(t, renewed, after["pki/bundle.pem"])
			if !publicEqual(renewed.PublicKey, certificate(t, after["pki/tls.crt"]).PublicKey) {
				t.Error("certificates on one key are on two now")
			}
		}},
		{"c EC parameters before the key", func(t *testing.T, s *small) {
			key := cryptotest.EC(t)
			s.tree["ec/tls.crt"] = s.ca.Leaf(t, "ec", key).PEM()
			s.tree["ec/tls.key"] = cryptotest.Block("EC PARAMETERS", []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}) + cryptotest.KeyPEM(key)
		}, func(t *testing.T, s small, after tree) {
			pair(t, after, "ec/tls.crt", "ec/tls.key")
			if !strings.HasPrefix(after["ec/tls.key"], "-----BEGIN EC PARAMETERS-----") {
				t.Error("parameters are gone")
			}
		}},
		{"d service account key tagged PUBLIC KEY", func(t *testing.T, s *small) {
			s.tree["sa/sa.pub"] = cryptotest.PublicPEM(s.account.Public())
		}, nil},
		{"e rollover with bridges", withRollover, checkRollover},
		{"g valid beyond 2050", func(t *testing.T, s *small) {
			ca := cryptotest.Authority(t, "long", cryptotest.EC(t), cryptotest.Valid(cryptotest.Begin, cryptotest.Begin.AddDate(40, 0, 0)))
			s.tree["long/ca.crt"], s.tree["long/ca.key"] = ca.PEM(), ca.KeyPEM()
		}, func(t *testing.T, _ small, after tree) {
			c := certificate(t, after["long/ca.crt"])
			want := now.Add(cryptotest.Begin.AddDate(40, 0, 0).Sub(cryptotest.Begin))
			if !c.NotBefore.Equal(now) || !c.NotAfter.Equal(want) {
				t.Errorf("valid from %s until %s, want from %s until %s", c.NotBefore, c.NotAfter, now, want)
			}
		}},
		{"h Ed25519 authority in the bundle", func(t *testing.T, s *small) {
			ca := cryptotest.Authority(t, "ed", cryptotest.Ed(t))
			s.tree["ed/ca.key"] = ca.KeyPEM()
			s.tree["pki/bundle.pem"] += ca.PEM()
		}, nil},
		{"i EC leaf in SEC 1", func(t *testing.T, s *small) {
			key := cryptotest.EC(t)
			s.tree["ec/tls.crt"], s.tree["ec/tls.key"] = s.ca.Leaf(t, "ec", key).PEM(), cryptotest.KeyPEM(key)
		}, func(t *testing.T, _ small, after tree) {
			pair(t, after, "ec/tls.crt", "ec/tls.key")
			if _, err := x509.ParseECPrivateKey(body(t, after["ec/tls.key"])); err != nil {
				t.Errorf("key is no longer SEC 1: %v", err)
			}
		}},
		{"j one authority twice in a bundle", func(t *testing.T, s *small) {
			s.tree["pki/bundle.pem"] += "\n# again\n" + s.ca.PEM()
		}, func(t *testing.T, _ small, after tree) {
			both := certificates(t, after["pki/bundle.pem"])
			if len(both) != 2 || !both[0].Equal(both[1]) {
				t.Error("the two copies differ")
			}
		}},
		{"k bundle wrapped at 76 columns", func(t *testing.T, s *small) {
			s.tree["pki/bundle.pem"] = rewrap(s.ca.PEM(), 76, "\n")
		}, func(t *testing.T, _ small, after tree) {
			if want := rewrap(after["pki/ca.crt"], 76, "\n"); after["pki/bundle.pem"] != want {
				t.Errorf("got bundle %q, want %q", after["pki/bundle.pem"], want)
			}
		}},
		{"l RSA key in PKCS 8", func(t *testing.T, s *small) {
			s.tree["pki/tls.key"] = cryptotest.KeyPEM8(s.leaf.Key)
		}, func(t *testing.T, _ small, after tree) {
			if _, err := x509.ParsePKCS8PrivateKey(body(t, after["pki/tls.key"])); err != nil {
				t.Errorf("key is no longer PKCS #8: %v", err)
			}
		}},
		{"m key in a file of any name", func(t *testing.T, s *small) {
			s.tree[".hidden/etcd-key"] = s.ca.KeyPEM()
			s.tree["sa/ca.crt"] = s.ca.PEM()
		}, func(t *testing.T, _ small, after tree) {
			if after[".hidden/etcd-key"] != after["pki/ca.key"] || after["sa/ca.crt"] != after["pki/ca.crt"] {
				t.Error("copies differ")
			}
		}},
		{"n token ends in a newline", func(t *testing.T, s *small) { s.tree["sa/token"] += "\n" }, func(t *testing.T, _ small, after tree) {
			if !strings.HasSuffix(after["sa/token"], "\n") {
				t.Error("newline is gone")
			}
		}},
		{"o odd bytes beside a key", func(t *testing.T, s *small) {
			s.tree["odd.key"] = "\xff\xfe\x80\x81\n" + s.leaf.KeyPEM()
		}, func(t *testing.T, _ small, after tree) {
			if want := "\xff\xfe\x80\x81\n" + after["pki/tls.key"]; after["odd.key"] != want {
				t.Error("the key beside odd bytes is not the new one")
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSmall(t)
			test.twist(t, &s)
			after, _ := regenerate(t, s.tree, plan.Rules{Validity: plan.Extend, Now: now})
			s.consistent(t, after)
			if test.check != nil {
				test.check(t, s, after)
			}
		})
	}
}

// The tree whose leaf's issuer is nowhere, whether the leaf names the issuer's key or not.
func TestOrphan(t *testing.T) {
	issuer := cryptotest.Authority(t, "elsewhere", cryptotest.EC(t))
	for name, issuer := range map[string]cryptotest.Pair{"of an identified issuer": issuer, "of an unidentified issuer": issuer.Unidentified()} {
		t.Run(name, func(t *testing.T) { orphan(t, issuer) })
	}
}

func orphan(t *testing.T, issuer cryptotest.Pair) {
	orphaned := func(t *testing.T) (small, cryptotest.Pair) {
		s := newSmall(t)
		leaf := issuer.Leaf(t, "orphan", cryptotest.EC(t))
		if !bytes.Equal(leaf.Certificate.AuthorityKeyId, issuer.Certificate.SubjectKeyId) {
			t.Fatalf("the leaf names its issuer's key %x, want %x", leaf.Certificate.AuthorityKeyId, issuer.Certificate.SubjectKeyId)
		}
		s.tree["orphan/tls.crt"], s.tree["orphan/tls.key"] = leaf.PEM(), leaf.KeyPEM()
		return s, leaf
	}
	t.Run("is refused", func(t *testing.T) {
		s, _ := orphaned(t)
		problems := refused(t, s.tree, plan.Rules{})
		if len(problems) != 1 || !strings.Contains(problems[0].Where, "orphan") {
			t.Errorf("got problems %v, want one about the orphan", problems)
		}
	})
	t.Run("is kept by policy", func(t *testing.T) {
		s, leaf := orphaned(t)
		after, summary := regenerate(t, s.tree, plan.Rules{Orphans: plan.Keep})
		if after["orphan/tls.crt"] != leaf.PEM() || after["orphan/tls.key"] != leaf.KeyPEM() {
			t.Error("the orphan changed")
		}
		if len(summary.Notes) != 1 || summary.Keys[plan.Kept] != 1 {
			t.Errorf("got notes %v and keys %v, want the orphan reported", summary.Notes, summary.Keys)
		}
	})
	t.Run("without a private key is a certificate of others", func(t *testing.T) {
		s, leaf := orphaned(t)
		delete(s.tree, "orphan/tls.key")
		after, _ := regenerate(t, s.tree, plan.Rules{})
		if after["orphan/tls.crt"] != leaf.PEM() {
			t.Error("the certificate of others changed")
		}
	})
}

// handwritten is a kubeconfig with the tree's material, in a style that no serializer has.
func handwritten(w tree) string {
	b64 := func(name string) string { return base64.StdEncoding.EncodeToString([]byte(w[name])) }
	return "# written by hand, keep\napiVersion: v1\nkind: Config\nclusters:\n" +
		"- {name: 'here', cluster: {server: \"https://api.seed.example:6443\", certificate-authority-data: \"" + b64("pki/bundle.pem") + "\"}}\n" +
		"users:\n- name: admin\n  user:\n    client-certificate-data: " + b64("pki/tls.crt") +
		"\n    client-key-data: " + b64("pki/tls.key") + "   # trailing\n    token: " + w["sa/token"] + "\n"
}

func withKubeconfig(_ *testing.T, s *small) { s.tree["kubeconfig"] = handwritten(s.tree) }

func checkKubeconfig(t *testing.T, _ small, after tree) {
	if want := handwritten(after); after["kubeconfig"] != want {
		t.Errorf("got kubeconfig\n%s\nwant\n%s", after["kubeconfig"], want)
	}
}

// withRollover adds an authority that is being replaced by another of the same name, with bridges between them.
func withRollover(t *testing.T, s *small) {
	before := cryptotest.Authority(t, "service-ca", cryptotest.EC(t))
	next := cryptotest.Authority(t, "service-ca", cryptotest.EC(t))
	forward := before.Intermediate(t, "service-ca", next.Key)
	back := next.Intermediate(t, "service-ca", before.Key)
	leaf := before.Leaf(t, "service", cryptotest.EC(t))
	s.tree["rollover/bundle"] = next.PEM() + before.PEM() + forward.PEM() + back.PEM()
	s.tree["rollover/old.key"], s.tree["rollover/new.key"] = before.KeyPEM(), next.KeyPEM()
	s.tree["rollover/tls.crt"], s.tree["rollover/tls.key"] = leaf.PEM(), leaf.KeyPEM()
}

func checkRollover(t *testing.T, _ small, after tree) {
	bundle := certificates(t, after["rollover/bundle"])
	if len(bundle) != 4 {
		t.Fatalf("got %d certificates, want 4", len(bundle))
	}
	next, before, forward, back := bundle[0], bundle[1], bundle[2], bundle[3]
	for _, c := range []struct {
		name           string
		subject, agent *x509.Certificate
		on             *x509.Certificate
	}{
		{"new root", next, next, next}, {"old root", before, before, before},
		{"bridge from old to new", forward, before, next}, {"bridge from new to old", back, next, before},
	} {
		if err := c.agent.CheckSignature(c.subject.SignatureAlgorithm, c.subject.RawTBSCertificate, c.subject.Signature); err != nil {
			t.Errorf("%s: signature: %v", c.name, err)
		}
		if !publicEqual(c.subject.PublicKey, c.on.PublicKey) {
			t.Errorf("%s is on another key", c.name)
		}
	}
	leaf := certificate(t, after["rollover/tls.crt"])
	newOnly := cryptotest.Block("CERTIFICATE", next.Raw) + cryptotest.Block("CERTIFICATE", back.Raw)
	verifies(t, leaf, newOnly)
	pair(t, after, "rollover/tls.crt", "rollover/tls.key")
}

func pair(t *testing.T, after tree, certificate, key string) {
	t.Helper()
	if _, err := tls.X509KeyPair([]byte(after[certificate]), []byte(after[key])); err != nil {
		t.Errorf("%s and %s are no pair: %v", certificate, key, err)
	}
	verifies(t, certificates(t, after[certificate])[0], after["pki/bundle.pem"]+after["rollover/bundle"])
}

func publicEqual(a, b any) bool {
	switch key := a.(type) {
	case *ecdsa.PublicKey:
		return key.Equal(b)
	case *rsa.PublicKey:
		return key.Equal(b)
	}
	return false
}

// rewrap writes one block with other line lengths and line ends.
func rewrap(text string, width int, end string) string {
	block, _ := pem.Decode([]byte(text))
	encoded := base64.StdEncoding.EncodeToString(block.Bytes)
	var out bytes.Buffer
	out.WriteString("-----BEGIN " + block.Type + "-----" + end)
	for len(encoded) > width {
		out.WriteString(encoded[:width] + end)
		encoded = encoded[width:]
	}
	out.WriteString(encoded + end + "-----END " + block.Type + "-----" + end)
	return out.String()
}

func base64URL(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
