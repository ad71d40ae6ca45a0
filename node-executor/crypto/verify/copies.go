package verify

import (
	"hash/maphash"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// piece is what is copied from place to place: all of a file, or one entry of an object's data. The content is told by its length
// and a hash.
type piece struct {
	name string
	is   digest
}

type digest struct {
	length int
	hash   uint64
}

func (v *verifier) wholeFile(doc []byte) []piece {
	if crawl.IsObject(doc) {
		return nil
	}
	return []piece{{"", v.digest(doc)}}
}

// entry appends a field to the pieces if it is one.
func (v *verifier) entry(pieces []piece, path string, value []byte) []piece {
	if !strings.HasPrefix(path, "data[") && !strings.HasPrefix(path, "binaryData[") {
		return pieces
	}
	return append(pieces, piece{" " + path, v.digest(value)})
}

func (v *verifier) digest(content []byte) digest {
	return digest{len(content), maphash.Bytes(v.seed, content)}
}

// copied is what a piece became, and where that was first seen.
type copied struct {
	where string
	now   digest
}

// copies checks that copies go on being copies: a secret, its revisions, and the files that a static pod reads from
// them. An operator that finds a difference makes the next revision, and its pods are replaced.
func (v *verifier) copies(s site.Site, was, is []piece) {
	if s.Original != nil {
		return // given by a rule, and not to its copies that have another purpose
	}
	for i := range min(len(was), len(is)) {
		where := s.Ref.String() + was[i].name
		if first := v.firstCopy(was[i].is, copied{where, is[i].is}); first.now != is[i].is {
			v.problem(where, "was a copy of %s and is no longer", first.where)
		}
	}
}

// firstCopy notes what a piece became, unless that is known, and returns what is known.
func (v *verifier) firstCopy(was digest, became copied) copied {
	v.mu.Lock()
	defer v.mu.Unlock()
	first, seen := v.copied[was]
	if !seen {
		v.copied[was] = became
		return became
	}
	return first
}

// agreements checks that no field that spoke the truth about another one has become wrong.
func (v *verifier) agreements() {
	wrong, err := rule.Disagreements(v.before, v.after)
	if err != nil {
		v.problem("etcd", "cannot be compared: %v", err)
	}
	for _, d := range wrong {
		v.problem(d.Site.String()+" "+d.Field, "is no longer true: %s", d.Agreement)
	}
}
