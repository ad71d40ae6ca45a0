package crypto_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
)

const (
	configFile   = "kubernetes/static-pod-resources/kube-apiserver-pod-3/secrets/encryption-config/encryption-config"
	operatorKey  = "/kubernetes.io/secrets/openshift-config-managed/encryption-key-openshift-kube-apiserver-1"
	nestedConfig = "/kubernetes.io/secrets/openshift-apiserver/encryption-config-2"
	encryptedTLS = "/kubernetes.io/secrets/ns/tls"
	encryptedNo  = "/kubernetes.io/secrets/ns/bystander"
	routeKey     = "/kubernetes.io/aaa/first" // comes before the secret with its key
	oauthKey     = "/openshift.io/oauth/clients/console"
	movedKey     = "/openshift.io/oauth/clients/sno-seed"
)

// encryptedCluster is a small cluster whose API servers encrypt, as OpenShift configures them: each from a configuration of
// its own, all of whose keys are called 1.
type encryptedCluster struct {
	small
	kube, gcm, box []byte // keys
	content        map[string]string
	envelopes      map[string]atrest.Envelope
}

func newEncryptedCluster(t *testing.T) *encryptedCluster {
	e := &encryptedCluster{
		small: newSmall(t), kube: atrest.NewKey(make([]byte, 32)), gcm: atrest.NewKey(make([]byte, 16)), box: atrest.NewKey(make([]byte, 32)),
	}
	e.tree[configFile] = `{"kind":"EncryptionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","resources":[{"resources":["secrets"],"providers":[` +
		`{"aescbc":{"keys":[{"name":"1","secret":"` + b64(e.kube) + `"}]}},{"identity":{}},{"aesgcm":{"keys":[{"name":"0","secret":"` + b64(make([]byte, 16)) + `"}]}}]}]}`
	nested := "# of the aggregated servers\nkind: EncryptionConfiguration\nresources:\n- resources: [routes]\n  providers:\n" +
		"  - aesgcm:\n      keys:\n      - name: \"1\"\n        secret: " + b64(e.gcm) + "\n  - secretbox:\n      keys:\n      - secret: '" + b64(e.box) + "'\n        name: \"1\"\n"
	secret := func(data map[string][]byte) string {
		return cryptotest.Stored(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: data})
	}
	e.content = map[string]string{
		operatorKey:  secret(map[string][]byte{"encryption.apiserver.operator.openshift.io-key": e.kube}),
		nestedConfig: secret(map[string][]byte{"encryption-config": []byte(nested)}),
		encryptedTLS: secret(map[string][]byte{"tls.crt": []byte(e.tree["pki/tls.crt"]), "tls.key": []byte(e.tree["pki/tls.key"])}),
		encryptedNo:  secret(map[string][]byte{"words": []byte("of no interest")}),
		routeKey:     `{"kind":"Route","spec":{"tls":{"key":"` + strings.ReplaceAll(e.tree["pki/tls.key"], "\n", `\n`) + `"}}}`,
		oauthKey:     `{"kind":"OAuthClient"}`,
		movedKey:     `{"kind":"OAuthClient","metadata":{"name":"sno-seed"}}`,
		bystanderKey: cryptotest.Stored(t, &corev1.ConfigMap{Data: map[string]string{"words": "in plain"}}),
	}
	cbc := atrest.Envelope{Mode: atrest.CBC, Name: "1", Key: atrest.IDOf(e.kube)}
	gcm := atrest.Envelope{Mode: atrest.GCM, Name: "1", Key: atrest.IDOf(e.gcm)}
	e.envelopes = map[string]atrest.Envelope{
		operatorKey: cbc, nestedConfig: cbc, encryptedTLS: cbc, encryptedNo: cbc, routeKey: gcm, movedKey: gcm,
		oauthKey: {Mode: atrest.Secretbox, Name: "1", Key: atrest.IDOf(e.box)},
	}
	return e
}

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// write stores the objects, encrypted, and returns the configuration to regenerate the cluster with.
func (e *encryptedCluster) write(t *testing.T, rules plan.Rules, also map[string]string) (config crypto.Config, dir, data string) {
	t.Helper()
	program := cryptotest.EtcdPrograms(t)["3.6"]
	keys := map[atrest.KeyID][]byte{atrest.IDOf(e.kube): e.kube, atrest.IDOf(e.gcm): e.gcm, atrest.IDOf(e.box): e.box}
	data = filepath.Join(t.TempDir(), "etcd")
	values := maps.Clone(e.content)
	for name, envelope := range e.envelopes {
		sealed, err := atrest.Seal(envelope, keys[envelope.Key], name, []byte(values[name]))
		if err != nil {
			t.Fatal(err)
		}
		values[name] = string(sealed)
	}
	maps.Copy(values, also)
	cryptotest.ServeEtcd(t, program, data, func(ctx context.Context, client *clientv3.Client) {
		for name, value := range values {
			if _, err := client.Put(ctx, name, value); err != nil {
				t.Fatal(err)
			}
		}
	})
	dir = e.tree.write(t)
	config = configure(t, dir, rules)
	config.Etcd = etcd.DataDir{Dir: data, Programs: map[string]string{"3.6": program}, Runner: cryptotest.Runner{}}
	return config, dir, data
}

