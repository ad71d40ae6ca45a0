package crypto

import (
	"fmt"

	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
)

// Preview is a plan as people and programs read it. It names keys, certificates and tokens by hashes and holds no secret.
type Preview struct {
	Keys         []Planned `json:"keys"`
	Certificates []Planned `json:"certificates"`
	Tokens       []Planned `json:"tokens"`
	// EncryptionKeys are those of encryption at rest.
	EncryptionKeys []Planned `json:"encryptionKeys,omitempty"`

	Rules    []plan.Application `json:"rules"`
	Notes    []plan.Problem     `json:"notes"`
	Problems []plan.Problem     `json:"problems"` // with any, nothing would be changed
}

// Planned is what would become of one piece of material.
type Planned struct {
	ID     string        `json:"id"`              // SHA-256: of a key's public half, of a certificate, of a token, of an encryption key
	Kind   string        `json:"kind"`            // algorithm
	Names  []string      `json:"names,omitempty"` // common names
	Action plan.Action   `json:"action"`
	Why    string        `json:"why,omitempty"`
	Places []graph.Place `json:"places"`
}

// Inspection is what is there, as people and programs read it.
type Inspection struct {
	graph.Shown
	Findings []scan.Finding `json:"findings"`
}

// NewInspection describes what a plan was made from.
func NewInspection(p *plan.Plan) *Inspection {
	return &Inspection{p.Graph().Show(), append([]scan.Finding{}, p.Findings()...)}
}

// NewPreview describes a plan, everything sorted by id.
func NewPreview(p *plan.Plan) *Preview {
	v := &Preview{
		Keys: []Planned{}, Certificates: []Planned{}, Tokens: []Planned{},
		Rules: p.Applications(), Notes: p.Notes, Problems: p.Problems,
	}
	g := p.Graph()
	for _, k := range g.SortedKeys() {
		planned := Planned{ID: k.ID.String(), Kind: k.Algorithm.String(), Names: commonNames(k), Places: k.Places}
		if d := p.Keys[k.ID]; d != nil {
			planned.Action, planned.Why = d.Action, d.Why
		}
		v.Keys = append(v.Keys, planned)
	}
	for _, c := range g.SortedCertificates() {
		planned := Planned{ID: c.ID.String(), Kind: c.Key.Algorithm.String(), Names: []string{c.CommonName}, Places: c.Places}
		if d := p.Certificates[c.ID]; d != nil {
			planned.Action, planned.Why = d.Action, d.Why
		}
		v.Certificates = append(v.Certificates, planned)
	}
	for _, t := range g.SortedTokens() {
		planned := Planned{ID: t.ID.String(), Kind: t.Algorithm, Places: t.Places}
		if d := p.Tokens[t.ID]; d != nil {
			planned.Action, planned.Why = d.Action, d.Why
		}
		v.Tokens = append(v.Tokens, planned)
	}
	for _, k := range g.SortedEncryptionKeys() {
		planned := Planned{ID: k.ID.String(), Kind: fmt.Sprintf("%d bits", 8*len(k.Bytes)), Action: p.EncryptionKeys[k.ID], Places: k.Places}
		if planned.Action == plan.Fresh {
			planned.Why = "every cluster of the seed has it"
		}
		v.EncryptionKeys = append(v.EncryptionKeys, planned)
	}
	return v
}
