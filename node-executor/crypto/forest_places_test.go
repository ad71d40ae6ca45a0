package crypto_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
)

// client writes a kubeconfig with a leaf's credentials, for a file and for a value, or not.
func (g *grower) client(issuer, leaf cryptotest.Pair) {
	if !g.chance("kubeconfig", 3) {
		return
	}
	n := len(g.pieces)
	text := config(tree{"pki/ca.crt": issuer.PEM(), "pki/tls.crt": leaf.PEM(), "pki/tls.key": leaf.KeyPEM()})
	g.tree[fmt.Sprintf("%d/kubeconfig", n)] = text
	g.values[fmt.Sprintf("/kubernetes.io/configmaps/ns/kubeconfig-%d", n)] = cryptotest.Stored(g.t, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "kubeconfig", Namespace: "ns"},
		Data:       map[string]string{"kubeconfig": text, "nested.json": quoted(g.t, map[string]string{"kubeconfig": text})},
	})
}

// served stores a leaf as OpenShift's operators do: a Secret that says what its certificate says, revisions of it, the files of
// a static pod, and what OLM and others note of it elsewhere.
func (g *grower) served(issuer, leaf cryptotest.Pair) {
	if !g.chance("secret", 2) {
		return
	}
	name := fmt.Sprint("tls-", len(g.pieces))
	c := leaf.Certificate
	notes := map[string]string{
		notBefore: c.NotBefore.UTC().Format(time.RFC3339), notAfter: c.NotAfter.UTC().Format(time.RFC3339),
		"auth.openshift.io/certificate-issuer": c.Issuer.CommonName, "auth.openshift.io/certificate-hostnames": "192.0.2.10,host.example",
		"olmcahash": sha256Hex(issuer.PEM()),
	}
	if g.chance("an untrue annotation", 4) {
		notes[rapid.SampledFrom(slices.Sorted(maps.Keys(notes))).Draw(g.r, "annotation")] = "of another certificate"
	}
	data := map[string][]byte{"tls.crt": []byte(leaf.PEM()), "tls.key": []byte(leaf.KeyPEM()), "olmCAKey": []byte(issuer.PEM())}
	for _, suffix := range []string{"", "-3", "-4"} {
		g.values["/kubernetes.io/secrets/ns/"+name+suffix] = cryptotest.Stored(g.t, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name + suffix, Namespace: "ns", Annotations: notes}, Data: data,
		})
	}
	for entry, content := range data {
		g.tree["static-pod-resources/"+name+"/"+entry] = string(content)
	}
	encoded, err := json.Marshal(data)
	if err != nil {
		g.r.Fatal(err)
	}
	g.values["/kubernetes.io/deployments/ns/"+name] = cryptotest.Stored(g.t, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"},
		Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			"operator.openshift.io/dep-ns." + name + ".secret": fnv1(encoded), "olmcahash": sha256Hex(issuer.PEM()),
		}}}},
	})
}

