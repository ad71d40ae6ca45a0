package crypto

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

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
	Notes     []plan.Problem     `json:"notes"`
	// Timings are those of the call that came to the end: after an interruption, only of what was left to do.
	Timings []Timing `json:"timings"`
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

// RefusedError says that nothing was changed because the plan has problems.
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
	return fmt.Sprintf("cannot regenerate cryptography: %d problems found in %s: %s", len(e.Problems), e.Stage, strings.Join(texts, "; "))
}

// summarise counts what a plan does.
func summarise(p *plan.Plan, made *plan.Issued, changes []site.Change) *Summary {
	s := &Summary{
		Keys: map[plan.Action]int{}, Certificates: map[plan.Action]int{}, Tokens: map[plan.Action]int{},
		Sites: map[site.Store]int{}, Rules: map[string]int{}, Notes: p.Notes, EncryptionKeys: map[plan.Action]int{},
	}
	for _, d := range p.Keys {
		s.Keys[d.Action]++
		if r, ok := replacement(d, made); ok {
			s.Replaced = append(s.Replaced, r)
		}
	}
	slices.SortFunc(s.Replaced, func(a, b Replacement) int { return strings.Compare(a.Old, b.Old) })
	for _, a := range p.Applications() {
		s.Rules[a.Rule] = len(a.Sites)
	}
	for _, d := range p.Certificates {
		s.Certificates[d.Action]++
	}
	for _, d := range p.Tokens {
		s.Tokens[d.Action]++
	}
	if n := len(made.EncryptionKeys); n > 0 {
		s.EncryptionKeys[plan.Fresh] = n
	}
	for _, c := range changes {
		s.Sites[c.Store]++
	}
	return s
}
