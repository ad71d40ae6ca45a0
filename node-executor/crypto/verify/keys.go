package verify

import (
	"bytes"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// keyPairs finds out what each key becomes, and checks that successors are different from each other and from all old keys, and
// of the same algorithm.
func (v *verifier) keyPairs() {
	successors := map[pki.KeyID]pki.KeyID{}
	for id, decision := range v.plan.Keys {
		v.keys[id] = id
		key := v.made.Keys[id]
		if key == nil {
			continue
		}
		renewed, err := pki.IDOf(key.Public())
		if err != nil {
			v.problem("key "+id.String(), "has an unusable successor: %v", err)
			continue
		}
		v.keys[id] = renewed
		if other, taken := successors[renewed]; taken {
			v.problem("key "+id.String(), "has the same successor as %s", other)
		}
		successors[renewed] = id
		if decision.Action != plan.Fresh {
			continue
		}
		if v.plan.Keys[renewed] != nil {
			v.problem("key "+id.String(), "was not replaced by a new one")
		}
		if algorithm, err := pki.AlgorithmOf(key.Public()); err != nil || algorithm != decision.Key.Algorithm {
			v.problem("key "+id.String(), "of %s became %s", decision.Key.Algorithm, algorithm)
		}
	}
}

// encryptionKeys checks that each is replaced by one that is like it and like no other.
func (v *verifier) encryptionKeys() {
	seen := map[atrest.KeyID]bool{}
	for id, old := range v.plan.Graph().EncryptionKeys {
		renewed := v.made.EncryptionKeys[id]
		if v.plan.EncryptionKeys[id] != plan.Fresh {
			if !bytes.Equal(renewed, old.Bytes) {
				v.problem("encryption key "+id.String(), "was to stay and was replaced")
			}
			continue
		}
		successor := atrest.IDOf(renewed)
		if len(renewed) != len(old.Bytes) || seen[successor] || v.plan.Graph().EncryptionKeys[successor] != nil {
			v.problem("encryption key "+id.String(), "was not replaced by a new one of its size")
		}
		seen[successor] = true
	}
}
