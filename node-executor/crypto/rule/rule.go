// Package rule holds what regeneration does to a cluster's stored state beyond its keys and its names, so that it starts
// as the cluster that it is from now on, and so that no operator rolls its workload out again: each avoided rollout is
// worth minutes on a single node.
//
// There are two kinds, each a small file of its own. A [Rule] gives values that only the old cluster knows (pull secret,
// proxy, install-config …) or drops objects that are worth nothing in another cluster (leases, events, pods of a node of
// another name). An [Agreement] is a value that one object repeats about another (a digest of a bundle, the validity of a
// certificate): it is made to agree with the new content wherever it agreed with the old, and only there.
//
// Values are spliced into what is stored; everything else in an object stays as it is, byte for byte.
//
// One value is knowingly left alone: the annotation operator.openshift.io/spec-hash. It is a digest of the Deployment that
// an operator would write, before the API server's defaults, so it cannot be computed from the stored one.
// An operator that finds it outdated writes its Deployment again; the pod template, in which [Dependencies] made the digests
// agree, is then the same, and nothing rolls out. (Read in library-go's resourceapply, not tried on a cluster.)
//
// So is the condition Available of the ClusterVersion, which recert makes False, so that whoever waits for it does not take
// the seed's True for the new cluster's. Nothing of ours reads it: operators, pools and the node are asked themselves, and the end
// of an upgrade is told by its own resource. The cluster version operator writes the condition again by itself.
package rule

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Rule is one named change of stored objects and files.
type Rule struct {
	// Name is for people and reports, such as "pull secret". It is unique among rules that are used together.
	Name string
	// Why says what would happen without the rule.
	Why string
	// Places are where it acts.
	Places []Place
	// External are names of sites that list authorities of others since the rule gave them its value.
	External []string
	// Required makes it a problem that none of the places exists: the value would be lost, and cannot be set later or only at
	// the price of a rollout. Of other rules that give a value it is noted. Recert stops at the same ones.
	Required bool
}

// Gives tells a rule that gives a value from one that only drops sites, which wants nothing when there is none.
func (r Rule) Gives() bool {
	return slices.ContainsFunc(r.Places, func(p Place) bool { return p.set != nil })
}

// Place is one kind of site that a rule changes.
type Place struct {
	// Applies tells by its name whether a site is of this kind.
	Applies func(site.Ref) bool
	// set returns the document as the rule wants it, and whether there was a place for that. Applied to its own outcome it
	// changes nothing. Nil drops the site.
	set func(doc []byte) (after []byte, found bool, err error)
}

// Rules are applied together.
type Rules []Rule

// Check refuses rules that contradict each other.
func (rules Rules) Check() error {
	var problems []error
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[r.Name] {
			problems = append(problems, fmt.Errorf("cannot use two rules for %s", r.Name))
		}
		seen[r.Name] = true
	}
	return errors.Join(problems...)
}

// Dropped returns the name of the rule that deletes the site, "" when it stays.
func (rules Rules) Dropped(ref site.Ref) string {
	for _, r := range rules {
		if slices.ContainsFunc(r.Places, func(p Place) bool { return p.set == nil && p.Applies(ref) }) {
			return r.Name
		}
	}
	return ""
}

// Sets tells by its name whether a site may be given a value.
func (rules Rules) Sets(ref site.Ref) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		return slices.ContainsFunc(r.Places, func(p Place) bool { return p.set != nil && p.Applies(ref) })
	})
}

// Set gives a site's document the rules' values and returns the names of those that had a place in it, also where the value
// was there already. Set of what Set returned changes nothing.
func (rules Rules) Set(ref site.Ref, doc []byte) (after []byte, found []string, err error) {
	for _, r := range rules {
		for _, p := range r.Places {
			if p.set == nil || !p.Applies(ref) {
				continue
			}
			var here bool
			if doc, here, err = p.set(doc); err != nil {
				return nil, nil, fmt.Errorf("cannot set %s: %w", r.Name, err)
			}
			if here && !slices.Contains(found, r.Name) {
				found = append(found, r.Name)
			}
		}
	}
	return doc, found, nil
}

// Drop returns a rule that deletes the keys of etcd that match a pattern of path.Match.
func Drop(name, why string, patterns ...string) Rule {
	return Rule{Name: name, Why: why, Places: []Place{{Applies: keys(patterns...)}}}
}

// prefix is where OpenShift's API servers keep the objects of Kubernetes and custom resources.
const prefix = "/kubernetes.io/"

// keys matches keys of etcd below the prefix by patterns of path.Match. There may be a hundred thousand keys, so what precedes
// a pattern's first star is compared first.
func keys(patterns ...string) func(site.Ref) bool {
	type compiled struct{ literal, whole string }
	var all []compiled
	for _, pattern := range patterns {
		literal, _, _ := strings.Cut(prefix+pattern, "*")
		all = append(all, compiled{literal, prefix + pattern})
	}
	return func(ref site.Ref) bool {
		return ref.Store == site.Etcd && slices.ContainsFunc(all, func(c compiled) bool {
			if !strings.HasPrefix(ref.Name, c.literal) {
				return false
			}
			ok, err := path.Match(c.whole, ref.Name)
			return err == nil && ok
		})
	}
}

// paths matches files.
func paths(names ...string) func(site.Ref) bool {
	return func(ref site.Ref) bool { return ref.Store == site.File && slices.Contains(names, ref.Name) }
}

// either matches what one of two matches.
func either(a, b func(site.Ref) bool) func(site.Ref) bool {
	return func(ref site.Ref) bool { return a(ref) || b(ref) }
}
