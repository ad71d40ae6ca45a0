package crypto_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
)

// newAddress is what the lifecycle-agent's change of an address asks for.
var newAddress = plan.Rules{
	NamesOnly: true, Names: map[string]string{"192.0.2.10": "192.0.2.99"}, Renames: rename.Rules{rename.Address("192.0.2.10", "192.0.2.99")},
}

func TestNamesOnly(t *testing.T) {
	ca, other := cryptotest.Authority(t, "ca", cryptotest.EC(t)), cryptotest.Authority(t, "other", cryptotest.EC(t))
	serving := ca.Leaf(t, "serving", cryptotest.RSA(t, 1), cryptotest.Names("api.seed.example", "192.0.2.10"))
	client := ca.Leaf(t, "client", cryptotest.EC(t))
	w := tree{
		"ca.crt": ca.PEM(), "ca.key": ca.KeyPEM(), "bundle.pem": ca.PEM() + other.PEM(), // of nobody known: nothing is refused for it
		"serving.crt": serving.PEM(), "serving.key": serving.KeyPEM(), "client.pem": client.PEM() + cryptotest.KeyPEM8(client.Key),
		"token": cryptotest.Token(t, ca.Key, "a"), "store": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
		"manifest.yaml": "--advertise-address=192.0.2.10\n",
	}
	rules := newAddress
	rules.KeepKeys = []plan.KeepKey{{CommonName: "ca", Key: ca.Key}}
	rules.KeepCertificates = []plan.KeepCertificate{{Certificate: asParsed(t, ca)}}
	after, summary := regenerate(t, w, rules)
	renewed := certificate(t, after["serving.crt"])
	if renewed.IPAddresses[0].String() != "192.0.2.99" || renewed.SerialNumber.Cmp(serving.Certificate.SerialNumber) == 0 ||
		!renewed.NotAfter.Equal(serving.Certificate.NotAfter) || !cmp.Equal(renewed.RawSubjectPublicKeyInfo, serving.Certificate.RawSubjectPublicKeyInfo) {
		t.Errorf("got a certificate for %v, serial number %s, until %s", renewed.IPAddresses, renewed.SerialNumber, renewed.NotAfter)
	}
	verifies(t, renewed, w["ca.crt"])
	want := tree{"serving.crt": after["serving.crt"], "manifest.yaml": "--advertise-address=192.0.2.99\n"}
	for name, content := range w {
		if want[name] == "" {
			want[name] = content
		}
	}
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("more changed than names:\n%s", diff)
	}
	if summary.Keys[plan.Kept] != len(summary.KeptKeys) || summary.Keys[plan.Kept] != 4 || summary.Certificates[plan.Reissued] != 1 || summary.Tokens[plan.Kept] != 1 {
		t.Errorf("got %+v", summary)
	}
}

// An authority whose own name changes takes those that it signed with it.
func TestNamesOnlyOfAnAuthority(t *testing.T) {
	ca := cryptotest.Authority(t, "signer-of-sno-seed", cryptotest.EC(t))
	leaf := ca.Leaf(t, "leaf", cryptotest.EC(t))
	after, _ := regenerate(t, tree{"ca.crt": ca.PEM(), "ca.key": ca.KeyPEM(), "leaf.crt": leaf.PEM()},
		plan.Rules{NamesOnly: true, Renames: rename.Rules{rename.Hostname("sno-seed", "sno-target")}})
	renewed := certificate(t, after["leaf.crt"])
	if renewed.Issuer.CommonName != "signer-of-sno-target" {
		t.Errorf("got issuer %s", renewed.Issuer)
	}
	verifies(t, renewed, after["ca.crt"])
}

// A certificate may name its issuer's by its serial number, which is another one when that is issued again.
func TestNamesOnlyAndSerialNumbers(t *testing.T) {
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t), cryptotest.Names("192.0.2.10"))
	leaf := ca.Leaf(t, "leaf", cryptotest.EC(t), func(c *x509.Certificate) {
		serial := ca.Certificate.SerialNumber.Bytes()
		value := append([]byte{0x30, byte(2 + len(serial)), 0x82, byte(len(serial))}, serial...)
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 35}, Value: value}}
	})
	after, _ := regenerate(t, tree{"ca.crt": ca.PEM(), "ca.key": ca.KeyPEM(), "leaf.crt": leaf.PEM()}, newAddress)
	issuer, renewed := certificate(t, after["ca.crt"]), asParsed(t, cryptotest.Pair{Certificate: certificate(t, after["leaf.crt"])})
	if issuer.IPAddresses[0].String() != "192.0.2.99" || renewed.AuthoritySerial.Cmp(issuer.SerialNumber) != 0 {
		t.Errorf("the issuer for %v has serial number %s, its certificate names %s", issuer.IPAddresses, issuer.SerialNumber, renewed.AuthoritySerial)
	}
}

