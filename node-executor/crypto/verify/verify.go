// Package verify checks a staged regeneration against what was there before: it reads the new content
// anew, without trusting how it was made.
package verify

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// Staged returns everything that is wrong with the changes of the sites that were read; nothing means that every
// invariant holds: each place holds the successor of what it held and in the same order, each signature is by
// the successor of the old signer's key, identifiers of keys agree, no two keys became one, what were copies still are, and
// what objects say about each other is as true as it was.
func Staged(p *plan.Plan, made *plan.Issued, before []site.Site, changes []site.Change) []plan.Problem {
	v := verifier{plan: p, made: made, after: graph.New(), keys: map[pki.KeyID]pki.KeyID{}}
	becomes := map[site.Ref][]byte{}
	for _, c := range changes {
		switch {
		case c.Create:
			becomes[site.Ref{Store: c.Store, Name: c.Like}] = c.After
		case !c.Delete:
			becomes[c.Ref] = c.After
		}
	}
	stored := plan.Stored(before)
	after := rule.State{}
	for _, s := range before {
		after[s.Ref] = stored[s.Ref]
		if changed, ok := becomes[s.Ref]; ok {
			after[s.Ref] = changed
		}
	}
	for i, r := range readings(before, after) {
		v.site(before[i].Ref, r)
	}
	v.mirrors(before, after)
	v.agreements(before, after)
	v.after.Relate()
	v.keyPairs()
	v.encryptionKeys()
	v.certificates()
	v.tokens()
	return v.problems
}

type verifier struct {
	plan     *plan.Plan
	made     *plan.Issued
	after    *graph.Graph
	keys     map[pki.KeyID]pki.KeyID // old → new
	problems []plan.Problem
}

func (v *verifier) problem(where, format string, args ...any) {
	v.problems = append(v.problems, plan.Problem{Where: where, What: fmt.Sprintf(format, args...)})
}

// leaves reads the material of a document in order.
func leaves(doc []byte, passwords [][]byte) ([]crawl.Leaf, error) {
	var found []crawl.Leaf
	_, err := crawl.Rewrite(doc, crawl.Handler{Leaf: func(l crawl.Leaf) ([]byte, error) {
		found = append(found, crawl.Leaf{Kind: l.Kind, Path: l.Path, Bytes: bytes.Clone(l.Bytes)})
		return nil, nil
	}, Passwords: passwords})
	return found, err
}

// reading is the material of a site, before and after.
type reading struct {
	old, renewed       []crawl.Leaf
	oldErr, renewedErr error
}

// readings reads all sites, on all processors.
func readings(before []site.Site, after rule.State) []reading {
	read := make([]reading, len(before))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range before {
		group.Go(func() error {
			r := &read[i]
			r.old, r.oldErr = leaves(s.Content, s.Passwords)
			r.renewed, r.renewedErr = leaves(after[s.Ref], s.Passwords)
			return nil
		})
	}
	_ = group.Wait() // what went wrong stands in the readings
	return read
}

func (v *verifier) site(ref site.Ref, r reading) {
	if r.oldErr != nil {
		v.problem(ref.String(), "cannot be read: %v", r.oldErr)
		return
	}
	if r.renewedErr != nil || len(r.old) != len(r.renewed) {
		v.problem(ref.String(), "held %d pieces of material and now %d", len(r.old), len(r.renewed))
		return
	}
	renewed := r.renewed
	for i, leaf := range r.old {
		v.after.Add(ref.String(), renewed[i])
		want, err := v.plan.Replacement(v.made, leaf)
		if want == nil {
			want = leaf.Bytes
		}
		if err != nil || renewed[i].Kind != leaf.Kind || !bytes.Equal(want, renewed[i].Bytes) {
			v.problem(ref.String()+leaf.Path, "is not the successor of what was there")
		}
	}
}

// keyPairs checks that successors are different from each other and from all old keys, and of the
// same algorithm.
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

func (v *verifier) certificates() {
	type serial struct{ issuer, number string }
	seen := map[serial]pki.CertificateID{}
	for id, decision := range v.plan.Certificates {
		if decision.Action != plan.Reissued {
			continue
		}
		old := decision.Certificate
		where := fmt.Sprintf("certificate %s (%s)", old.CommonName, id)
		renewed, err := pki.ParseCertificate(v.made.Certificates[id])
		if err != nil {
			v.problem(where, "cannot be read: %v", err)
			continue
		}
		if renewed.KeyID != v.keys[old.Key.ID] {
			v.problem(where, "is not on its key's successor")
		}
		if in := v.after.Certificates[renewed.ID]; in == nil || in.Issuer == nil || in.Issuer.ID != v.keys[old.Issuer.ID] {
			v.problem(where, "is not signed by its issuer's successor")
		}
		number := serial{string(renewed.RawIssuer), renewed.Serial.String()}
		if _, taken := seen[number]; taken {
			v.problem(where, "shares issuer and serial number with another")
		}
		seen[number] = id
		v.identifiers(where, old, renewed)
		if from, until := v.plan.Validity(old.Certificate); renewed.NotAfter.Sub(renewed.NotBefore) != until.Sub(from) {
			v.problem(where, "is valid for another length of time")
		}
		if !slices.Equal(old.Extensions(), renewed.Extensions()) {
			v.problem(where, "has other extensions")
		}
	}
}

// identifiers checks that an authority key identifier that led to the issuer still does.
func (v *verifier) identifiers(where string, old *graph.Certificate, renewed *pki.Certificate) {
	for _, parent := range old.Issuer.Certificates {
		if old.AuthorityKeyID == nil || !bytes.Equal(parent.SubjectKeyID, old.AuthorityKeyID) {
			continue
		}
		successor, err := pki.ParseCertificate(v.made.Certificates[parent.ID])
		if err == nil && !bytes.Equal(successor.SubjectKeyID, renewed.AuthorityKeyID) {
			v.problem(where, "no longer names its issuer's key")
		}
	}
}

func (v *verifier) tokens() {
	for id, decision := range v.plan.Tokens {
		if decision.Action != plan.Resigned {
			continue
		}
		where := "token " + id.String()
		renewed, err := token.Parse(v.made.Tokens[id])
		if err != nil {
			v.problem(where, "cannot be read: %v", err)
			continue
		}
		if !renewed.SignedBy(v.made.Keys[decision.Token.Key.ID].Public()) {
			v.problem(where, "is not signed by its key's successor")
		}
		if !renewed.SamePayload(decision.Token.Token) {
			v.problem(where, "has another payload")
		}
	}
}
