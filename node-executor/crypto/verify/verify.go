// Package verify checks a staged regeneration against what was there before: it reads the new content anew, without trusting
// how it was made. Each site is read once as it was and once as it is to be, and a short list of invariants must hold; each is
// a method in a file that tells it:
//
//	sites         nothing appears, disappears or is called otherwise but by a rule (sites.go)
//	successors    each place holds the successor of what it held, in the same order (successors.go)
//	keys          no key is kept, no two become one, each is of the old one's algorithm (keys.go)
//	certificates  each is as it was but for its keys, its serial number and what rules say (certificates.go, names.go)
//	authorities   a certificate that named its issuer, by name, key identifier or serial number, still does (certificates.go)
//	tokens        each says what it said and is signed by its key's successor, which it names if it named it (tokens.go)
//	pairs         certificate, key and authority that fitted together in one document still do (pairs.go)
//	bystanders    what is no material is as it was but for renames and rules (bystanders.go)
//	copies        what were copies of each other still are (copies.go)
//	agreements    what objects say about each other is as true as it was (copies.go)
//	secrets       no old private key is left, in whatever form (secrets.go)
package verify

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Staged returns everything that is wrong with the changes of the sites that were read; nothing means that every
// invariant holds. The needles are those of what the plan replaces.
func Staged(p *plan.Plan, made *plan.Issued, needles *Needles, read []site.Site, changes []site.Change) []plan.Problem {
	v := &verifier{
		plan: p, made: made, needles: needles, seed: maphash.MakeSeed(),
		before: plan.Stored(read), after: rule.State{}, keys: map[pki.KeyID]pki.KeyID{},
		copied: map[digest]copied{}, certificates: map[string]*pki.Certificate{}, signatures: map[signature]bool{},
	}
	v.sites(read, changes)
	v.keyPairs()
	v.encryptionKeys()
	v.serials = v.oldSerials()
	tasks := []func(){v.agreements}
	for _, s := range read {
		tasks = append(tasks, func() { v.site(s) })
	}
	for _, decision := range p.Certificates {
		tasks = append(tasks, func() { v.certificate(decision) })
	}
	for _, decision := range p.Tokens {
		tasks = append(tasks, func() { v.token(decision) })
	}
	onAllProcessors(tasks)
	slices.SortFunc(v.problems, func(a, b plan.Problem) int { return cmp.Compare(a.String(), b.String()) })
	return v.problems
}

// onAllProcessors carries out tasks, in any order.
func onAllProcessors(tasks []func()) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(tasks); i = next.Add(1) - 1 {
				tasks[i]()
			}
		})
	}
	workers.Wait()
}

type verifier struct {
	plan    *plan.Plan
	made    *plan.Issued
	needles *Needles
	seed    maphash.Seed

	before, after rule.State
	keys          map[pki.KeyID]pki.KeyID // old → new

	mu           sync.Mutex // guards what follows
	problems     []plan.Problem
	copied       map[digest]copied
	certificates map[string]*pki.Certificate // by DER and what follows it
	signatures   map[signature]bool
	serials      map[serial]bool
}

func (v *verifier) problem(where, format string, args ...any) {
	v.report(plan.Problem{Where: where, What: fmt.Sprintf(format, args...)})
}

func (v *verifier) report(problems ...plan.Problem) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.problems = append(v.problems, problems...)
}

// site reads a site and checks all that can be checked of one.
func (v *verifier) site(s site.Site) {
	where := s.Ref.String()
	was, is, err := v.readings(s)
	switch {
	case err != nil:
		v.problem(where, "cannot be read: %v", err)
		return
	case len(was.leaves) != len(is.leaves):
		v.problem(where, "held %d pieces of material and now %d", len(was.leaves), len(is.leaves))
		return
	}
	v.successors(where, was.leaves, is.leaves)
	v.copies(s, was.pieces, is.pieces)
	if was != is {
		v.pairs(where, was.leaves, is.leaves)
		v.bystanders(s, was, is)
	}
}
