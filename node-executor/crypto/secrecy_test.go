package crypto_test

import (
	"bytes"
	stdcrypto "crypto"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
)

// witness collects everything that a regeneration tells the outside, and the keys that it made.
type witness struct {
	told bytes.Buffer
	mu   sync.Mutex
	keys map[pki.KeyID]stdcrypto.Signer
}

func (w *witness) config(t *testing.T, dir string) crypto.Config {
	config := configure(t, dir, plan.Rules{})
	config.Log = slog.New(slog.NewTextHandler(&w.told, &slog.HandlerOptions{Level: slog.LevelDebug}))
	generate := config.Generate
	config.Generate = func(a pki.Algorithm) (stdcrypto.Signer, error) {
		key, err := generate(a)
		if err == nil {
			w.knows(t, key)
		}
		return key, err
	}
	return config
}

func (w *witness) knows(t *testing.T, key stdcrypto.Signer) {
	id, err := pki.IDOf(key.Public())
	if err != nil {
		t.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[id] = key
}

// hears takes anything as a program would print it.
func (w *witness) hears(t *testing.T, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	w.told.Write(text)
}

// No private key, old or new, is in a log, a plan, a graph, a summary or an error.
func TestNothingTellsAPrivateKey(t *testing.T) {
	s := newSmall(t)
	w := &witness{keys: map[pki.KeyID]stdcrypto.Signer{}}
	for _, key := range []stdcrypto.Signer{s.ca.Key, s.leaf.Key, s.account} {
		w.knows(t, key)
	}
	config := w.config(t, s.tree.write(t))
	p, err := crypto.Prepare(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	w.hears(t, crypto.NewPreview(p))
	w.hears(t, p.Graph())
	summary, err := crypto.Regenerate(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	w.hears(t, summary)

	s.tree["pki/odd.key"] = s.leaf.KeyPEM()[:200] // a key that is cut off
	s.tree["pki/foreign.crt"] = cryptotest.Authority(t, "someone", cryptotest.EC(t)).PEM()
	_, err = crypto.Regenerate(t.Context(), w.config(t, s.tree.write(t)))
	if err == nil {
		t.Fatal("a key that is cut off was passed over")
	}
	w.told.WriteString(err.Error())

	if len(w.keys) < 6 || w.told.Len() < 1000 {
		t.Fatalf("got %d keys and %d bytes", len(w.keys), w.told.Len())
	}
	if key, found := verify.NewNeedles(w.keys).Find(w.told.Bytes()); found {
		t.Errorf("the private key %s is told", key)
	}
}
