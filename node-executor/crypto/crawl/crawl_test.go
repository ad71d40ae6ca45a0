package crawl_test

import (
	"bytes"
	"compress/gzip"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	routev1 "github.com/openshift/api/route/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

func compressed(text string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return out.String()
}

func quoted(t testing.TB, text string) string {
	t.Helper()
	out, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// nestings are ways in which PEM stands somewhere, each with how it looks with the given block.
func nestings(t testing.TB) map[string]func(block string) string {
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	return map[string]func(string) string{
		"plain":            func(p string) string { return p },
		"among words":      func(p string) string { return "# before\n" + p + "after\n" + p },
		"carriage returns": func(p string) string { return strings.ReplaceAll(p, "\n", "\r\n") },
		"no final newline": func(p string) string { return strings.TrimSpace(p) },
		"YAML block": func(p string) string {
			return "ca: |\n    " + strings.ReplaceAll(strings.TrimSpace(p), "\n", "\n    ") + "\nother: 1\n"
		},
		"YAML quoted":             func(p string) string { return `ca: "` + strings.ReplaceAll(p, "\n", `\n`) + "\"\n" },
		"JSON":                    func(p string) string { return `{"ca": ` + quoted(t, p) + `, "n":1}` },
		"JSON in JSON":            func(p string) string { return `{"ca": ` + quoted(t, `{"inner": `+quoted(t, p)+`}`) + `}` },
		"base64":                  func(p string) string { return "data: " + b64(p) + "\n" },
		"base64 twice":            func(p string) string { return "data: " + b64("x: "+b64(p)) + "\n" },
		"base64 and the next key": func(p string) string { return "ca: " + b64(p) + "\n    client-key: x\n" },
		"base64, wrapped":         func(p string) string { return "data: |\n  " + wrapped(b64(p), 76, "\n  ") + "\n" },
		"data URL, base64":        func(p string) string { return `{"source":"data:text/plain;charset=utf-8;base64,` + b64(p) + `"}` },
		"data URL, escaped": func(p string) string {
			return `{"source":"data:,` + strings.ReplaceAll(url.QueryEscape(p), "+", "%20") + `"}`
		},
		"gzip":           compressed,
		"gzip in base64": func(p string) string { return "x: " + b64(compressed("y: "+p)) },
		"odd bytes":      func(p string) string { return "\xff\xfe\x00\n" + p + "\x80" },
		"secret": func(p string) string {
			return cryptotest.Stored(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string][]byte{"tls.crt": []byte(p)}, Type: "t"})
		},
		"annotation": func(p string) string {
			return cryptotest.Stored(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"x": `{"ca":` + quoted(t, p) + `}`}}})
		},
		"webhook": func(p string) string {
			return cryptotest.Stored(t, &admissionv1.ValidatingWebhookConfiguration{Webhooks: []admissionv1.ValidatingWebhook{{Name: "w", ClientConfig: admissionv1.WebhookClientConfig{CABundle: []byte(p)}}}})
		},
		"route": func(p string) string {
			r := &routev1.Route{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Spec: routev1.RouteSpec{Host: "h", TLS: &routev1.TLSConfig{Termination: "edge", Certificate: p, CACertificate: p}}}
			return stored(t, "route.openshift.io/v1", "Route", r)
		},
		"CBOR": func(p string) string {
			return cborOf(t, map[string]any{"data": map[string]any{"ca": p, "n": 300, "list": []string{"a"}}})
		},
		"CBOR bytes": func(p string) string { return cborOf(t, map[string]any{"data": []byte(p)}) },
	}
}

