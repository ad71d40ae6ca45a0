package verify

import (
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// mirrors checks that copies go on being copies: a secret, its revisions, and the files that a static pod reads from
// them. An operator that finds a difference makes the next revision, and its pods are replaced.
func (v *verifier) mirrors(before []site.Site, after rule.State) {
	type copied struct {
		where string
		now   site.Hash
	}
	copies := map[site.Hash]copied{}
	for _, s := range before {
		if s.Original != nil {
			continue // given by a rule, and not to its copies that have another purpose
		}
		old, renewed := pieces(s.Content), pieces(after[s.Ref])
		for i := range min(len(old), len(renewed)) {
			was, now, where := site.HashOf(old[i].content), site.HashOf(renewed[i].content), s.Ref.String()+old[i].name
			if first, seen := copies[was]; !seen {
				copies[was] = copied{where, now}
			} else if first.now != now {
				v.problem(where, "was a copy of %s and is no longer", first.where)
			}
		}
	}
}

// piece is what is copied from place to place: all of a file, or one entry of an object's data.
type piece struct {
	name    string
	content []byte
}

func pieces(doc []byte) []piece {
	if !crawl.IsObject(doc) {
		return []piece{{"", doc}}
	}
	var found []piece
	_, err := crawl.Rewrite(doc, crawl.Handler{Field: func(path string, value []byte) ([]byte, bool) {
		if strings.HasPrefix(path, "data[") || strings.HasPrefix(path, "binaryData[") {
			found = append(found, piece{" " + path, value})
		}
		return value, true
	}})
	if err != nil {
		return nil // reported when its material was compared
	}
	return found
}

// agreements checks that no field that spoke the truth about another one has become wrong.
func (v *verifier) agreements(before []site.Site, after rule.State) {
	wrong, err := rule.Disagreements(plan.Stored(before), after)
	if err != nil {
		v.problem("etcd", "cannot be compared: %v", err)
	}
	for _, d := range wrong {
		v.problem(d.Site.String()+" "+d.Field, "is no longer true: %s", d.Agreement)
	}
}
