package crawl_test

import (
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/jwk"
)

// ovsdb writes records as ovsdb-server does.
func ovsdb(records ...string) (doc string) {
	for _, r := range records {
		doc += fmt.Sprintf("OVSDB JSON %d %x\n%s", len(r), sha1.Sum([]byte(r)), r)
	}
	return doc
}

func TestOVSDB(t *testing.T) {
	old, renewed := cryptotest.Authority(t, "old", cryptotest.RSA(t, 0)), cryptotest.Authority(t, "new", cryptotest.EC(t))
	database := func(block string) string {
		return ovsdb(`{"name":"OVN_Northbound"}`+"\n", `{"SSL":{"1":{"ca_cert":`+quoted(t, block)+`}}}`+"\n", `{"_date":1}`+"\n")
	}
	got := rewrite(t, database(old.PEM()), func(crawl.Leaf) ([]byte, error) { return renewed.Certificate.Raw, nil })
	if want := database(renewed.PEM()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, doc := range map[string]string{
		"sum":    strings.Replace(database(old.PEM()), "ca_cert", "CA_cert", 1),
		"length": database(old.PEM())[:700],
		"head":   database(old.PEM()) + "OVSDB JSON\n",
	} {
		t.Run("wrong "+name, func(t *testing.T) {
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

// jsonKeySet writes a set of keys as another library does.
func jsonKeySet(t testing.TB, keys ...any) string {
	t.Helper()
	set := jose.JSONWebKeySet{}
	for _, key := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: "x", Use: "sig"})
	}
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestJSONKeys(t *testing.T) {
	old, renewed := cryptotest.EC(t), cryptotest.EC(t)
	block := cryptotest.KeyPEM(cryptotest.Ed(t))
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for name, nest := range map[string]func(set string) string{
		"set": func(s string) string { return s },
		"indented": func(s string) string {
			return strings.NewReplacer(",", ",\n    ", ":", ": ", "{", "{ ", "}", "\n}").Replace(s)
		},
		"YAML":          func(s string) string { return "jwks: '" + s + "'\nnext: 1\n" },
		"JSON in JSON":  func(s string) string { return `{"x":` + quoted(t, s) + `}` },
		"twice in JSON": func(s string) string { return `{"x":` + quoted(t, `{"y":`+quoted(t, s)+`}`) + `}` },
		"indented, in JSON": func(s string) string {
			return `{"x":` + quoted(t, `{"y":`+quoted(t, strings.ReplaceAll(s, ",", ",\n  "))+`}`) + `}`
		},
		"among others":      func(s string) string { return "{\"a\": {}} " + s + " {" + s + "}} - {" + block },
		"base64":            func(s string) string { return "jwks: " + b64(s) + "\n" },
		"after a PEM block": func(s string) string { return block + s },
	} {
		t.Run(name, func(t *testing.T) {
			found := 0
			got := rewrite(t, nest(jsonKeySet(t, old, old.Public())), func(l crawl.Leaf) ([]byte, error) {
				if l.Kind != crawl.JSONKey {
					return nil, nil
				}
				found++
				k, err := jwk.Parse(l.Bytes)
				if err != nil {
					return nil, err
				}
				return k.Replace(renewed)
			})
			if want := nest(jsonKeySet(t, renewed, renewed.Public())); found < 2 || got != want {
				t.Errorf("found %d, got %q, want %q", found, got, want)
			}
		})
	}
}

func TestJSONKeyFindings(t *testing.T) {
	for _, test := range []struct {
		name, doc string
		reason    crawl.Reason
		serious   bool
	}{
		{"symmetric", `{"kty":"oct","k":"c2VjcmV0"}`, crawl.UnknownKey, true},
		{"of a later kind", `{"use":"sig","kty":"later","x":"AA"}`, crawl.UnknownKey, false},
		{"in a string", `{"x":"{\"kty\":\"oct\",\"k\":\"AA\"}"}`, crawl.UnknownKey, true},
		{"damaged", `{"kty":"EC","d":"AA",}`, crawl.Malformed, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var found []crawl.Finding
			edits, err := crawl.Rewrite([]byte(test.doc), crawl.Handler{Finding: func(f crawl.Finding) { found = append(found, f) }})
			if err != nil || len(edits) != 0 || len(found) != 1 || found[0].Reason != test.reason || found[0].Serious != test.serious {
				t.Errorf("got edits %v, findings %v, error %v", edits, found, err)
			}
		})
	}
	for name, doc := range map[string]string{"prose": `the member "kty" of a JWK`, "other JSON": `{"qkty":"RSA"}`, "no end": `{"kty":"RSA"`, "nothing": `kty}`} {
		t.Run(name, func(t *testing.T) {
			edits, err := crawl.Rewrite([]byte(doc), crawl.Handler{Finding: func(f crawl.Finding) { t.Errorf("found %v", f) }})
			if err != nil || len(edits) != 0 {
				t.Errorf("got edits %v, error %v", edits, err)
			}
		})
	}
}

// The API server stores definitions as protobuf or as JSON, by version.
func TestConversionWebhook(t *testing.T) {
	old, renewed := cryptotest.Authority(t, "old", cryptotest.RSA(t, 0)), cryptotest.Authority(t, "new", cryptotest.EC(t))
	definition := func(block string) *apiextensionsv1.CustomResourceDefinition {
		d := &apiextensionsv1.CustomResourceDefinition{}
		d.Name = "things.example.com"
		d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{
			OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Description: "Text that begins with -----BEGIN PRIVATE KEY----- and ends so."},
		}}}
		d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: "Webhook", Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig: &apiextensionsv1.WebhookClientConfig{CABundle: []byte(block)},
		}}
		return d
	}
	for name, encode := range map[string]func(block string) string{
		"protobuf": func(block string) string {
			return stored(t, "apiextensions.k8s.io/v1", "CustomResourceDefinition", definition(block))
		},
		"JSON": func(block string) string {
			text, err := json.Marshal(definition(block))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := rewrite(t, encode(old.PEM()), func(crawl.Leaf) ([]byte, error) { return renewed.Certificate.Raw, nil })
			if got != encode(renewed.PEM()) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A container that nobody can open hides nothing of what stands beside it.
func TestSealedBesideOthers(t *testing.T) {
	key := cryptotest.EC(t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sealed := base64.StdEncoding.EncodeToString([]byte("\xce\xce\xce\xce\x00\x00\x00\x02" + strings.Repeat("x", 64)))
	doc := "store: " + sealed + "\nkey: " + base64.StdEncoding.EncodeToString(der) + "\n" + cryptotest.KeyPEM(key)
	leaves, findings := 0, 0
	_, err = crawl.Rewrite([]byte(doc), crawl.Handler{
		Leaf:    func(crawl.Leaf) ([]byte, error) { leaves++; return nil, nil },
		Finding: func(f crawl.Finding) { findings++ },
	})
	if err != nil || leaves != 2 || findings != 1 {
		t.Errorf("got %d leaves, %d findings, error %v", leaves, findings, err)
	}
}

func FuzzOVSDB(f *testing.F) {
	old, renewed := cryptotest.Authority(f, "old", cryptotest.EC(f)), cryptotest.Authority(f, "new", cryptotest.RSA(f, 0))
	f.Add([]byte(`{"a":` + quoted(f, old.PEM()) + `}`))
	f.Add([]byte("no material"))
	f.Fuzz(func(t *testing.T, record []byte) {
		doc := []byte(ovsdb(`{"name":"x"}`+"\n", string(record), "{}"))
		edits, err := crawl.Rewrite(doc, crawl.Handler{Leaf: func(l crawl.Leaf) ([]byte, error) { return l.Bytes, nil }})
		if err != nil || len(edits) != 0 {
			t.Fatalf("got edits %v, error %v for nothing", edits, err)
		}
		got := rewrite(t, string(doc), func(l crawl.Leaf) ([]byte, error) {
			if l.Kind == crawl.Certificate {
				return renewed.Certificate.Raw, nil
			}
			return nil, nil
		})
		_, err = crawl.Rewrite([]byte(got), crawl.Handler{Finding: func(found crawl.Finding) {
			if found.Detail == "OVSDB" {
				t.Fatal("the database is damaged")
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
	})
}