func TestNamesOnlyThatIsRefused(t *testing.T) {
	ca := cryptotest.Authority(t, "ca", cryptotest.EC(t))
	leaf := ca.Leaf(t, "leaf", cryptotest.EC(t), cryptotest.Names("192.0.2.10"))
	w := tree{"ca.crt": ca.PEM(), "leaf.crt": leaf.PEM(), "leaf.key": leaf.KeyPEM()}
	anotherKey, anotherCertificate := newAddress, newAddress
	anotherKey.KeepKeys = []plan.KeepKey{{CommonName: "leaf", Key: cryptotest.EC(t)}}
	anotherCertificate.KeepCertificates = []plan.KeepCertificate{{Certificate: asParsed(t, cryptotest.Authority(t, "ca", cryptotest.EC(t)))}}
	for name, tc := range map[string]struct {
		rules plan.Rules
		want  string
	}{
		"issuer's key elsewhere": {newAddress, "certificate leaf: a name in it changes, but its issuer's key is not here"},
		"another key":            {anotherKey, "it is not the one that is here"},
		"another certificate":    {anotherCertificate, "it is not here"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := fmt.Sprint(refused(t, w, tc.rules)); !strings.Contains(got, tc.want) {
				t.Errorf("got problems %s, want one about %q", got, tc.want)
			}
		})
	}
	policy := newAddress
	policy.Orphans = plan.Keep
	if after, summary := regenerate(t, w, policy); after["leaf.crt"] != w["leaf.crt"] || len(summary.Notes) != 1 {
		t.Errorf("kept by policy, and got %v", summary.Notes)
	}
}

// Values that are encrypted at rest are only written when what they say changes.
func TestNamesOnlyOfEncryptedValues(t *testing.T) {
	e := newEncryptedCluster(t)
	config, _, data := e.write(t, newAddress, nil)
	values := func() map[string]string {
		all := map[string]string{}
		cryptotest.ServeEtcd(t, cryptotest.EtcdPrograms(t)["3.6"], data, func(ctx context.Context, client *clientv3.Client) {
			r, err := client.Get(ctx, "/", clientv3.WithPrefix())
			if err != nil {
				t.Fatal(err)
			}
			for _, kv := range r.Kvs {
				all[string(kv.Key)] = string(kv.Value)
			}
		})
		return all
	}
	before := values()
	summary, err := crypto.Regenerate(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if summary.EncryptionKeys[plan.Kept] != 3 || summary.Sites["etcd"] != 1 {
		t.Errorf("got %d kept encryption keys and %d changes in etcd", summary.EncryptionKeys[plan.Kept], summary.Sites["etcd"])
	}
	after := values()
	changed := after[encryptedTLS]
	_, content, err := atrest.NewRing(e.kube).Open(encryptedTLS, []byte(changed))
	if err != nil {
		t.Fatal(err)
	}
	leaf := certificate(t, string(cryptotest.Decoded(t, string(content), &corev1.Secret{}).Data["tls.crt"]))
	if leaf.IPAddresses[0].String() != "192.0.2.99" {
		t.Errorf("got a certificate for %v", leaf.IPAddresses)
	}
	after[encryptedTLS] = before[encryptedTLS]
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("more changed than a name:\n%s", diff)
	}
}

func TestLengthOfValidity(t *testing.T) {
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		rules plan.Rules
		from  time.Time
		want  time.Duration
	}{
		"given":         {plan.Rules{ValidFor: 30 * day}, cryptotest.Begin, 30 * day},
		"given, begins": {plan.Rules{ValidFor: 30 * day, Validity: plan.Extend, Now: now}, now, 30 * day},
		"bounded":       {plan.Rules{ValidAtMost: 90 * day, Validity: plan.Extend, Now: now}, now, 90 * day},
		"within bounds": {plan.Rules{ValidAtMost: 90000 * day}, cryptotest.Begin, cryptotest.End.Sub(cryptotest.Begin)},
		"both":          {plan.Rules{ValidFor: 30 * day, ValidAtMost: 10 * day}, cryptotest.Begin, 10 * day},
	} {
		t.Run(name, func(t *testing.T) {
			after, _ := regenerate(t, newSmall(t).tree, tc.rules)
			if leaf := certificate(t, after["pki/tls.crt"]); !leaf.NotBefore.Equal(tc.from) || leaf.NotAfter.Sub(leaf.NotBefore) != tc.want {
				t.Errorf("valid from %s for %s, want from %s for %s", leaf.NotBefore, leaf.NotAfter.Sub(leaf.NotBefore), tc.from, tc.want)
			}
		})
	}
}

func asParsed(t testing.TB, p cryptotest.Pair) *pki.Certificate {
	t.Helper()
	c, err := pki.ParseCertificate(p.Certificate.Raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
