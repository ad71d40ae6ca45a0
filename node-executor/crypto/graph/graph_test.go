package graph_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os/exec"
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

func add(g *graph.Graph, kind crawl.Kind, text, where string) {
	block, _ := pem.Decode([]byte(text))
	g.Add(where, crawl.Leaf{Kind: kind, Path: "/x", Bytes: block.Bytes})
}

func example(t *testing.T) *graph.Graph {
	t.Helper()
	ca, namesake := cryptotest.Authority(t, "ca", cryptotest.EC(t)), cryptotest.Authority(t, "ca", cryptotest.EC(t))
	leaf := ca.Leaf(t, "leaf", cryptotest.EC(t))
	orphan := cryptotest.Authority(t, "gone", cryptotest.EC(t)).Leaf(t, "orphan", cryptotest.EC(t))
	account := cryptotest.EC(t)
	g := graph.New()
	for _, p := range []cryptotest.Pair{namesake, ca, leaf, orphan} {
		add(g, crawl.Certificate, p.PEM(), "first")
		add(g, crawl.Certificate, p.PEM(), "second")
	}
	add(g, crawl.PrivateKey, ca.KeyPEM(), "first")
	add(g, crawl.PrivateKey, ca.KeyPEM(), "second")
	add(g, crawl.PrivateKey, cryptotest.KeyPEM8(ca.Key), "third")
	add(g, crawl.PublicKey, cryptotest.PublicPEM(account.Public()), "first")
	g.Add("first", crawl.Leaf{Kind: crawl.Token, Bytes: []byte(cryptotest.Token(t, account, "a"))})
	g.Add("first", crawl.Leaf{Kind: crawl.PrivateKey, Bytes: []byte("no key")})
	g.Relate()
	return g
}

func TestRelate(t *testing.T) {
	g := example(t)
	if len(g.Keys) != 5 || len(g.Certificates) != 4 || len(g.Tokens) != 1 || len(g.Unread) != 1 {
		t.Fatalf("got %d keys, %d certificates, %d tokens, %d unread", len(g.Keys), len(g.Certificates), len(g.Tokens), len(g.Unread))
	}
	for _, c := range g.Certificates {
		if len(c.Places) != 2 {
			t.Errorf("%s: got places %v", c.CommonName, c.Places)
		}
		switch c.CommonName {
		case "leaf":
			if c.Issuer == nil || c.Issuer.Private == nil || c.SelfSigned() || len(c.Issuer.Places) != 3 {
				t.Errorf("leaf: got issuer %v", c.Issuer)
			}
		case "ca":
			if !c.SelfSigned() {
				t.Error("ca is not signed by itself")
			}
		case "orphan":
			if c.Issuer != nil {
				t.Error("orphan has an issuer")
			}
		}
	}
	for _, token := range g.Tokens {
		if token.Key == nil || token.Key.Private != nil {
			t.Errorf("got key %v", token.Key)
		}
	}
}

func TestShow(t *testing.T) {
	g := example(t)
	text, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var shown struct {
		Keys         []struct{ ID string }
		Certificates []struct{ Name, Key, Issuer string }
		Tokens       []struct{ Key string }
	}
	if err := json.Unmarshal(text, &shown); err != nil {
		t.Fatal(err)
	}
	if len(shown.Keys) != 5 || len(shown.Certificates) != 4 || len(shown.Tokens) != 1 {
		t.Errorf("got %s", text)
	}
	for _, k := range g.Keys {
		if k.Private == nil {
			continue
		}
		for _, secret := range pki.Secrets(k.Private) {
			for _, form := range []string{hex.EncodeToString(secret), base64.StdEncoding.EncodeToString(secret), new(big.Int).SetBytes(secret).String()} {
				if strings.Contains(string(text), form) {
					t.Error("a private key is shown")
				}
			}
		}
	}
	var dot bytes.Buffer
	if err := g.WriteDOT(&dot); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(dot.String(), "->"); got != 5 {
		t.Errorf("got %d arrows, want 4 certificates and a token:\n%s", got, dot.String())
	}
	if program, err := exec.LookPath("dot"); err == nil {
		cmd := exec.CommandContext(t.Context(), program, "-Tcanon")
		cmd.Stdin = &dot
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("dot: %v: %s", err, out)
		}
	}
}
