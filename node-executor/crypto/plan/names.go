package plan

import (
	"bytes"

	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

const namesOnly = "only names change"

// decideNames decides where only names change: every key stays, and a certificate is issued again if a name in it changes.
func (d *decider) decideNames() {
	for _, k := range d.graph.SortedKeys() {
		d.Keys[k.ID] = &KeyDecision{Key: k, Action: Kept, Why: namesOnly}
	}
	for _, t := range d.graph.SortedTokens() {
		d.Tokens[t.ID] = &TokenDecision{Token: t, Action: Kept, Why: namesOnly}
	}
	for _, k := range d.graph.SortedEncryptionKeys() {
		d.EncryptionKeys[k.ID] = Kept
	}
	for _, c := range d.graph.SortedCertificates() {
		d.Certificates[c.ID] = &CertificateDecision{Certificate: c, Action: Kept, Why: "no name in it changes"}
		if renamed, err := c.Renames(d.rules.Name); err != nil {
			d.problem("certificate "+c.CommonName, "its names cannot be changed: %v", err)
		} else if renamed {
			d.reissueRenamed(c, "a name in it changes")
		}
	}
	d.followSerials()
	d.checkKept()
}

func (d *decider) reissueRenamed(c *graph.Certificate, why string) {
	decision := d.Certificates[c.ID]
	switch {
	case d.isExternal(c.Key):
		decision.Why = "in a list of others' authorities"
	case c.Issuer != nil && c.Issuer.Private != nil:
		decision.Action, decision.Why = Reissued, why
	case d.rules.Orphans == Keep:
		decision.Why = why + ", but its issuer's key is not here: kept by policy"
		d.note("certificate "+c.CommonName, "%s", decision.Why)
	default:
		d.problem("certificate "+c.CommonName, "%s, but its issuer's key is not here", why)
	}
}

// followSerials issues those again that name, by its serial number, a certificate that is issued again.
func (d *decider) followSerials() {
	for changed := true; changed; {
		changed = false
		for _, c := range d.graph.SortedCertificates() {
			if c.AuthoritySerial == nil || c.Issuer == nil || d.Certificates[c.ID].Action == Reissued {
				continue
			}
			for _, parent := range c.Issuer.Certificates {
				if d.Certificates[parent.ID].Action == Reissued && c.NamesBySerial(parent.Certificate) {
					d.reissueRenamed(c, "it names its issuer's certificate, which changes, by its serial number")
					changed = changed || d.Certificates[c.ID].Action == Reissued
				}
			}
		}
	}
}

// checkKept makes sure that what rules keep is what is here: where only names change there is nothing else to keep.
func (d *decider) checkKept() {
	for i := range d.rules.KeepKeys {
		rule := &d.rules.KeepKeys[i]
		id, err := pki.IDOf(rule.Key.Public())
		same := false
		keys := d.matching(rule)
		for _, k := range keys {
			same = same || err == nil && k.ID == id
		}
		switch {
		case len(keys) == 0:
			d.problem("key of "+rule.CommonName, noSuchKey)
		case !same:
			d.problem("key of "+rule.CommonName, "kept by rule, but it is not the one that is here, and "+namesOnly)
		}
	}
	for _, rule := range d.rules.KeepCertificates {
		if c := d.graph.Certificates[rule.Certificate.ID]; c == nil || !bytes.Equal(c.DER, rule.Certificate.DER) {
			d.problem("certificate "+rule.Certificate.CommonName, "kept by rule, but it is not here, and "+namesOnly)
		}
	}
}
