package jwk_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/jwk"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// written is a key as another library writes it.
func written(t testing.TB, key any, id string) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: id, Use: "sig"})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readBack reads a key with that library.
func readBack(t *testing.T, text []byte) *jose.JSONWebKey {
	t.Helper()
	var k jose.JSONWebKey
	if err := json.Unmarshal(text, &k); err != nil || !k.Valid() {
		t.Fatalf("cannot read what was written: %v", err)
	}
	return &k
}

func thumbprint(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

func kubernetesID(t testing.TB, public crypto.PublicKey) string {
	t.Helper()
	id, err := pki.IDOf(public)
	if err != nil {
		t.Fatal(err)
	}
	return token.KeyIDOf(id)
}

func p521(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestReplace(t *testing.T) {
	for _, test := range []struct {
		name         string
		old, renewed crypto.Signer
	}{
		{"RSA", cryptotest.RSA(t, 0), cryptotest.RSA(t, 1)},
		{"P-256", cryptotest.EC(t), cryptotest.EC(t)},
		{"P-384", cryptotest.EC384(t), cryptotest.EC384(t)},
		{"P-521", p521(t), p521(t)},
		{"Ed25519", cryptotest.Ed(t), cryptotest.Ed(t)},
		{"another curve", cryptotest.EC(t), cryptotest.EC384(t)},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, id := range []struct{ name, old, want string }{
				{"own", "a name", "a name"},
				{"of Kubernetes", kubernetesID(t, test.old.Public()), kubernetesID(t, test.renewed.Public())},
				{"thumbprint", thumbprint(t, test.old.Public()), thumbprint(t, test.renewed.Public())},
			} {
				k, err := jwk.Parse([]byte(written(t, test.old, id.old)))
				if err != nil || k.Private == nil {
					t.Fatalf("got key %v, error %v", k, err)
				}
				text, err := k.Replace(test.renewed)
				if err != nil {
					t.Fatal(err)
				}
				got := readBack(t, text)
				if got.KeyID != id.want || got.Use != "sig" || kubernetesID(t, got.Public().Key) != kubernetesID(t, test.renewed.Public()) || got.IsPublic() {
					t.Errorf("%s: got key %s, id %q, want id %q", id.name, kubernetesID(t, got.Public().Key), got.KeyID, id.want)
				}
				if back, err := jwk.Parse(text); err != nil {
					t.Error(err)
				} else if first, err := back.Replace(test.old); err != nil || string(first) != written(t, test.old, id.old) {
					t.Errorf("%s: putting the old key back gave %s, error %v", id.name, first, err)
				}
			}
			public, err := jwk.Parse([]byte(written(t, test.old.Public(), "")))
			if err != nil || public.Private != nil {
				t.Fatalf("got key %v, error %v", public, err)
			}
			text, err := public.Replace(test.renewed)
			if err != nil || !readBack(t, text).IsPublic() {
				t.Errorf("a public key became %s, error %v", text, err)
			}
		})
	}
}

func TestLayoutIsKept(t *testing.T) {
	layout := func(key crypto.Signer) string {
		var m map[string]string
		if err := json.Unmarshal([]byte(written(t, key, "")), &m); err != nil {
			t.Fatal(err)
		}
		return "{ \"y\" : \"" + m["y"] + "\",\n\t\"later\": {\"a\":[1,2]}, \"kty\":\"EC\", \"crv\":\"P-256\",\"x\":\"" + m["x"] + "\" }"
	}
	old, renewed := cryptotest.EC(t), cryptotest.EC(t)
	k, err := jwk.Parse([]byte(layout(old)))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := k.Replace(renewed); err != nil || string(text) != layout(renewed) {
		t.Errorf("got %s, want %s, error %v", text, layout(renewed), err)
	}
}

func TestWhatIsNoKey(t *testing.T) {
	rsa := written(t, cryptotest.RSA(t, 0), "")
	for _, test := range []struct {
		name, text string
		want       error
		secret     bool
	}{
		{"empty", `{}`, jwk.ErrNotKey, false},
		{"not JSON", `{"kty":"RSA"`, jwk.ErrNotKey, false},
		{"kind is no text", `{"kty":1}`, jwk.ErrNotKey, false},
		{"symmetric", `{"kty":"oct","k":"c2VjcmV0"}`, jwk.ErrUnsupported, true},
		{"unknown kind", `{"kty":"lattice"}`, jwk.ErrUnsupported, false},
		{"unknown curve", `{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA","d":"AA"}`, jwk.ErrUnsupported, true},
		{"X25519", `{"kty":"OKP","crv":"X25519","x":"AA"}`, jwk.ErrUnsupported, false},
		{"without primes", `{"kty":"RSA","n":"` + strings.Repeat("A", 342) + `","e":"AQAB","d":"AA"}`, jwk.ErrUnsupported, true},
		{"with certificates", strings.Replace(rsa, `{`, `{"x5c":["AA"],`, 1), jwk.ErrUnsupported, true},
		{"halves that do not fit", strings.Replace(rsa, `"d":"`, `"d":"AA`, 1), jwk.ErrUnsupported, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := jwk.Parse([]byte(test.text)); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
			if got := jwk.Secret([]byte(test.text)); got != test.secret {
				t.Errorf("got secret %t, want %t", got, test.secret)
			}
		})
	}
	k, err := jwk.Parse([]byte(rsa))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Replace(cryptotest.EC(t)); !errors.Is(err, jwk.ErrUnsupported) {
		t.Errorf("got error %v for a key of another kind", err)
	}
}

// Whatever a document is: if a key is in it, the same key in its place changes nothing.
func FuzzParse(f *testing.F) {
	f.Add([]byte(written(f, cryptotest.RSA(f, 0), "a")))
	f.Add([]byte(written(f, cryptotest.EC(f), "")))
	f.Add([]byte(written(f, cryptotest.Ed(f), "b")))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := jwk.Parse(text)
		if err != nil || k.Private == nil {
			return
		}
		same, err := k.Replace(k.Private)
		if err != nil {
			t.Fatal(err)
		}
		again, err := jwk.Parse(same)
		if err != nil || again.Private == nil {
			t.Fatalf("cannot read again: %v", err)
		}
		if twice, err := again.Replace(k.Private); err != nil || !bytes.Equal(twice, same) {
			t.Fatalf("the same key twice changed the document: %v", err)
		}
	})
}
