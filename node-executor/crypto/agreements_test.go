package crypto_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
)

// note is an annotation that repeats something that stands elsewhere.
type note struct {
	key, name string // of the object in etcd, of the annotation
	pods      bool   // it is on the template of pods, not on the object itself
	about     string // what it speaks of: another object's key, or a property of the own certificate
}

// truths are the notes that are true, computed by the formulas of the operators that write them (library-go's
// certrotation and resourcehash, OLM's install).
func truths(t testing.TB, objects map[string]string) map[note]bool {
	t.Helper()
	w := notary{t: t, objects: objects, bundles: map[string]string{}, found: map[note]bool{}}
	for key, value := range objects {
		w.notice(key, value)
	}
	for key := range objects {
		object, metas := annotated(t, key, objects[key])
		for i, meta := range metas {
			for name, text := range meta.Annotations {
				w.judge(object, note{key: key, name: name, pods: i > 0}, text)
			}
		}
	}
	return w.found
}

// annotated decodes an object that may have such notes; the second of its metadata is its pods'.
func annotated(t testing.TB, key, value string) (runtime.Object, []*metav1.ObjectMeta) {
	t.Helper()
	switch {
	case strings.HasPrefix(key, "/kubernetes.io/secrets/"):
		s := cryptotest.Decoded(t, value, &corev1.Secret{})
		return s, []*metav1.ObjectMeta{&s.ObjectMeta}
	case strings.HasPrefix(key, "/kubernetes.io/deployments/"):
		d := cryptotest.Decoded(t, value, &appsv1.Deployment{})
		return d, []*metav1.ObjectMeta{&d.ObjectMeta, &d.Spec.Template.ObjectMeta}
	}
	return nil, nil
}

// isNote tells by an annotation's name whether it is one.
func isNote(name string) bool {
	return strings.HasPrefix(name, "auth.openshift.io/certificate-") || strings.HasPrefix(name, "operator.openshift.io/dep-") || name == "olmcahash"
}

type notary struct {
	t       testing.TB
	objects map[string]string
	bundles map[string]string // authorities that OLM made, by the key of the object that has them
	digests []digest
	found   map[note]bool
}

// digest is what an operator notes of an object that it mounts, and what it calls that note.
type digest struct{ key, name, value string }

// notice collects what others may speak of.
func (w *notary) notice(key, value string) {
	namespaced := strings.Split(strings.TrimPrefix(key, "/kubernetes.io/"), "/")
	var data any
	switch {
	case strings.HasPrefix(key, "/kubernetes.io/apiregistration.k8s.io/apiservices/"):
		var service struct{ Spec struct{ CABundle []byte } }
		if err := json.Unmarshal([]byte(value), &service); err != nil {
			w.t.Fatal(err)
		}
		w.bundles[key] = string(service.Spec.CABundle)
		return
	case strings.HasPrefix(key, "/kubernetes.io/secrets/"):
		s := cryptotest.Decoded(w.t, value, &corev1.Secret{})
		w.bundles[key], data = string(s.Data["olmCAKey"]), s.Data
	case strings.HasPrefix(key, "/kubernetes.io/configmaps/"):
		data = cryptotest.Decoded(w.t, value, &corev1.ConfigMap{}).Data
	default:
		return
	}
	text, err := json.Marshal(data)
	if err != nil {
		w.t.Fatal(err)
	}
	object := namespaced[1] + "." + namespaced[2] + "." + strings.TrimSuffix(namespaced[0], "s")
	name := "operator.openshift.io/dep-" + object
	if len(name) > 63 {
		name = ("operator.openshift.io/dep-" + sha256Hex(object))[:63]
	}
	w.digests = append(w.digests, digest{key, name, fnv1(text)})
}

// judge decides whether a note is true.
func (w *notary) judge(object runtime.Object, n note, text string) {
	truth := func(about string) {
		n.about = about
		w.found[n] = true
	}
	for _, d := range w.digests {
		if d.name == n.name && d.value == text {
			truth(d.key)
		}
	}
	namespace := strings.Split(n.key, "/")[3]
	for key, bundle := range w.bundles {
		visible := strings.HasPrefix(key, "/kubernetes.io/secrets/"+namespace+"/") || strings.Contains(key, "/apiservices/")
		if n.name == "olmcahash" && visible && bundle != "" && text == sha256Hex(bundle) {
			truth(key)
		}
	}
	secret, ok := object.(*corev1.Secret)
	if block, _ := pem.Decode(secretCertificate(secret)); ok && block != nil {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			w.t.Fatal(err)
		}
		for property, value := range map[string]string{
			"not-before": c.NotBefore.UTC().Format(time.RFC3339), "not-after": c.NotAfter.UTC().Format(time.RFC3339),
			"issuer": c.Issuer.CommonName, "hostnames": strings.Join(namesOf(c), ","),
		} {
			if n.name == "auth.openshift.io/certificate-"+property && text == value {
				truth(property)
			}
		}
	}
}

func secretCertificate(s *corev1.Secret) []byte {
	if s == nil {
		return nil
	}
	return s.Data["tls.crt"]
}

// namesOf are a certificate's names and addresses, sorted.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, fmt.Sprint(ip))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// silenced is an object without its notes' texts, and whether it has any.
func silenced(t testing.TB, key, value string) (string, bool) {
	t.Helper()
	object, metas := annotated(t, key, value)
	found := false
	for _, meta := range metas {
		for name := range meta.Annotations {
			if isNote(name) {
				meta.Annotations[name], found = "", true
			}
		}
	}
	if !found {
		return value, false
	}
	return cryptotest.Stored(t, object), true
}

// agreesStill checks that each note of a cluster that was true of something is true of the same under its new name.
func agreesStill(t *testing.T, renames rename.Rules, before, after map[string]string) {
	is, kinds := truths(t, after), map[string]int{}
	for n := range truths(t, before) {
		n.key, n.about = renames.Apply(n.key), renames.Apply(n.about)
		if !is[n] {
			t.Errorf("%s of %s was true of %s", n.name, n.key, n.about)
		}
		kind, _, _ := strings.Cut(n.name, "-")
		kinds[kind]++
	}
	t.Logf("true notes: %v", kinds)
	for kind, least := range map[string]int{"auth.openshift.io/certificate": 300, "olmcahash": 4, "operator.openshift.io/dep": 12} {
		if kinds[kind] < least {
			t.Errorf("got %d notes %s…, want at least %d", kinds[kind], kind, least)
		}
	}
}