// keysOf reads the keys of a configuration, those of zeros apart.
func keysOf(t *testing.T, configuration string) (keys [][]byte) {
	t.Helper()
	for _, match := range regexp.MustCompile(`secret"?: ?["']?([A-Za-z0-9+/=]+)`).FindAllStringSubmatch(configuration, -1) {
		key, err := base64.StdEncoding.DecodeString(match[1])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(key, make([]byte, len(key))) {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestEncryptionAtRest(t *testing.T) {
	e := newEncryptedCluster(t)
	config, dir, data := e.write(t, plan.Rules{Renames: rename.Rules{rename.Hostname("sno-seed", "sno-target")}}, nil)
	p, err := crypto.Prepare(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	preview, err := json.Marshal(crypto.NewPreview(p))
	if err != nil || strings.Count(string(preview), `"kind":"256 bits"`) != 2 || strings.Count(string(preview), `"kind":"128 bits"`) != 1 || strings.Contains(string(preview), b64(e.kube)) {
		t.Errorf("got preview %s, error %v", preview, err)
	}
	summary, err := crypto.Regenerate(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if summary.EncryptionKeys[plan.Fresh] != 3 || summary.Sites["etcd"] != 8 {
		t.Errorf("got %d encryption keys and %d changes in etcd, want 3 and 8: seven encrypted values, one of them moved", summary.EncryptionKeys[plan.Fresh], summary.Sites["etcd"])
	}
	files := read(t, dir)
	e.consistent(t, files)
	kube := keysOf(t, files[configFile])
	if len(kube) != 1 || !strings.Contains(files[configFile], b64(make([]byte, 16))) {
		t.Fatalf("got configuration %s", files[configFile])
	}
	if diff := cmp.Diff(e.tree[configFile], strings.Replace(files[configFile], b64(kube[0]), b64(e.kube), 1)); diff != "" {
		t.Errorf("more than the key changed:\n%s", diff)
	}
	ring := atrest.NewRing(kube...)
	old := atrest.NewRing(e.kube, e.gcm, e.box)
	got := map[string]string{}
	cryptotest.ServeEtcd(t, cryptotest.EtcdPrograms(t)["3.6"], data, func(ctx context.Context, client *clientv3.Client) {
		all, err := client.Get(ctx, "", clientv3.WithPrefix())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range all.Kvs {
			got[string(kv.Key)] = string(kv.Value)
		}
	})
	_, config2, err := ring.Open(nestedConfig, []byte(got[nestedConfig]))
	if err != nil {
		t.Fatal(err)
	}
	nested := keysOf(t, string(cryptotest.Decoded(t, string(config2), &corev1.Secret{}).Data["encryption-config"]))
	if len(nested) != 2 || len(nested[0]) != 16 || len(nested[1]) != 32 {
		t.Fatalf("got %d keys in the aggregated servers' configuration", len(nested))
	}
	for _, key := range nested {
		ring.Add(key)
	}
	moved := strings.Replace(movedKey, "sno-seed", "sno-target", 1)
	e.envelopes[moved] = e.envelopes[movedKey]
	delete(e.envelopes, movedKey)
	for name, before := range e.envelopes {
		envelope, content, err := ring.Open(name, []byte(got[name]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if envelope.Mode != before.Mode || envelope.Name != before.Name || envelope.Key == before.Key {
			t.Errorf("%s: got %v, was %v", name, envelope, before)
		}
		if _, _, err := old.Open(name, []byte(got[name])); !errors.Is(err, atrest.ErrKey) {
			t.Errorf("%s: the seed's key opens it: %v", name, err)
		}
		got[name] = string(content)
	}
	if got[bystanderKey] != e.content[bystanderKey] || got[encryptedNo] != e.content[encryptedNo] || got[movedKey] != "" {
		t.Error("bystanders changed")
	}
	if secret := cryptotest.Decoded(t, got[encryptedTLS], &corev1.Secret{}); string(secret.Data["tls.key"]) != files["pki/tls.key"] {
		t.Error("the encrypted secret's private key differs from the file's")
	}
	if !strings.Contains(got[routeKey], strings.ReplaceAll(files["pki/tls.key"], "\n", `\n`)) {
		t.Error("the encrypted route's private key differs from the file's")
	}
	if secret := cryptotest.Decoded(t, got[operatorKey], &corev1.Secret{}); !bytes.Equal(secret.Data["encryption.apiserver.operator.openshift.io-key"], kube[0]) {
		t.Error("the operator's key differs from that of the configuration")
	}
	// A summary that was handed out twice would betray keys: only their hashes are in it.
	if text := fmt.Sprintf("%+v", summary); strings.Contains(text, b64(kube[0])) {
		t.Error("the summary holds a key")
	}
}

func TestEncryptionThatIsRefused(t *testing.T) {
	for _, test := range []struct {
		name, key, value, want string
	}{
		{"key management service", "/kubernetes.io/secrets/ns/kms", "k8s:enc:kms:v2:cloud:xxxxxxxx", "key management service"},
		{"unknown key", "/kubernetes.io/secrets/ns/lost", "k8s:enc:aescbc:v1:9:" + strings.Repeat("x", 64), "encrypted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEncryptedCluster(t)
			config, dir, _ := e.write(t, plan.Rules{}, map[string]string{test.key: test.value})
			_, err := crypto.Regenerate(t.Context(), config)
			var refusal *crypto.RefusedError
			if !errors.As(err, &refusal) || len(refusal.Problems) != 1 || refusal.Problems[0].Where != "etcd:"+test.key || !strings.Contains(refusal.Problems[0].What, test.want) {
				t.Errorf("got error %v, want a refusal about %s", err, test.key)
			}
			if diff := cmp.Diff(map[string]string(e.tree), map[string]string(read(t, dir))); diff != "" {
				t.Errorf("files changed:\n%s", diff)
			}
		})
	}
	t.Run("values out of reach", func(t *testing.T) {
		problems := refused(t, newEncryptedCluster(t).tree, plan.Rules{})
		if len(problems) != 1 || !strings.Contains(problems[0].What, "no etcd") {
			t.Errorf("got problems %v, want one about the missing etcd", problems)
		}
	})
}
