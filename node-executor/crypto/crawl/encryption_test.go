package crawl_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
)

func TestEncryptionKeys(t *testing.T) {
	key, renewed := bytes.Repeat([]byte{0xfb}, 32), bytes.Repeat([]byte{0x3c}, 32)
	b64 := base64.StdEncoding.EncodeToString
	config := `{"kind":"EncryptionConfiguration","keys":[{"name":"1","secret":"` + b64(key) + `"}]}`
	for name, nest := range map[string]func(key []byte) string{
		"JSON":         func(k []byte) string { return strings.Replace(config, b64(key), b64(k), 1) },
		"YAML":         func(k []byte) string { return "kind: EncryptionConfig\n- secret: " + b64(k) + "\n  name: key1\n" },
		"YAML, quoted": func(k []byte) string { return "kind: EncryptionConfiguration\nsecret: '" + b64(k) + "'\n" },
		"JSON in JSON": func(k []byte) string { return `{"x":` + quoted(t, strings.Replace(config, b64(key), b64(k), 1)) + `}` },
		"16 bytes": func(k []byte) string {
			return "kind: EncryptionConfiguration\nsecret: " + b64(k[:16]) + "\nidentity: {}\n"
		},
		"24 bytes": func(k []byte) string {
			return "kind: EncryptionConfiguration\nsecret: " + b64(k[:24]) + "\nidentity: {}\n"
		},
		"in base64": func(k []byte) string { return "x: " + b64([]byte(strings.Replace(config, b64(key), b64(k), 1))) + "\n" },
		"of OpenShift": func(k []byte) string {
			return cryptotest.Stored(t, &corev1.Secret{Data: map[string][]byte{"encryption.apiserver.operator.openshift.io-key": k}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := 0
			got := rewrite(t, nest(key), func(l crawl.Leaf) ([]byte, error) {
				if found++; l.Kind != crawl.EncryptionKey || !bytes.Equal(l.Bytes, key[:len(l.Bytes)]) {
					t.Errorf("found %s at %s", l.Kind, l.Path)
				}
				return renewed[:len(l.Bytes)], nil
			})
			if found != 1 || got != nest(renewed) {
				t.Errorf("found %d, got %q, want %q", found, got, nest(renewed))
			}
		})
	}
	for name, doc := range map[string]string{
		"in another kind of document": strings.Replace(config, "EncryptionConfiguration", "Other", 1),
		"under another name":          strings.Replace(config, `"secret"`, `"digest"`, 1),
		"under a longer name":         strings.Replace(config, `"secret"`, `"xsecret"`, 1),
		"of another size":             strings.Replace(config, b64(key), b64(key[:20]), 1),
		"of zeros":                    strings.Replace(config, b64(key), b64(make([]byte, 16)), 1),
	} {
		t.Run("none "+name, func(t *testing.T) {
			rewrite(t, doc, func(l crawl.Leaf) ([]byte, error) { t.Errorf("found %s at %s", l.Kind, l.Path); return nil, nil })
		})
	}
}
