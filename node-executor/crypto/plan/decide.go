package plan

import (
	"cmp"
	"crypto"
	"fmt"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// Action is what becomes of a piece of material.
type Action string

// The actions.
const (
	Fresh    Action = "fresh"   // key: generated
	Given    Action = "given"   // key: from a rule
	Kept     Action = "keep"    // stays as it is
	Reissued Action = "reissue" // certificate
	Replaced Action = "replace" // certificate, and the key that only it has: by the rule's
	Resigned Action = "resign"  // token
)

// KeyDecision is what becomes of a key.
type KeyDecision struct {
	Key    *graph.Key
	Action Action
	Why    string
	rule   *KeepKey
}

// CertificateDecision is what becomes of a certificate.
type CertificateDecision struct {
	Certificate *graph.Certificate
	Action      Action
	Why         string
	rule        *KeepCertificate
}

// TokenDecision is what becomes of a token.
type TokenDecision struct {
	Token  *graph.Token
	Action Action
	Why    string
}

// Problem is one reason not to carry the plan out.
type Problem struct {
	Where string `json:"where"`
	What  string `json:"what"`
}

func (p Problem) String() string { return p.Where + ": " + p.What }

// Plan is what will be done.
type Plan struct {
	Keys         map[pki.KeyID]*KeyDecision
	Certificates map[pki.CertificateID]*CertificateDecision
	Tokens       map[token.ID]*TokenDecision
	// EncryptionKeys are Fresh or Kept.
	EncryptionKeys map[atrest.KeyID]Action

	Problems []Problem
	// Notes are decisions that someone may want to know: foreign authorities, tokens of others, blocks
	// that hold no key and were left alone.
	Notes []Problem

	rules Rules
	scan  *scan.Result
}

// Decide makes the plan. The rules must have been checked.
func Decide(found *scan.Result, rules Rules) *Plan {
	p := &Plan{
		Keys:         map[pki.KeyID]*KeyDecision{},
		Certificates: map[pki.CertificateID]*CertificateDecision{},
		Tokens:       map[token.ID]*TokenDecision{},

		EncryptionKeys: map[atrest.KeyID]Action{},

		rules: rules, scan: found,
	}
	p.reportUnread()
	p.reportUnapplied()
	d := decider{Plan: p, graph: found.Graph, owned: map[*graph.Key]string{}}
	if rules.NamesOnly {
		d.decideNames()
	} else {
		d.decideAll()
	}
	order := func(a, b Problem) int { return cmp.Compare(a.String(), b.String()) }
	slices.SortFunc(p.Problems, order)
	slices.SortFunc(p.Notes, order)
	p.Problems, p.Notes = slices.Compact(p.Problems), slices.Compact(p.Notes)
	return p
}

// decideAll decides where keys are replaced.
func (d *decider) decideAll() {
	d.applyCertificateRules()
	d.applyKeyRules()
	d.findOwned()
	d.decideKeys()
	d.decideCertificates()
	d.decideTokens()
	d.decideEncryption()
	d.reportLogins()
}

type decider struct {
	*Plan
	graph *graph.Graph
	owned map[*graph.Key]string // why a key is the cluster's own
}

// findOwned finds the cluster's own keys: those with a private half, and, where that is missing, those that signed
// an own key's certificate or a token, and those that an own key signed for.
func (d *decider) findOwned() {
	keys := d.graph.SortedKeys()
	for _, k := range keys {
		switch {
		case k.Private != nil:
			d.owned[k] = "its private key is here"
		case !d.isExternal(k) && slices.ContainsFunc(k.Certificates, func(c *graph.Certificate) bool { return d.rules.isOwn(c.CommonName) }):
			d.owned[k] = "a known authority of the cluster"
		}
	}
	d.spreadOwned(keys)
	if d.rules.Unknown != Replace {
		return
	}
	for _, k := range keys {
		if d.owned[k] == "" && !d.isExternal(k) && d.isAuthority(k) {
			d.owned[k] = "unknown authority, replaced by policy"
		}
	}
	d.spreadOwned(keys)
}

// spreadOwned follows signatures in both directions until no more keys are found.
func (d *decider) spreadOwned(keys []*graph.Key) {
	changed := true
	own := func(k *graph.Key, why string) {
		if d.owned[k] == "" && !d.isExternal(k) {
			d.owned[k], changed = why, true
		}
	}
	for changed {
		changed = false
		for _, k := range keys {
			if len(k.Tokens) > 0 {
				own(k, "it signed a token")
			}
			for _, c := range k.Signed {
				if d.owned[c.Key] != "" {
					own(k, "it signed for a key of the cluster")
				}
				if d.owned[k] != "" {
					own(c.Key, "a key of the cluster signed for it")
				}
			}
		}
	}
}

// isExternal tells whether the key is in a list of others' authorities and its private half is not here.
func (d *decider) isExternal(k *graph.Key) bool {
	return k.Private == nil && slices.ContainsFunc(k.Certificates, func(c *graph.Certificate) bool {
		return slices.ContainsFunc(c.Places, func(p graph.Place) bool { return d.rules.isExternal(p.Site) })
	})
}

func (d *decider) decideKeys() {
	for _, k := range d.graph.SortedKeys() {
		if d.Keys[k.ID] != nil {
			continue
		}
		decision := &KeyDecision{Key: k, Action: Kept}
		d.Keys[k.ID] = decision
		switch {
		case d.owned[k] != "":
			decision.Action, decision.Why = Fresh, d.owned[k]
		case d.isExternal(k):
			decision.Why = "in a list of others' authorities"
		case !d.isAuthority(k):
			decision.Why = "a certificate of others"
			d.note(label(k), "certificate of an unknown issuer without a private key, kept")
		case d.rules.Unknown == Keep:
			decision.Why = "unknown authority, kept by policy"
			d.note(label(k), "unknown authority, kept by policy")
		default:
			d.problem(label(k), "authority or public key without a private key: neither known as the cluster's nor in a list of others'")
		}
	}
	for _, k := range d.graph.SortedKeys() {
		d.resolveOrphans(k)
	}
}

// isAuthority tells whether something may be trusted because of this key: a self-signed certificate or a bare public key.
func (d *decider) isAuthority(k *graph.Key) bool {
	return len(k.Certificates) == 0 || slices.ContainsFunc(k.Certificates, (*graph.Certificate).SelfSigned)
}

// resolveOrphans handles a key that is to be replaced but has a certificate that nobody here can sign.
func (d *decider) resolveOrphans(k *graph.Key) {
	decision := d.Keys[k.ID]
	if decision.Action != Fresh && decision.Action != Given {
		return
	}
	for _, c := range k.Certificates {
		if d.Certificates[c.ID] != nil || d.renewed(c.Issuer) {
			continue
		}
		ours := decision.Action == Given && !decision.rule.IfThere
		if d.rules.Orphans == Keep && !ours && len(k.Signed) == 0 && len(k.Tokens) == 0 {
			decision.Action, decision.Why = Kept, "its certificate's issuer is not here, kept by policy"
			d.note(label(k), "key and certificate kept by policy: every cluster of this seed shares them")
			return
		}
		d.problem(label(k), "its certificate %s cannot be issued again: the issuer's key is not here", short(c.ID.String()))
	}
}

// renewed tells whether a key will be able to sign.
func (d *decider) renewed(k *graph.Key) bool {
	return k != nil && (d.Keys[k.ID].Action == Fresh || d.Keys[k.ID].Action == Given)
}

func (d *decider) decideCertificates() {
	for _, c := range d.graph.SortedCertificates() {
		if d.Certificates[c.ID] != nil {
			continue
		}
		decision := &CertificateDecision{Certificate: c, Action: Kept}
		switch {
		case d.renewed(c.Issuer):
			decision.Action, decision.Why = Reissued, "its issuer has a new key"
			d.reportKeyID(c)
		case c.Issuer == nil:
			decision.Why = "its issuer's key is not here"
		case c.SelfSigned():
			decision.Why = d.Keys[c.Key.ID].Why
		default:
			decision.Why = "its issuer's key stays"
		}
		if c.Issuer != nil && c.Issuer != c.Key && d.Keys[c.Issuer.ID].Action == Replaced {
			d.problem("certificate "+c.CommonName, "cannot be issued again: its issuer's certificate is kept by rule without a key")
		}
		d.Certificates[c.ID] = decision
	}
}

// reportKeyID tells of an identifier of the certificate's key that its successor cannot be given in the same way.
func (d *decider) reportKeyID(c *graph.Certificate) {
	decision := d.Keys[c.Key.ID]
	if c.SubjectKeyID == nil || !d.renewed(c.Key) || decision.rule != nil && decision.rule.SubjectKeyID != nil {
		return
	}
	if _, known := pki.NewSubjectKeyID(c.SubjectKeyID, c.Key.Public, c.Key.Public); !known {
		d.note("certificate "+c.CommonName, "the identifier of its key was made in no known way: the new one is made as RFC 7093 says")
	}
}

func (d *decider) decideTokens() {
	for _, t := range d.graph.SortedTokens() {
		decision := &TokenDecision{Token: t, Action: Kept}
		switch {
		case d.renewed(t.Key):
			decision.Action, decision.Why = Resigned, "its key is new"
		case t.Key != nil:
			decision.Why = "its key stays"
		default:
			decision.Why = "signed by a key that is not here"
			report := d.note
			if d.rules.ForeignTokens == Refuse {
				report = d.problem
			}
			report("token "+short(t.ID.String()), "%s, kept", decision.Why)
		}
		d.Tokens[t.ID] = decision
	}
}

// decideEncryption replaces encryption keys, and refuses to where the values that they encrypt are out of reach.
func (d *decider) decideEncryption() {
	inEtcd := false
	for ref := range d.scan.Names {
		inEtcd = inEtcd || ref.Store == site.Etcd
	}
	for _, k := range d.graph.SortedEncryptionKeys() {
		d.EncryptionKeys[k.ID] = Fresh
		if !inEtcd {
			d.problem(k.Places[0].String(), "a key of encryption at rest, and no etcd whose values could be encrypted anew")
		}
	}
}

// label names a key for people.
func label(k *graph.Key) string {
	names := []string{}
	for _, c := range k.Certificates {
		names = append(names, c.CommonName)
	}
	slices.Sort(names)
	return fmt.Sprintf("key %s (%s)", short(k.ID.String()), strings.Join(slices.Compact(names), ", "))
}

const shortHash = 16

func short(hash string) string { return hash[:shortHash] }

// Signer returns the key that a rule gives, nil for other decisions.
func (k *KeyDecision) Signer() crypto.Signer {
	if k.rule == nil {
		return nil
	}
	return k.rule.Key
}

// Graph returns what the plan was made from.
func (p *Plan) Graph() *graph.Graph { return p.scan.Graph }

// Findings returns what looked like material and was not understood.
func (p *Plan) Findings() []scan.Finding { return p.scan.Findings }
