package verify

import (
	"bytes"
	"crypto"
	"fmt"

	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// certificate checks that a certificate is as it was but for its keys and their identifiers, its serial number, and names and
// validity as rules say.
func (v *verifier) certificate(decision *plan.CertificateDecision) {
	if decision.Action != plan.Reissued {
		return
	}
	old := decision.Certificate
	where := fmt.Sprintf("certificate %s (%s)", old.CommonName, old.ID)
	renewed := v.parsed(v.made.Certificates[old.ID])
	if renewed == nil {
		v.problem(where, "cannot be read")
		return
	}
	if renewed.KeyID != v.keys[old.Key.ID] {
		v.problem(where, "is not on its key's successor")
	}
	signer := old.Issuer.Public // of a key that stays
	if key := v.made.Keys[old.Issuer.ID]; key != nil {
		signer = key.Public()
	}
	if !v.signed(renewed, v.keys[old.Issuer.ID], signer) {
		v.problem(where, "is not signed by its issuer's successor")
	}
	if !v.takeSerial(renewed) {
		v.problem(where, "shares issuer and serial number with another")
	}
	if !v.validAs(old.Certificate, renewed) {
		v.problem(where, "is valid for another time than it ought to be")
	}
	name := v.plan.Rules().Name
	if !sameName(old.RawSubject, renewed.RawSubject, name) || !sameName(old.RawIssuer, renewed.RawIssuer, name) {
		v.problem(where, "has another subject or issuer than the old one under the rules")
	}
	if !sameExtensions(old.Certificate, renewed, name) {
		v.problem(where, "has other extensions")
	}
	fresh := v.plan.Keys[old.Key.ID].Action == plan.Fresh
	if fresh && old.SubjectKeyID != nil && bytes.Equal(renewed.SubjectKeyID, old.SubjectKeyID) {
		v.problem(where, "has the identifier of the old key")
	}
	v.authority(where, old, renewed)
}

// authority checks that a certificate that named its issuer by name, by the identifier of its key or by the serial number of its
// certificate still does, also where the issuer's certificate stays or is given by a rule.
func (v *verifier) authority(where string, old *graph.Certificate, renewed *pki.Certificate) {
	numbered, followed := false, false
	for _, parent := range old.Issuer.Certificates {
		now := parent.Certificate
		if der := v.made.Certificates[parent.ID]; der != nil {
			now = v.parsed(der)
		}
		if now == nil {
			continue // reported for itself
		}
		if bytes.Equal(parent.RawSubject, old.RawIssuer) && !bytes.Equal(now.RawSubject, renewed.RawIssuer) {
			v.problem(where, "no longer has its issuer's name")
		}
		identified := old.AuthorityKeyID != nil && bytes.Equal(parent.SubjectKeyID, old.AuthorityKeyID)
		if identified && !bytes.Equal(now.SubjectKeyID, renewed.AuthorityKeyID) {
			v.problem(where, "no longer names its issuer's key")
		}
		if old.NamesBySerial(parent.Certificate) {
			numbered, followed = true, followed || renewed.NamesBySerial(now)
		}
	}
	if numbered && !followed {
		v.problem(where, "no longer names its issuer's certificate")
	}
}

// validAs tells whether a certificate is valid when the plan says.
func (v *verifier) validAs(old, renewed *pki.Certificate) bool {
	from, until := v.plan.Validity(old)
	return renewed.NotBefore.Equal(from) && renewed.NotAfter.Equal(until)
}

// serial is what clients tell certificates apart by.
type serial struct{ issuer, number string }

func serialOf(c *pki.Certificate) serial { return serial{string(c.RawIssuer), c.Serial.String()} }

// oldSerials are those of all certificates that were found: clients may have seen them.
func (v *verifier) oldSerials() map[serial]bool {
	taken := map[serial]bool{}
	for _, c := range v.plan.Graph().Certificates {
		taken[serialOf(c.Certificate)] = true
	}
	return taken
}

// takeSerial tells whether a certificate's serial number is its own, and takes it.
func (v *verifier) takeSerial(c *pki.Certificate) bool {
	number := serialOf(c)
	v.mu.Lock()
	defer v.mu.Unlock()
	taken := v.serials[number]
	v.serials[number] = true
	return !taken
}

// parsed reads each certificate once; nil when it cannot be read.
func (v *verifier) parsed(der []byte) *pki.Certificate {
	v.mu.Lock()
	known, done := v.certificates[string(der)]
	v.mu.Unlock()
	if done {
		return known
	}
	c, err := pki.ParseCertificate(der)
	if err != nil {
		c = nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.certificates[string(der)] = c
	return c
}

type signature struct {
	of pki.CertificateID
	by pki.KeyID
}

// signed checks each signature once.
func (v *verifier) signed(c *pki.Certificate, id pki.KeyID, key crypto.PublicKey) bool {
	v.mu.Lock()
	good, done := v.signatures[signature{c.ID, id}]
	v.mu.Unlock()
	if done {
		return good
	}
	good = c.SignedBy(key)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.signatures[signature{c.ID, id}] = good
	return good
}
