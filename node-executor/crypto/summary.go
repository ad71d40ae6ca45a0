package crypto

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Summary says what was regenerated. It names keys, certificates and tokens by hashes and holds no
// secret.
type Summary struct {
	Keys         map[plan.Action]int `json:"keys"`
	Certificates map[plan.Action]int `json:"certificates"`
	Tokens       map[plan.Action]int `json:"tokens"`
	// EncryptionKeys counts the keys of encryption at rest.
	EncryptionKeys map[plan.Action]int `json:"encryptionKeys,omitempty"`

	// Rules counts the sites at which each named rule had something to do.
	Rules map[string]int `json:"rules"`

	Sites     map[site.Store]int `json:"sites"` // changed
	SitesRead int                `json:"sitesRead"`
	BytesRead int64              `json:"bytesRead"`
	Replaced  []Replacement      `json:"replaced"` // keys
	KeptKeys  []Outcome          `json:"keptKeys"` // others' among them
	// EachCertificate and EachToken say what became of them, one by one.
	EachCertificate []Outcome `json:"eachCertificate"`
	EachToken       []Outcome `json:"eachToken"`

	Notes []plan.Problem `json:"notes"`
	// Timings are those of the call that came to the end: after an interruption, only of what was left to do.
	Timings []Timing `json:"timings"`
}

// Outcome is what became of one piece of material.
type Outcome struct {
	ID     string      `json:"id"`              // SHA-256: of a key's public half, of a certificate, of a token
	New    string      `json:"new,omitempty"`   // likewise, of what took its place
	Names  []string    `json:"names,omitempty"` // common names
	Action plan.Action `json:"action"`
	Why    string      `json:"why"`
}

// Failure stands in the place of a summary when a regeneration ended with an error. It holds no secret either.
type Failure struct {
	Error    string         `json:"error"`
	Problems []plan.Problem `json:"problems,omitempty"`
}

// NewFailure describes an error.
func NewFailure(err error) *Failure {
	f := &Failure{Error: err.Error()}
	if refused := (*RefusedError)(nil); errors.As(err, &refused) {
		f.Problems = refused.Problems
	}
	return f
}

// Replacement names an old key and its successor by the SHA-256 of their public halves.
type Replacement struct {
	Names  []string    `json:"names"` // common names of certificates on the key
	Old    string      `json:"old"`
	New    string      `json:"new"`
	Action plan.Action `json:"action"`
	Why    string      `json:"why"`
}

func (s *Summary) encode() (json.RawMessage, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("cannot encode summary: %w", err)
	}
	return text, nil
}

// Timing is how long a stage took.
type Timing struct {
	Stage    string        `json:"stage"`
	Duration time.Duration `json:"duration"`
}

// RefusedError says that no key, certificate, token or name was changed because the plan has problems.
type RefusedError struct {
	Stage    string // plan or verify
	Problems []plan.Problem
}

func (e *RefusedError) Error() string {
	const shown = 5
	texts := []string{}
	for _, p := range e.Problems[:min(shown, len(e.Problems))] {
		texts = append(texts, p.String())
	}
	if len(e.Problems) > shown {
		texts = append(texts, fmt.Sprintf("and %d more", len(e.Problems)-shown))
	}
	return fmt.Sprintf("cannot regenerate cryptography: %s found in %s: %s", e.Count(), e.Stage, strings.Join(texts, "; "))
}

// Count says how many problems there are.
func (e *RefusedError) Count() string {
	if len(e.Problems) == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", len(e.Problems))
}

// summarise counts what a plan does.
func summarise(p *plan.Plan, made *plan.Issued, changes []site.Change) *Summary {
	s := &Summary{
		Keys: map[plan.Action]int{}, Certificates: map[plan.Action]int{}, Tokens: map[plan.Action]int{},
		Sites: map[site.Store]int{}, Rules: map[string]int{}, Notes: p.Notes, EncryptionKeys: map[plan.Action]int{},
		Replaced: []Replacement{}, KeptKeys: []Outcome{}, EachCertificate: []Outcome{}, EachToken: []Outcome{},
	}
	for _, k := range p.Graph().SortedKeys() {
		d := p.Keys[k.ID]
		s.Keys[d.Action]++
		if r, ok := replacement(d, made); ok {
			s.Replaced = append(s.Replaced, r)
		} else {
			s.KeptKeys = append(s.KeptKeys, Outcome{ID: k.ID.String(), Names: commonNames(k), Action: d.Action, Why: d.Why})
		}
	}
	for _, a := range p.Applications() {
		s.Rules[a.Rule] = len(a.Sites)
	}
	for _, c := range p.Graph().SortedCertificates() {
		d := p.Certificates[c.ID]
		s.Certificates[d.Action]++
		s.EachCertificate = append(s.EachCertificate, Outcome{
			ID: c.ID.String(), New: hashOf(made.Certificates[c.ID]), Names: []string{c.CommonName}, Action: d.Action, Why: d.Why,
		})
	}
	for _, t := range p.Graph().SortedTokens() {
		d := p.Tokens[t.ID]
		s.Tokens[d.Action]++
		s.EachToken = append(s.EachToken, Outcome{ID: t.ID.String(), New: hashOf(made.Tokens[t.ID]), Action: d.Action, Why: d.Why})
	}
	for _, action := range p.EncryptionKeys {
		s.EncryptionKeys[action]++
	}
	for _, c := range changes {
		s.Sites[c.Store]++
	}
	return s
}

// hashOf is the id of a certificate or a token; "" for none.
func hashOf(made []byte) string {
	if made == nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(made))
}

// commonNames are those of the certificates on a key, each once.
func commonNames(k *graph.Key) []string {
	names := []string{}
	for _, c := range k.Certificates {
		names = append(names, c.CommonName)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
