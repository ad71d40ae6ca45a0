package plan

import (
	"cmp"
	"crypto"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
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
	rule        *KeepCertificate
}

// TokenDecision is what becomes of a token.
type TokenDecision struct {
	Token  *graph.Token
	Action Action
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
	Problems     []Problem
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
		rules:        rules, scan: found,
	}
	p.reportUnread()
	p.reportUnapplied()
	d := decider{Plan: p, graph: found.Graph, owned: map[*graph.Key]string{}}
	d.applyCertificateRules()
	d.applyKeyRules()
	d.findOwned()
	d.decideKeys()
	d.decideCertificates()
	d.decideTokens()
	d.checkEncryption()
	d.reportLogins()
	order := func(a, b Problem) int { return cmp.Compare(a.String(), b.String()) }
	slices.SortFunc(p.Problems, order)
	slices.SortFunc(p.Notes, order)
	p.Problems, p.Notes = slices.Compact(p.Problems), slices.Compact(p.Notes)
	return p
}

func (p *Plan) problem(where, format string, args ...any) {
	p.Problems = append(p.Problems, Problem{where, fmt.Sprintf(format, args...)})
}

func (p *Plan) note(where, format string, args ...any) {
	p.Notes = append(p.Notes, Problem{where, fmt.Sprintf(format, args...)})
}

// reportUnread turns what was not understood into problems where it may hide a private key, and notes elsewhere.
func (p *Plan) reportUnread() {
	serious := p.problem
	if p.rules.Unread == Keep {
		serious = func(where, format string, args ...any) { p.note(where, format+", kept by policy", args...) }
	}
	for _, f := range p.scan.Findings {
		report := p.note
		if f.Serious {
			report = serious
		}
		report(f.Site.String()+f.Path, "%s (%s)", f.Reason, f.Detail)
	}
	for _, u := range p.scan.Graph.Unread {
		report := p.note
		if u.Kind == crawl.PrivateKey {
			report = serious
		}
		report(u.Place.String(), "%s: %v", u.Kind, u.Err)
	}
}

type decider struct {
	*Plan
	graph *graph.Graph
	owned map[*graph.Key]string // why a key is the cluster's own
}

func (d *decider) applyCertificateRules() {
	for i := range d.rules.KeepCertificates {
		rule := &d.rules.KeepCertificates[i]
		name := cmp.Or(rule.CommonName, rule.Certificate.CommonName)
		matched := false
		for _, c := range d.graph.SortedCertificates() {
			if c.CommonName != name {
				continue
			}
			matched = true
			d.Certificates[c.ID] = &CertificateDecision{Certificate: c, Action: Replaced, rule: rule}
			d.Keys[c.Key.ID] = &KeyDecision{Key: c.Key, Action: Replaced, Why: "certificate kept by rule"}
			if c.Key.Private != nil {
				d.problem("certificate "+name, "kept by rule, but the private key of the one it replaces is here: keep the key instead")
			}
		}
		if !matched {
			d.problem("certificate "+name, "kept by rule, but no certificate has that name")
		}
	}
}

func (d *decider) applyKeyRules() {
	for i := range d.rules.KeepKeys {
		rule := &d.rules.KeepKeys[i]
		report := d.problem
		if rule.IfThere {
			report = d.note
		}
		keys := d.matching(rule)
		switch {
		case len(keys) == 0:
			report("key of "+rule.CommonName, "kept by rule, but no certificate with that name has its private key here")
			continue
		case len(keys) > 1:
			report("key of "+rule.CommonName, "kept by rule, but %d keys have that name: name the site of the one", len(keys))
			continue
		case d.Keys[keys[0].ID] != nil:
			report("key of "+rule.CommonName, "named by two rules")
			continue
		}
		d.Keys[keys[0].ID] = &KeyDecision{Key: keys[0], Action: Given, Why: "key kept by rule", rule: rule}
		if !rule.IfThere {
			d.renameAuthority(keys[0], rule.CommonName)
		}
	}
}

// renameAuthority gives the certificates of a kept key the name by which clients know the authority: they look for an
// issuer's certificate by its name. Some authorities have the time of their making in it.
func (d *decider) renameAuthority(k *graph.Key, name string) {
	for _, c := range k.Certificates {
		if c.CommonName != name {
			d.rules.Names = maps.Clone(d.rules.Names)
			if d.rules.Names == nil {
				d.rules.Names = map[string]string{}
			}
			d.rules.Names[c.CommonName] = name
		}
	}
}

// matching returns the keys that a rule may mean: those with a private half, since older generations of an authority
// that has been rotated stay in trust bundles under the same name.
func (d *decider) matching(rule *KeepKey) []*graph.Key {
	var keys []*graph.Key
	for _, k := range d.graph.SortedKeys() {
		named := rule.Site != "" && !rule.IfThere || slices.ContainsFunc(k.Certificates, func(c *graph.Certificate) bool {
			if rule.IfThere {
				return d.rules.name(c.CommonName) == rule.CommonName
			}
			return c.CommonName == rule.CommonName
		})
		placed := rule.Site == "" || slices.ContainsFunc(k.Places, func(p graph.Place) bool { return strings.HasSuffix(p.Site, rule.Site) })
		if named && placed && k.Private != nil {
			keys = append(keys, k)
		}
	}
	return keys
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
		if d.renewed(c.Issuer) {
			decision.Action = Reissued
		}
		if c.Issuer != nil && c.Issuer != c.Key && d.Keys[c.Issuer.ID].Action == Replaced {
			d.problem("certificate "+c.CommonName, "cannot be issued again: its issuer's certificate is kept by rule without a key")
		}
		d.Certificates[c.ID] = decision
	}
}

func (d *decider) decideTokens() {
	for _, t := range d.graph.SortedTokens() {
		decision := &TokenDecision{Token: t, Action: Kept}
		switch {
		case d.renewed(t.Key):
			decision.Action = Resigned
		case t.Key == nil:
			d.note("token "+short(t.ID.String()), "signed by a key that is not here, kept")
		}
		d.Tokens[t.ID] = decision
	}
}

// checkEncryption refuses to replace encryption keys where the values that they encrypt are out of reach.
func (d *decider) checkEncryption() {
	for ref := range d.scan.Names {
		if ref.Store == site.Etcd {
			return
		}
	}
	for _, k := range d.graph.SortedEncryptionKeys() {
		d.problem(k.Places[0].String(), "a key of encryption at rest, and no etcd whose values could be encrypted anew")
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