// cborOf encodes as Kubernetes does: the self-described tag, deterministic.
func cborOf(t testing.TB, value any) string {
	t.Helper()
	mode, err := cbor.EncOptions{Sort: cbor.SortBytewiseLexical}.EncMode()
	if err != nil {
		t.Fatal(err)
	}
	out, err := mode.Marshal(cbor.RawTag{Number: 55799, Content: must(mode.Marshal(value))})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func wrapped(text string, width int, separator string) string {
	var lines []string
	for len(text) > width {
		lines, text = append(lines, text[:width]), text[width:]
	}
	return strings.Join(append(lines, text), separator)
}

func rewrite(t testing.TB, doc string, leaf func(crawl.Leaf) ([]byte, error)) string {
	t.Helper()
	edits, err := crawl.Rewrite([]byte(doc), crawl.Handler{Leaf: leaf})
	if err != nil {
		t.Fatal(err)
	}
	out, err := splice.Apply([]byte(doc), edits)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestEveryNesting(t *testing.T) {
	old, renewed := cryptotest.Authority(t, "old", cryptotest.RSA(t, 0)), cryptotest.Authority(t, "a longer name", cryptotest.EC(t))
	for name, nest := range nestings(t) {
		t.Run(name, func(t *testing.T) {
			found := 0
			got := rewrite(t, nest(old.PEM()), func(l crawl.Leaf) ([]byte, error) {
				if found++; l.Kind != crawl.Certificate || !bytes.Equal(l.Bytes, old.Certificate.Raw) {
					t.Errorf("found %s at %s", l.Kind, l.Path)
				}
				return renewed.Certificate.Raw, nil
			})
			if found == 0 {
				t.Fatal("found nothing")
			}
			want := nest(renewed.PEM())
			if strings.HasPrefix(name, "gzip") {
				return // two compressions of one text need not be equal; the next test opens them
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnpaddedStaysUnpadded(t *testing.T) {
	unpadded := func(text string) string { return base64.RawStdEncoding.EncodeToString([]byte(text)) }
	// Only a length that calls for padding tells that there is none.
	inNeed := func(key crypto.Signer) cryptotest.Pair {
		for name := "n"; ; name += "n" {
			if p := cryptotest.Authority(t, name, key); len(p.PEM())%3 != 0 {
				return p
			}
		}
	}
	old, renewed := inNeed(cryptotest.RSA(t, 0)), inNeed(cryptotest.EC(t))
	got := rewrite(t, "data: "+unpadded(old.PEM())+"\n", func(crawl.Leaf) ([]byte, error) { return renewed.Certificate.Raw, nil })
	if want := "data: " + unpadded(renewed.PEM()) + "\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What was put in place is found there again, and putting the old one back gives the first document.
func TestThereAndBack(t *testing.T) {
	old, renewed := cryptotest.Authority(t, "old", cryptotest.RSA(t, 0)), cryptotest.Authority(t, "new", cryptotest.EC(t))
	swap := func(from, to []byte) func(crawl.Leaf) ([]byte, error) {
		return func(l crawl.Leaf) ([]byte, error) {
			if !bytes.Equal(l.Bytes, from) {
				t.Errorf("found something else at %s", l.Path)
			}
			return to, nil
		}
	}
	for name, nest := range nestings(t) {
		t.Run(name, func(t *testing.T) {
			first := nest(old.PEM())
			there := rewrite(t, first, swap(old.Certificate.Raw, renewed.Certificate.Raw))
			if back := rewrite(t, there, swap(renewed.Certificate.Raw, old.Certificate.Raw)); back != first {
				t.Errorf("got %q, want %q", back, first)
			}
		})
	}
}

func TestTokens(t *testing.T) {
	token := cryptotest.Token(t, cryptotest.EC(t), "a")
	encoded := base64.StdEncoding.EncodeToString([]byte("<token>:" + token))
	for name, doc := range map[string]string{
		"alone": token, "newline": token + "\n", "YAML": "token: " + token + "\nnext: 1\n", "JSON": `{"token":"` + token + `"}`,
		"after an escape": `{"text":"first\n` + token + `\n"}`, "dockercfg": `{"auths":{"r":{"auth":"` + encoded + `","password":"` + token + `"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := rewrite(t, doc, func(l crawl.Leaf) ([]byte, error) {
				if l.Kind != crawl.Token || string(l.Bytes) != token {
					t.Errorf("found %s %q", l.Kind, l.Bytes)
				}
				return []byte("NEW"), nil
			})
			if strings.Contains(got, token) || !strings.Contains(got, "NEW") || strings.Contains(got, encoded) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// stored wraps an object whose group is not in the standard scheme.
func stored(t testing.TB, version, kind string, o interface{ Marshal() ([]byte, error) }) string {
	t.Helper()
	raw, err := o.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	meta := "\x0a" + lengthPrefixed(version) + "\x12" + lengthPrefixed(kind)
	return "k8s\x00\x0a" + lengthPrefixed(meta) + "\x12" + lengthPrefixed(string(raw))
}

func TestFindings(t *testing.T) {
	key := cryptotest.KeyPEM(cryptotest.EC(t))
	deep := key
	for range crawl.MaxDepth + 2 {
		deep = "x: " + base64.StdEncoding.EncodeToString([]byte(deep))
	}
	unknown := func(text string) string {
		return "k8s\x00\x0a\x0f\x0a\x04a/v1\x12\x07Unknown\x12" + lengthPrefixed("\x0a"+lengthPrefixed(text))
	}
	token := cryptotest.Token(t, cryptotest.EC(t), "a")
	ssh := "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU=\n-----END OPENSSH PRIVATE KEY-----\n"
	pgp := "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\nxcLYBFzm\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----\n"
	zipped := compressed(key + strings.Repeat("\n", 1<<16) + key)
	for _, test := range []struct {
		name, doc string
		want      crawl.Finding
	}{
		{"damaged", strings.Replace(key, "M", "!", 1), crawl.Finding{Reason: crawl.Malformed, Detail: "EC PRIVATE KEY", Serious: true}},
		{"encrypted at rest", "k8s:enc:aescbc:v1:1:xxxx", crawl.Finding{Reason: crawl.Encrypted, Detail: "value encrypted at rest", Serious: true}},
		{"request", cryptotest.Block("CERTIFICATE REQUEST", []byte{0x30, 0}), crawl.Finding{Reason: crawl.OtherPEM, Detail: "CERTIFICATE REQUEST"}},
		{"too deep", deep, crawl.Finding{Reason: crawl.TooDeep, Detail: "more than 8 layers", Serious: true}},
		{"SSH key", ssh, crawl.Finding{Reason: crawl.OtherKey, Detail: "OPENSSH PRIVATE KEY"}},
		{"PGP key", pgp, crawl.Finding{Reason: crawl.OtherKey, Detail: "PGP PRIVATE KEY BLOCK"}},
		{"DSA key", cryptotest.Block("DSA PRIVATE KEY", []byte{0x30, 0}), crawl.Finding{Reason: crawl.OtherKey, Detail: "DSA PRIVATE KEY"}},
		{"encrypted key", cryptotest.Block("ENCRYPTED PRIVATE KEY", []byte{0x30, 0}), crawl.Finding{Reason: crawl.OtherPEM, Detail: "ENCRYPTED PRIVATE KEY", Serious: true}},
		{"damaged gzip with a key", zipped[:len(zipped)-9], crawl.Finding{Reason: crawl.Malformed, Detail: "gzip", Serious: true}},
		{"damaged gzip", "\x1f\x8b\x08 and what is none", crawl.Finding{Reason: crawl.Malformed, Detail: "gzip"}},
		{"unknown kind with a token", unknown("\x00" + token), crawl.Finding{Reason: crawl.UnknownKind, Detail: "a/v1, Kind=Unknown", Serious: true}},
		{"unknown kind with what is none", unknown("eyJhbGciOi.eyJhbGciOi.eyJhbGciOi eyJ"), crawl.Finding{Reason: crawl.UnknownKind, Detail: "a/v1, Kind=Unknown"}},
		{"unknown field with a token", unknownField("bearer " + token), crawl.Finding{Reason: crawl.UnknownKind, Detail: "field 1007", Serious: true}},
		{"unknown kind", unknown(key), crawl.Finding{Reason: crawl.UnknownKind, Detail: "a/v1, Kind=Unknown", Serious: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var found []crawl.Finding
			edits, err := crawl.Rewrite([]byte(test.doc), crawl.Handler{Finding: func(f crawl.Finding) {
				f.Path = ""
				found = append(found, f)
			}})
			if err != nil || len(edits) != 0 {
				t.Errorf("got edits %v, error %v", edits, err)
			}
			if diff := cmp.Diff([]crawl.Finding{test.want}, found); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// unknownField is a secret that has only a field which nobody knows.
func unknownField(text string) string {
	return "k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12" + lengthPrefixed("\xfa\x3e"+lengthPrefixed(text))
}

func lengthPrefixed(s string) string {
	if len(s) < 0x80 {
		return string(rune(len(s))) + s
	}
	return string([]byte{byte(len(s))&0x7f | 0x80, byte(len(s) >> 7)}) + s
}

// Of a container that cannot be written again, nothing is shown as if it could be replaced.
func TestDamagedContainersShowNothing(t *testing.T) {
	key := cryptotest.KeyPEM(cryptotest.EC(t))
	secret := cryptotest.Stored(t, &corev1.Secret{Data: map[string][]byte{"tls.key": []byte(key)}})
	for name, doc := range map[string]string{
		"CBOR":     cborOf(t, []any{key, "end"}) + "more",
		"protobuf": stored(t, "v1", "Secret", rawBytes(secret[len(secret)-len(key)-20:])),
		"envelope": secret[:len(secret)-30],
	} {
		t.Run(name, func(t *testing.T) {
			var found []crawl.Finding
			edits, err := crawl.Rewrite([]byte(doc), crawl.Handler{
				Leaf:    func(l crawl.Leaf) ([]byte, error) { t.Errorf("shown: %s", l.Path); return nil, nil },
				Finding: func(f crawl.Finding) { found = append(found, f) },
			})
			if err != nil || len(edits) != 0 || len(found) != 1 || found[0].Reason != crawl.Malformed || !found[0].Serious {
				t.Errorf("got edits %v, findings %v, error %v", edits, found, err)
			}
		})
	}
}

type rawBytes []byte

func (b rawBytes) Marshal() ([]byte, error) { return b, nil }

// An unknown field of a newer API version survives, next to a value that changes.
func TestUnknownFieldSurvives(t *testing.T) {
	old, renewed := cryptotest.Authority(t, "old", cryptotest.EC(t)), cryptotest.Authority(t, "new", cryptotest.EC(t))
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string][]byte{"tls.crt": []byte(old.PEM())}}
	raw, err := secret.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const unknown = "\xfa\x3e\x05later" // field 1007
	doc := "k8s\x00\x0a\x0c\x0a\x02v1\x12\x06Secret\x12" + lengthPrefixed(string(raw)+unknown)
	got := rewrite(t, doc, func(crawl.Leaf) ([]byte, error) { return renewed.Certificate.Raw, nil })
	if !strings.HasSuffix(got, unknown) || strings.Contains(got, old.PEM()) || !strings.Contains(got, renewed.PEM()) {
		t.Errorf("got %q", got)
	}
}

// A label is changed only where it would become a lie.
func TestLabels(t *testing.T) {
	ec, rsa := cryptotest.EC(t), cryptotest.RSA(t, 0)
	der := func(text string) []byte { block, _ := pem.Decode([]byte(text)); return block.Bytes }
	for _, test := range []struct {
		name, doc string
		with      []byte
		want      string
	}{
		{"same", cryptotest.KeyPEM(ec), der(cryptotest.KeyPEM(cryptotest.EC(t))), "EC PRIVATE KEY"},
		{"RSA becomes EC", cryptotest.KeyPEM(rsa), der(cryptotest.KeyPEM8(ec)), "PRIVATE KEY"},
		{"general", cryptotest.KeyPEM8(rsa), der(cryptotest.KeyPEM8(ec)), "PRIVATE KEY"},
		{"a lie already", cryptotest.Block("EC PRIVATE KEY", der(cryptotest.KeyPEM8(ec))), der(cryptotest.KeyPEM8(cryptotest.EC(t))), "EC PRIVATE KEY"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := rewrite(t, test.doc, func(crawl.Leaf) ([]byte, error) { return test.with, nil })
			if want := cryptotest.Block(test.want, test.with); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
