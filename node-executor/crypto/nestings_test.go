package crypto_test

import (
	stdcrypto "crypto"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// nested is a place in which the established tool does not look, or which it leaves alone as a whole: a document that is made
// from the tree's plain files. After the regeneration it must be what the same function makes of the new files.
type nested struct {
	name string
	doc  func(t *testing.T, w tree) string
}

func inSecret(t *testing.T, name, value string) string {
	return cryptotest.Stored(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b"}, Data: map[string][]byte{name: []byte(value)}})
}

func quoted(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func text64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// config is a kubeconfig as clients write it.
func config(w tree) string {
	return "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: " + text64(w["pki/ca.crt"]) + "\n    server: https://x:6443\n  name: x\n" +
		"users:\n- name: u\n  user:\n    client-certificate-data: " + text64(w["pki/tls.crt"]) + "\n    client-key-data: " + text64(w["pki/tls.key"]) + "\n"
}

func machineConfig(source string) string {
	return `{"apiVersion":"machineconfiguration.openshift.io/v1","kind":"MachineConfig","spec":{"config":{"storage":{"files":[{"path":"/etc/kubernetes/kubeconfig","contents":{"source":"` + source + `"}}]}}}}`
}

// keySet is the service account issuer's, as its discovery document refers to.
func keySet(t *testing.T, w tree, private bool) string {
	key, _, err := pki.ParsePrivateKey(body(t, w["sa/sa.key"]))
	if err != nil {
		t.Fatal(err)
	}
	id, err := pki.IDOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	k := jose.JSONWebKey{Key: stdcrypto.PublicKey(key.Public()), KeyID: token.KeyIDOf(id), Algorithm: "RS256", Use: "sig"}
	if private {
		k.Key = key
	}
	return quoted(t, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k}})
}

var nestings = []nested{
	{"conversion webhook of a definition", func(t *testing.T, w tree) string {
		return `{"kind":"CustomResourceDefinition","spec":{"conversion":{"webhook":{"clientConfig":{"caBundle":"` + text64(w["pki/ca.crt"]) + `"}}}}}`
	}},
	{"route", func(t *testing.T, w tree) string {
		return `{"kind":"Route","spec":{"tls":` + quoted(t, map[string]string{"certificate": w["pki/tls.crt"], "key": w["pki/tls.key"], "caCertificate": w["pki/ca.crt"]}) + `}}`
	}},
	{"binary data of a config map", func(t *testing.T, w tree) string {
		return cryptotest.Stored(t, &corev1.ConfigMap{BinaryData: map[string][]byte{"ca": append([]byte("\xff\xfe"), w["pki/ca.crt"]...), "gz": []byte(gzipped(t, w["pki/ca.crt"]))}})
	}},
	{".dockercfg, as JSON", func(t *testing.T, w tree) string {
		return inSecret(t, ".dockercfg", quoted(t, map[string]any{"registry.svc:5000": map[string]string{"username": "u", "password": w["sa/token"], "auth": text64("u:" + w["sa/token"])}}))
	}},
	{".dockerconfigjson, base64 of the token only", func(t *testing.T, w tree) string {
		return inSecret(t, ".dockerconfigjson", `{"auths": {"registry.svc:5000": {"auth": "`+text64("<token>:"+w["sa/token"])+`"}}}`)
	}},
	{"PEM in YAML in a secret", func(t *testing.T, w tree) string {
		return inSecret(t, "config.yaml", "tls:\n  ca: |  # trusted\n      "+strings.ReplaceAll(strings.TrimSpace(w["pki/ca.crt"]), "\n", "\n      ")+"\n  key: "+quoted(t, w["pki/tls.key"])+"\n")
	}},
	{"kubeconfig in YAML in a config map", func(t *testing.T, w tree) string {
		return cryptotest.Stored(t, &corev1.ConfigMap{Data: map[string]string{"x.yaml": "kubeconfig: |\n  " + strings.ReplaceAll(config(w), "\n", "\n  ") + "\n"}})
	}},
	{"kubeconfig in JSON in a secret", func(t *testing.T, w tree) string {
		return inSecret(t, "x.json", quoted(t, map[string]string{"kubeconfig": config(w)}))
	}},
	{"kubeconfig in a machine config, base64", func(t *testing.T, w tree) string {
		return machineConfig("data:text/plain;charset=utf-8;base64," + text64(config(w)))
	}},
	{"kubeconfig in a machine config, percent-encoded", func(t *testing.T, w tree) string {
		return machineConfig("data:," + percent(config(w)))
	}},
	{"kubeconfig in a machine config, compressed", func(t *testing.T, w tree) string {
		return machineConfig("data:;base64," + text64(gzipped(t, config(w))))
	}},
	{"file of an unwatched name", func(t *testing.T, w tree) string { return "\n\n" + w["pki/tls.key"] + w["pki/tls.crt"] }},
	{"issued certificate of a request", func(t *testing.T, w tree) string {
		r := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "csr-1"}, Status: certificatesv1.CertificateSigningRequestStatus{Certificate: []byte(w["pki/tls.crt"])}}
		return cryptotest.Stored(t, r)
	}},
	{"certificate and key of OVN or Multus", func(t *testing.T, w tree) string {
		return rewrap(w["pki/tls.crt"], 76, "\r\n") + strings.TrimSpace(w["pki/tls.key"])
	}},
	{"database of OVN", func(t *testing.T, w tree) string {
		record := `{"SSL":{"1":{"bootstrap_ca_cert":false,"ca_cert":` + quoted(t, w["pki/ca.crt"]) + "}}}\n"
		return fmt.Sprintf("OVSDB JSON %d %x\n%s", len(record), sha1.Sum([]byte(record)), record)
	}},
	{"public keys of the issuer", func(t *testing.T, w tree) string { return keySet(t, w, false) }},
	{"private JSON Web Key", func(t *testing.T, w tree) string { return inSecret(t, "jwks.json", keySet(t, w, true)) }},
	{"JSON Web Keys as a string", func(t *testing.T, w tree) string {
		return `{"kind":"Config","data":` + quoted(t, map[string]string{"keys.json": keySet(t, w, true)}) + `}`
	}},
	{"bytes that are no text beside a key", func(t *testing.T, w tree) string {
		return inSecret(t, "tls.key", "\xff\x80\x00"+w["pki/tls.key"]+"\xfe")
	}},
	{"request and revocation list beside a key", func(t *testing.T, w tree) string {
		odd := cryptotest.Block("CERTIFICATE REQUEST", []byte{0x30, 0}) + cryptotest.Block("X509 CRL", []byte{0x30, 0}) + cryptotest.Block("DH PARAMETERS", []byte{0x30, 0})
		return odd + w["pki/tls.key"] + odd + w["pki/tls.crt"]
	}},
	{"token in YAML", func(t *testing.T, w tree) string {
		return "users:\n- user: {token: " + w["sa/token"] + "}\n- user:\n    token: '" + w["sa/token"] + "'\n"
	}},
	{"no final newline", func(t *testing.T, w tree) string { return strings.TrimSpace(w["pki/ca.crt"]) }},
	{"carriage returns", func(t *testing.T, w tree) string {
		return strings.ReplaceAll(w["pki/ca.crt"]+w["pki/tls.key"], "\n", "\r\n")
	}},
	{"DER", func(t *testing.T, w tree) string { return string(body(t, w["pki/tls.key"])) }},
	{"trusted certificate of OpenSSL", func(t *testing.T, w tree) string {
		return cryptotest.Block("TRUSTED CERTIFICATE", append(body(t, w["pki/ca.crt"]), 0x30, 0x0a, 0x30, 0x08, 0x06, 0x06, 0x67, 0x81, 0x0c, 0x01, 0x02, 0x01))
	}},
	{"copy in another revision", func(t *testing.T, w tree) string {
		return text64(w["pki/tls.crt"]) + "\n" + text64(w["pki/tls.key"]) + "\n"
	}},
}

func TestEveryPlace(t *testing.T) {
	s := newSmall(t)
	names := map[string]nested{}
	for i, n := range nestings {
		name := fmt.Sprintf("places/%02d", i)
		names[name], s.tree[name] = n, n.doc(t, s.tree)
	}
	after, _ := regenerate(t, s.tree, plan.Rules{})
	s.consistent(t, after)
	for name, n := range names {
		t.Run(n.name, func(t *testing.T) {
			if after[name] == s.tree[name] {
				t.Error("nothing changed")
			}
			if diff := cmp.Diff(n.doc(t, after), after[name]); diff != "" {
				t.Error(diff)
			}
		})
	}
}
