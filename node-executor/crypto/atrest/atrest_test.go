package atrest_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
)

const name = "/kubernetes.io/secrets/ns/a"

func keyOf(b byte, size int) []byte { return bytes.Repeat([]byte{b}, size) }

func TestThereAndBack(t *testing.T) {
	for _, test := range []struct {
		mode atrest.Mode
		size int
	}{
		{atrest.CBC, 16}, {atrest.CBC, 24}, {atrest.CBC, 32}, {atrest.GCM, 16}, {atrest.GCM, 32}, {atrest.Secretbox, 32},
	} {
		t.Run(string(test.mode), func(t *testing.T) {
			key := keyOf(1, test.size)
			// Beginnings of protobuf, JSON and CBOR; lengths around a block.
			for _, content := range []string{"k8s\x00" + strings.Repeat("x", 12), "{}", "\xd9\xd9\xf7\xa0", "{" + strings.Repeat("y", 5000) + "}"} {
				stored, err := atrest.Seal(atrest.Envelope{Mode: test.mode, Name: "7"}, key, name, []byte(content))
				if err != nil {
					t.Fatal(err)
				}
				if want := "k8s:enc:" + string(test.mode) + ":v1:7:"; !strings.HasPrefix(string(stored), want) || !atrest.Encrypted(stored) {
					t.Errorf("got %.40q, want it to begin with %s", stored, want)
				}
				// Of other keys under the same name the right one is found.
				envelope, got, err := atrest.NewRing(keyOf(2, 32), keyOf(3, 16), key, keyOf(4, 24)).Open(name, stored)
				if err != nil || string(got) != content {
					t.Fatalf("got %q, error %v", got, err)
				}
				if want := (atrest.Envelope{Mode: test.mode, Name: "7", Key: atrest.IDOf(key)}); envelope != want {
					t.Errorf("got envelope %v, want %v", envelope, want)
				}
			}
		})
	}
}

func TestWhatDoesNotOpen(t *testing.T) {
	key := keyOf(1, 32)
	sealed := func(mode atrest.Mode) string {
		stored, err := atrest.Seal(atrest.Envelope{Mode: mode, Name: "1"}, key, name, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return string(stored)
	}
	for _, test := range []struct {
		name, stored, at string
		ring             *atrest.Ring
		want             error
	}{
		{"unknown key", sealed(atrest.CBC), name, atrest.NewRing(keyOf(2, 32)), atrest.ErrKey},
		{"another place", sealed(atrest.GCM), name + "b", atrest.NewRing(key), atrest.ErrKey},
		{"cut off", sealed(atrest.Secretbox)[:40], name, atrest.NewRing(key), atrest.ErrKey},
		{"half a block", sealed(atrest.CBC) + "x", name, atrest.NewRing(key), atrest.ErrKey},
		{"nothing", "k8s:enc:aesgcm:v1:1:", name, atrest.NewRing(key), atrest.ErrKey},
		{"key management service", "k8s:enc:kms:v2:cloud:xxx", name, atrest.NewRing(key), atrest.ErrRemote},
		{"unknown mode", "k8s:enc:rot13:v1:1:xxx", name, atrest.NewRing(key), atrest.ErrFormat},
		{"unknown version", "k8s:enc:aescbc:v2:1:xxx", name, atrest.NewRing(key), atrest.ErrFormat},
		{"name without an end", "k8s:enc:aescbc:v1:1", name, atrest.NewRing(key), atrest.ErrFormat},
		{"plain", "{}", name, atrest.NewRing(key), atrest.ErrFormat},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := test.ring.Open(test.at, []byte(test.stored)); !errors.Is(err, test.want) {
				t.Errorf("got error %v, want %v", err, test.want)
			}
		})
	}
}

func TestSealWithUnfitKey(t *testing.T) {
	for _, mode := range []atrest.Mode{atrest.CBC, atrest.GCM, atrest.Secretbox} {
		if _, err := atrest.Seal(atrest.Envelope{Mode: mode}, keyOf(1, 17), name, nil); err == nil {
			t.Errorf("%s: a key of 17 bytes was accepted", mode)
		}
	}
}

func TestNewKey(t *testing.T) {
	old := keyOf(1, 24)
	first, second := atrest.NewKey(old), atrest.NewKey(old)
	if len(first) != len(old) || bytes.Equal(first, second) || bytes.Equal(first, old) {
		t.Error("keys are not fresh, or of another size")
	}
}

// Whatever is stored: it opens to something that can be sealed and opened again, or not at all.
func FuzzOpen(f *testing.F) {
	key := keyOf(1, 32)
	for _, mode := range []atrest.Mode{atrest.CBC, atrest.GCM, atrest.Secretbox} {
		stored, err := atrest.Seal(atrest.Envelope{Mode: mode, Name: "1"}, key, name, []byte("{}"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(stored)
	}
	f.Add([]byte("k8s:enc:kms:v2:cloud:"))
	ring := atrest.NewRing(key)
	f.Fuzz(func(t *testing.T, stored []byte) {
		envelope, content, err := ring.Open(name, stored)
		if err != nil {
			return
		}
		again, err := atrest.Seal(envelope, key, name, content)
		if err != nil {
			t.Fatal(err)
		}
		second, got, err := ring.Open(name, again)
		if err != nil || second != envelope || !bytes.Equal(got, content) {
			t.Fatalf("sealed %v %q, got %v %q, error %v", envelope, content, second, got, err)
		}
	})
}
