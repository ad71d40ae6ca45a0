package token_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

func id(t testing.TB, key crypto.Signer) pki.KeyID {
	t.Helper()
	id, err := pki.IDOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// with makes an unsigned token with a header, as input for Resign.
func with(t *testing.T, header string) *token.Token {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	parsed, err := token.Parse([]byte(encode([]byte(header)) + "." + encode([]byte(`{"sub": "a"}`)) + "." + encode([]byte("x"))))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestResign(t *testing.T) {
	old := cryptotest.EC(t)
	kid := token.KeyIDOf(id(t, old))
	for _, test := range []struct {
		name, header string
		key          crypto.Signer
		keep         bool // the key id is kept
	}{
		{"RS256", `{"alg":"RS256","kid":"` + kid + `"}`, cryptotest.RSA(t, 0), false},
		{"RS512, other order and blanks", `{ "kid" : "` + kid + `", "typ":"JWT","alg":"RS512" }`, cryptotest.RSA(t, 0), false},
		{"PS256", `{"alg":"PS256","kid":"` + kid + `"}`, cryptotest.RSA(t, 0), false},
		{"ES256", `{"alg":"ES256","kid":"` + kid + `"}`, cryptotest.EC(t), false},
		{"ES384", `{"alg":"ES384","kid":"` + kid + `"}`, cryptotest.EC384(t), false},
		{"EdDSA", `{"alg":"EdDSA","kid":"` + kid + `"}`, cryptotest.Ed(t), false},
		{"a key id of another kind", `{"alg":"ES256","kid":"key-1"}`, cryptotest.EC(t), true},
		{"no key id", `{"alg":"ES256"}`, cryptotest.EC(t), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := with(t, test.header)
			compact, err := before.Resign(id(t, old), test.key)
			if err != nil {
				t.Fatal(err)
			}
			after, err := token.Parse(compact)
			if err != nil {
				t.Fatal(err)
			}
			if !after.SignedBy(test.key.Public()) || after.SignedBy(cryptotest.RSA(t, 1).Public()) || after.SignedBy(old.Public()) {
				t.Error("signature is not the new key's alone")
			}
			want := test.header
			if !test.keep {
				want = strings.Replace(want, kid, token.KeyIDOf(id(t, test.key)), 1)
			}
			header, err := base64.RawURLEncoding.DecodeString(strings.Split(string(compact), ".")[0])
			if err != nil || string(header) != want {
				t.Errorf("got header %s, want %s", header, want)
			}
			if !after.SamePayload(before) {
				t.Error("payload changed")
			}
		})
	}
}

func TestKeysThatDoNotFit(t *testing.T) {
	for _, test := range []struct {
		algorithm string
		key       crypto.Signer
	}{
		{"RS256", cryptotest.EC(t)}, {"ES256", cryptotest.RSA(t, 0)}, {"ES384", cryptotest.EC(t)}, {"HS256", cryptotest.RSA(t, 0)}, {"none", cryptotest.Ed(t)},
	} {
		t.Run(test.algorithm, func(t *testing.T) {
			unsigned := with(t, `{"alg":"`+test.algorithm+`"}`)
			if _, err := unsigned.Resign(pki.KeyID{}, test.key); !errors.Is(err, token.ErrAlgorithm) {
				t.Errorf("got error %v, want %v", err, token.ErrAlgorithm)
			}
			if unsigned.SignedBy(test.key.Public()) {
				t.Error("accepted as signed")
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{"", "a.b", "!.e30.e30", "e30.e30.!", "bm9qc29u.e30.e30"} {
		if _, err := token.Parse([]byte(text)); !errors.Is(err, token.ErrMalformed) {
			t.Errorf("%q: got error %v, want %v", text, err, token.ErrMalformed)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(cryptotest.Token(f, cryptotest.EC(f), "a"))
	f.Add(cryptotest.Token(f, cryptotest.RSA(f, 0), "a"))
	rsa, ec := cryptotest.RSA(f, 1), cryptotest.EC(f)
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := token.Parse([]byte(text))
		if err != nil {
			return
		}
		if parsed.SignedBy(rsa.Public()) || parsed.SignedBy(ec.Public()) {
			t.Error("a key that signed nothing signed this")
		}
	})
}

// Whatever the header is: of a token that is signed anew, the key's id becomes the new key's where it was the old one's, and
// nothing else in it changes.
func FuzzResign(f *testing.F) {
	old, key := cryptotest.EC(f), cryptotest.EC(f)
	oldID, newID := token.KeyIDOf(id(f, old)), token.KeyIDOf(id(f, key))
	for _, header := range []string{
		`{"alg":"ES256","kid":"KID"}`, `{ "typ" : "JWT", "kid" :"KID" ,"alg":"ES256"}`, `{"alg":"ES256","kid":"other"}`, `{"alg":"ES256"}`,
		`{"alg":"ES256","x":"KID","kid":"KID"}`, `{"alg":"ES256","x":{"kid":"KID"},"kid":"KID"}`, `{"alg":"ES256","kid":"KID","kid":"KID"}`,
		`{"alg":"ES256","kid":"\u004bID"}`, `{"alg":"ES256","KID":"KID"}`,
	} {
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header string) {
		header = strings.ReplaceAll(strings.ReplaceAll(header, `\u004bID`, `\u00`+fmt.Sprintf("%02x", oldID[0])+oldID[1:]), "KID", oldID)
		encode := base64.RawURLEncoding.EncodeToString
		before, err := token.Parse([]byte(encode([]byte(header)) + ".e30." + encode([]byte("x"))))
		if err != nil {
			return
		}
		compact, err := before.Resign(id(t, old), key)
		if err != nil {
			return // of another algorithm
		}
		after, err := token.Parse(compact)
		if err != nil || !after.SignedBy(key.Public()) || !after.SamePayload(before) {
			t.Fatalf("got %s, %v", compact, err)
		}
		first, _, _ := strings.Cut(string(compact), ".")
		renewed, err := base64.RawURLEncoding.DecodeString(first)
		if err != nil {
			t.Fatal(err)
		}
		was, is := members(t, header), members(t, string(renewed))
		var kid string
		if json.Unmarshal(was["kid"], &kid) == nil && kid == oldID {
			was["kid"] = json.RawMessage(`"` + newID + `"`)
		}
		if !maps.EqualFunc(was, is, func(a, b json.RawMessage) bool { return bytes.Equal(a, b) }) {
			t.Errorf("header %s became %s", header, renewed)
		}
	})
}

func members(t *testing.T, header string) map[string]json.RawMessage {
	t.Helper()
	var found map[string]json.RawMessage
	if err := json.Unmarshal([]byte(header), &found); err != nil {
		t.Fatal(err)
	}
	return found
}