func sha256Hex(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// fnv1 is library-go's digest of the JSON of an object's data.
func fnv1(text []byte) string {
	digest := fnv.New32()
	_, _ = digest.Write(append(text, '\n'))
	return base64.URLEncoding.EncodeToString(digest.Sum(nil))
}

// style is how a piece stands in its place. Some are no text.
type style func(g *grower, p piece) string

var styles = []style{
	func(_ *grower, p piece) string { return p.text },
	func(_ *grower, p piece) string { return "# a comment\n" + p.text + "\n" },
	func(_ *grower, p piece) string { return "key: " + text64(p.text) + "\nnext-key: 1\n" },
	func(_ *grower, p piece) string {
		return "key: |\n    " + strings.ReplaceAll(strings.TrimSpace(p.text), "\n", "\n    ") + "\n"
	},
	func(g *grower, p piece) string { return quoted(g.t, map[string]string{"b": p.text, "a": "x"}) },
	func(_ *grower, p piece) string { return strings.ReplaceAll(p.text, "\n", "\r\n") },
	func(g *grower, p piece) string { return gzipped(g.t, "compressed: "+p.text) },
	func(g *grower, p piece) string { return "key: " + text64(gzipped(g.t, p.text)) + "\n" },
	func(_ *grower, p piece) string {
		return `{"source":"data:,` + strings.ReplaceAll(url.QueryEscape("# a file\n"+p.text), "+", "%20") + `"}`
	},
	func(_ *grower, p piece) string {
		return `{"source":"data:text/plain;charset=utf-8;base64,` + text64("# a file\n"+p.text) + `"}`
	},
	func(g *grower, p piece) string {
		if p.key == nil {
			return p.text
		}
		return g.jsonKey(p.key)
	},
}

// store puts content into a kind of place; several pieces share one.
type store func(g *grower, n int, content string)

// entry is the value of something in an object of which there may be more than one.
func (g *grower) entry(n int) string { return fmt.Sprintf("entry-%d-%d", n, len(g.values)) }

var stores = []store{
	func(g *grower, n int, content string) {
		if name := fmt.Sprint("f", n); utf8.ValidString(content) {
			g.tree[name] += content + "\n" // some pieces share a file
		} else {
			g.tree[fmt.Sprintf("%s.%d.gz", name, len(g.tree))] = content
		}
	},
	func(g *grower, n int, content string) {
		g.values["/kubernetes.io/secrets/ns/"+g.entry(n)] = cryptotest.Stored(g.t, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns"}, Data: map[string][]byte{"a": {0, 1, 255}, "b": []byte(content), "c": []byte("c")},
		})
	},
	func(g *grower, n int, content string) {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns"}, BinaryData: map[string][]byte{"b": []byte(content)}}
		if utf8.ValidString(content) {
			object.Data, object.Annotations = map[string]string{"a": content}, map[string]string{"last-applied": content}
		}
		g.values["/kubernetes.io/configmaps/ns/"+g.entry(n)] = cryptotest.Stored(g.t, object)
	},
	func(g *grower, n int, content string) {
		if !utf8.ValidString(content) {
			content = text64(content)
		}
		g.values["/kubernetes.io/example.com/things/ns/"+g.entry(n)] = `{"kind":"Thing", "spec":{"a":` + quoted(g.t, content) + `,"n":1.0}}` + "\n"
	},
	func(g *grower, n int, content string) {
		object := map[string]any{"kind": "Thing", "spec": map[string]any{"bytes": []byte(content), "n": 300}}
		text, err := cbor.Marshal(cbor.Tag{Number: 55799, Content: object})
		if err != nil {
			g.r.Fatal(err)
		}
		g.values["/kubernetes.io/example.com/binaries/ns/"+g.entry(n)] = string(text)
	},
}

// scatter puts each piece at least once somewhere.
func (g *grower) scatter() {
	g.values[bystanderKey] = cryptotest.Stored(g.t, &corev1.ConfigMap{Data: map[string]string{"words": "nothing to see in here"}})
	for i, p := range g.pieces {
		for copies := range rapid.IntRange(1, 3).Draw(g.r, "copies") {
			text := styles[g.index("style", len(styles))](g, p)
			stores[g.index("store", len(stores))](g, (i+copies*7)%5, text)
		}
	}
}

// seals are how values of etcd are encrypted, by their keys.
type seals map[string]atrest.Envelope

const encryptionConfig = "encryption/config.yaml"

// seal has the Secrets encrypted, or not.
func (g *grower) seal() seals {
	if !g.chance("encrypted", 3) {
		return nil
	}
	mode := rapid.SampledFrom([]atrest.Mode{atrest.CBC, atrest.GCM, atrest.Secretbox}).Draw(g.r, "mode")
	key := atrest.NewKey(make([]byte, 32))
	g.tree[encryptionConfig] = "kind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  - " + string(mode) +
		":\n      keys:\n      - name: \"1\"\n        secret: " + b64(key) + "\n  - identity: {}\n"
	sealed := seals{}
	for name := range g.values {
		if strings.HasPrefix(name, "/kubernetes.io/secrets/") {
			sealed[name] = atrest.Envelope{Mode: mode, Name: "1", Key: atrest.IDOf(key)}
		}
	}
	return sealed
}

// stored are the values as they stand in etcd.
func (f *forest) stored(g interface{ Fatal(...any) }) map[string]string {
	values := maps.Clone(f.values)
	for name, envelope := range f.seals {
		key, err := base64.StdEncoding.DecodeString(encryptionKeyIn(f.tree))
		if err != nil {
			g.Fatal(err)
		}
		sealed, err := atrest.Seal(envelope, key, name, []byte(values[name]))
		if err != nil {
			g.Fatal(err)
		}
		values[name] = string(sealed)
	}
	return values
}

// encryptionKeyIn is the key of the encryption configuration in base64, "" without one.
func encryptionKeyIn(w tree) string {
	_, rest, _ := strings.Cut(w[encryptionConfig], "secret: ")
	text, _, _ := strings.Cut(rest, "\n")
	return text
}
