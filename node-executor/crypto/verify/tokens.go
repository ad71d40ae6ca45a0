package verify

import (
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// token checks that a token says what it said, is signed by its key's successor, and names that if it named its key.
func (v *verifier) token(decision *plan.TokenDecision) {
	if decision.Action != plan.Resigned {
		return
	}
	old, key := decision.Token, decision.Token.Key.ID
	where := "token " + old.ID.String()
	renewed, err := token.Parse(v.made.Tokens[old.ID])
	if err != nil {
		v.problem(where, "cannot be read: %v", err)
		return
	}
	if !renewed.SignedBy(v.made.Keys[key].Public()) {
		v.problem(where, "is not signed by its key's successor")
	}
	if !renewed.SamePayload(old.Token) {
		v.problem(where, "has another payload")
	}
	name := old.KeyID
	if name == token.KeyIDOf(key) {
		name = token.KeyIDOf(v.keys[key])
	}
	if renewed.KeyID != name {
		v.problem(where, "does not name its key as it did")
	}
}
