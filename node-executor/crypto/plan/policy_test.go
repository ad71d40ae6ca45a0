package plan_test

import (
	"strings"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

func TestForeignTokens(t *testing.T) {
	k := cryptotest.Values{"a": cryptotest.Token(t, cryptotest.EC(t), "someone")}
	if p := decide(t, k, plan.Rules{}); len(p.Problems) != 0 || len(p.Notes) != 1 {
		t.Errorf("kept: got problems %v, notes %v", p.Problems, p.Notes)
	}
	if p := decide(t, k, plan.Rules{ForeignTokens: plan.Refuse}); len(p.Problems) != 1 || !strings.Contains(p.Problems[0].What, "a key that is not here") {
		t.Errorf("refused: got problems %v", p.Problems)
	}
	rules := plan.Rules{ForeignTokens: plan.Replace}
	if err := rules.Check(); err == nil {
		t.Error("foreign tokens cannot be replaced")
	}
}

// An id says which of two generations of an authority is meant, wherever they stand.
func TestKeepKeyByID(t *testing.T) {
	first, second := cryptotest.Authority(t, "signer@1", cryptotest.EC(t)), cryptotest.Authority(t, "signer@2", cryptotest.EC(t))
	k := cryptotest.Values{"a": first.PEM() + first.KeyPEM() + second.PEM() + second.KeyPEM()}
	id, err := pki.IDOf(second.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	rules := plan.Rules{KeepKeys: []plan.KeepKey{{CommonName: "signer@0", ID: id, Key: cryptotest.EC(t)}}}
	p := decide(t, k, rules)
	if len(p.Problems) != 0 || p.Keys[id].Action != plan.Given || action(p, "signer@1") != plan.Fresh {
		t.Errorf("got problems %v, %s for the second", p.Problems, p.Keys[id].Action)
	}
	rules.KeepKeys[0].ID[0]++
	if p := decide(t, k, rules); len(p.Problems) != 1 {
		t.Errorf("got problems %v, want one about no such key", p.Problems)
	}
}

func TestUnknownKeyIdentifier(t *testing.T) {
	odd := cryptotest.Authority(t, "odd", cryptotest.EC(t), cryptotest.SubjectKeyID([]byte("a serial number, say")))
	known := cryptotest.Authority(t, "known", cryptotest.EC(t))
	p := decide(t, cryptotest.Values{"a": odd.PEM() + odd.KeyPEM() + known.PEM() + known.KeyPEM()}, plan.Rules{})
	if len(p.Notes) != 1 || p.Notes[0].Where != "certificate odd" || !strings.Contains(p.Notes[0].What, "RFC 7093") {
		t.Errorf("got notes %v", p.Notes)
	}
}
