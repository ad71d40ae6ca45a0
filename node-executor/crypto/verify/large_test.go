package verify_test

import (
	"crypto"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
)

// A file that is too large to be opened is searched too.
func TestNoSecretsInLargeFiles(t *testing.T) {
	dir, key := t.TempDir(), cryptotest.EC(t)
	id, err := pki.IDOf(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	hidden := hex.EncodeToString(pki.Secrets(key)[0])
	for name, text := range map[string]string{"large": hidden, "nothing": "so to say"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{5 << 20, files.MaxFile} { // the rest is a hole
			if _, err := f.WriteAt([]byte(text), at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := files.New([]files.Root{{Host: dir, Node: "/etc"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	needles := verify.NewNeedles(map[pki.KeyID]crypto.Signer{id: key})
	problems, err := verify.NoSecrets(t.Context(), tree, nil, needles)
	if err != nil || len(problems) != 1 || problems[0].Where != "file:/etc/large" {
		t.Errorf("got %v, %v", problems, err)
	}
}
