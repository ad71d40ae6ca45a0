package plan

import (
	"cmp"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Application is one named rule and where it has something to do.
type Application struct {
	Rule  string     `json:"rule"`
	Why   string     `json:"why"`
	Sites []site.Ref `json:"sites"` // sorted; empty where the rule found nothing
}

// Applications lists every rule of the plan: renames, values that are given, objects that are dropped, and fields
// that are made to agree with what they speak of. It is complete before anything is made.
func (p *Plan) Applications() []Application {
	var all []Application
	add := func(name, why string) {
		if slices.ContainsFunc(all, func(a Application) bool { return a.Rule == name }) {
			return // several renames of one kind
		}
		sites := slices.SortedFunc(slices.Values(p.scan.Applied[name]), func(a, b site.Ref) int {
			return cmp.Compare(a.String(), b.String())
		})
		all = append(all, Application{Rule: name, Why: why, Sites: sites})
	}
	for _, r := range p.rules.Renames {
		add(r.Kind, r.String())
	}
	for _, r := range p.rules.Changes {
		add(r.Name, r.Why)
	}
	for _, a := range rule.Agreements {
		add(a.Name, a.Why)
	}
	return all
}

// reportUnapplied names the rules whose value has no place here.
func (p *Plan) reportUnapplied() {
	for _, r := range p.rules.Changes {
		switch {
		case len(p.scan.Applied[r.Name]) > 0 || !r.Gives():
		case r.Required:
			p.problem(r.Name, "cannot be set, for there is no place for it: %s", r.Why)
		default:
			p.note(r.Name, "applied nowhere: %s", r.Why)
		}
	}
}

// reportLogins names the tokens of people that no rule drops: they are secrets that cannot be made anew.
func (d *decider) reportLogins() {
	for ref := range d.scan.Names {
		if rule.IsLogin(ref) && d.rules.Changes.Dropped(ref) == "" {
			d.note(ref.String(), "someone's login to the seed, kept: it is one to every cluster made from it")
		}
	}
}
