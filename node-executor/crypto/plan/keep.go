package plan

import (
	"cmp"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

// ReadKeepKey makes the rule that puts a private key, PEM, in the place of an authority's. A certificate beside it gives the
// identifier by which clients know it.
func ReadKeepKey(name string, text []byte) (KeepKey, error) {
	rule := KeepKey{CommonName: name}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			c, err := pki.ParseCertificate(block.Bytes)
			if err != nil {
				return rule, fmt.Errorf("cannot keep the key of %s: its certificate: %w", name, err)
			}
			rule.SubjectKeyID = c.SubjectKeyID
			continue
		}
		key, _, err := pki.ParsePrivateKey(block.Bytes)
		if err != nil {
			continue // parameters of a curve, say
		}
		rule.Key = key
	}
	if rule.Key == nil {
		return rule, fmt.Errorf("cannot keep the key of %s: there is no private key in PEM", name)
	}
	return rule, nil
}

// ReadKeepCertificate makes the rule that keeps a certificate, PEM, in the place of those of its name.
func ReadKeepCertificate(text []byte) (KeepCertificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return KeepCertificate{}, errors.New("there is none in PEM")
	}
	c, err := pki.ParseCertificate(block.Bytes)
	return KeepCertificate{Certificate: c}, err
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
			d.Certificates[c.ID] = &CertificateDecision{Certificate: c, Action: Replaced, Why: "kept by rule", rule: rule}
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

const noSuchKey = "kept by rule, but no certificate with that name has its private key here"

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
			report("key of "+rule.CommonName, noSuchKey)
			continue
		case len(keys) > 1:
			report("key of "+rule.CommonName, "kept by rule, but %d keys have that name: name the site of the one", len(keys))
			continue
		case d.Keys[keys[0].ID] != nil:
			report("key of "+rule.CommonName, "named by two rules")
			continue
		case slices.ContainsFunc(d.rules.KeepKeys[:i], func(other KeepKey) bool { return sameKey(other, *rule) }):
			report("key of "+rule.CommonName, "kept by rule, but given to another authority already: two of the seed's would become one")
			continue
		}
		d.Keys[keys[0].ID] = &KeyDecision{Key: keys[0], Action: Given, Why: "key kept by rule", rule: rule}
		if !rule.IfThere {
			d.renameAuthority(keys[0], rule.CommonName)
		}
	}
}

func sameKey(a, b KeepKey) bool {
	one, err := pki.IDOf(a.Key.Public())
	other, otherErr := pki.IDOf(b.Key.Public())
	return err == nil && otherErr == nil && one == other
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
		if rule.ID != (pki.KeyID{}) && rule.ID != k.ID {
			continue
		}
		unnamed := rule.Site != "" || rule.ID != (pki.KeyID{}) // a place, or an id, is enough
		named := unnamed && !rule.IfThere || slices.ContainsFunc(k.Certificates, func(c *graph.Certificate) bool {
			if rule.IfThere {
				return d.rules.Name(c.CommonName) == rule.CommonName
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
