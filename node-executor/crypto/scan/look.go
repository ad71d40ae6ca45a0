package scan

import (
	"path"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// sight is what was seen in a site.
type sight struct {
	leaves   []crawl.Leaf
	findings []crawl.Finding
	words    []word
	applied  []string // names of rules, agreements and kinds of rename that have something to do in it
	locked   bool     // a key store in it stayed closed
	opened   bool     // there are layers in it that were decoded, in which there may be names
	layered  bool     // there are layers in it that do not stand in it as they are
	err      error
}

// look reads a site.
func look(s site.Site, rules Rules) sight {
	var seen sight
	apply := func(name string) {
		if !slices.Contains(seen.applied, name) {
			seen.applied = append(seen.applied, name)
		}
	}
	text := func(text []byte) {
		for _, kind := range rules.Renames.Kinds(text) {
			apply(kind)
		}
	}
	word := func(field string, value []byte) {
		if w, ok := wordOf(s.Ref, field, value); ok {
			seen.words = append(seen.words, w)
		}
	}
	if s.TooLarge {
		seen.findings = append(seen.findings, crawl.Finding{Reason: crawl.TooDeep, Detail: "file too large", Serious: true})
	}
	text([]byte(renamable(s.Ref)))
	word("", s.Content)
	_, seen.err = crawl.Rewrite(s.Content, crawl.Handler{
		Leaf: func(leaf crawl.Leaf) ([]byte, error) {
			seen.leaves = append(seen.leaves, leaf)
			return nil, nil
		},
		Field: func(path string, value []byte) ([]byte, bool) {
			word(path, value)
			rule.Concerned(path, apply)
			return nil, false
		},
		Text: func(_ string, plain []byte) []splice.Edit {
			text(plain)
			return nil
		},
		Finding: func(f crawl.Finding) {
			seen.findings = append(seen.findings, f)
			seen.locked = seen.locked || f.Reason == crawl.Sealed
		},
		Opened:    func() { seen.opened = true },
		Layer:     func(path string, _ []byte) { seen.layered = seen.layered || path != "" },
		Passwords: s.Passwords,
	})
	return seen
}

// renamable is the part of a site's name that renames may change: directories are not moved.
func renamable(ref site.Ref) string {
	if ref.Store == site.File {
		return path.Base(ref.Name)
	}
	return ref.Name
}
