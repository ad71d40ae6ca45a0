package plan

import (
	"fmt"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
)

func (p *Plan) problem(where, format string, args ...any) {
	p.Problems = append(p.Problems, Problem{where, fmt.Sprintf(format, args...)})
}

func (p *Plan) note(where, format string, args ...any) {
	p.Notes = append(p.Notes, Problem{where, fmt.Sprintf(format, args...)})
}

// reportUnread turns what was not understood into problems where it may hide a private key, and notes elsewhere.
func (p *Plan) reportUnread() {
	serious := p.problem
	switch {
	case p.rules.NamesOnly: // a key that is not seen stays, as all others do
		serious = p.note
	case p.rules.Unread == Keep:
		serious = func(where, format string, args ...any) { p.note(where, format+", kept by policy", args...) }
	}
	for _, f := range p.scan.Findings {
		where := graph.Place{Site: f.Site.String(), Path: f.Path}.String()
		if f.Serious {
			serious(where, "may hold a private key and cannot be read: %s (%s)", f.Reason, f.Detail)
		} else {
			p.note(where, "%s (%s)", f.Reason, f.Detail)
		}
	}
	for _, u := range p.scan.Graph.Unread {
		report := p.note
		if u.Kind == crawl.PrivateKey {
			report = serious
		}
		report(u.Place.String(), "%s: %v", u.Kind, u.Err)
	}
}
