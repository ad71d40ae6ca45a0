package verify

import (
	"bytes"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// bystanders checks that nothing changed beside the material but by renames and rules. It compares skeletons: the former
// content with its renames made and the future one, both with one word in the place of each piece of material and both given
// the rules' values.
//
// Two things may differ: a field that repeats what stands elsewhere, if it told the truth (agreements checks that it does
// again), and a key store, in which all is encrypted anew.
func (v *verifier) bystanders(s site.Site, was, is *reading) {
	where, after := s.Ref.String(), v.after[s.Ref]
	if set, _, err := v.plan.Rules().Changes.Set(s.Ref, after); err != nil || !bytes.Equal(set, after) {
		v.problem(where, "does not have the value that a rule gives it")
	}
	if bytes.Equal(was.skeleton, is.skeleton) {
		return
	}
	hidden := keyStores(was.leaves)
	if len(hidden) > 0 && !crawl.IsObject(s.Content) {
		return // there are no fields that could be hidden
	}
	told, err := rule.Spoken(s.Ref, v.before)
	if err != nil {
		v.problem(where, "cannot be compared: %v", err)
		return
	}
	hidden = append(hidden, told...)
	old, err := v.skeleton(s, s.Content, v.skeletal(s, former, hidden...))
	if err != nil {
		v.problem(where, "cannot be compared: %v", err)
		return
	}
	renewed, err := v.skeleton(s, after, v.skeletal(s, future, hidden...))
	if err != nil || !bytes.Equal(old, renewed) {
		v.problem(where, "has changed beside its material")
	}
}

// skeleton carries out what a handler made by skeletal wants.
func (v *verifier) skeleton(s site.Site, doc []byte, h crawl.Handler) ([]byte, error) {
	edits, err := crawl.Rewrite(doc, h)
	if err != nil {
		return nil, err
	}
	if doc, err = splice.Apply(doc, edits); err != nil {
		return nil, err
	}
	doc, _, err = v.plan.Rules().Changes.Set(s.Ref, doc)
	return doc, err
}

// skeletal is a handler that makes the skeleton of a content. What lasts is left as it is.
func (v *verifier) skeletal(s site.Site, which content, hidden ...string) crawl.Handler {
	renames := v.plan.Rules().Renames
	return crawl.Handler{
		Leaf: func(l crawl.Leaf) ([]byte, error) {
			if _, stored := keyStore(l.Path); stored || which == lasting {
				return nil, nil
			}
			return placeholder(l.Kind), nil
		},
		Field: func(path string, _ []byte) ([]byte, bool) {
			for _, h := range hidden {
				if which == future {
					h = renames.Apply(h)
				}
				if h == path || strings.HasPrefix(h, path+"/") {
					return nil, true
				}
			}
			return nil, false
		},
		Text: func(_ string, text []byte) []splice.Edit {
			if which == future {
				return nil
			}
			return renames.Edits(text)
		},
		Passwords: s.Passwords,
	}
}

// placeholder stands for material in a skeleton. It is short, so that no encoding breaks it into lines, and valid wherever
// the material was.
func placeholder(kind crawl.Kind) []byte {
	if kind == crawl.JSONKey {
		return []byte("{}")
	}
	return []byte("the material")
}

// keyStores are the paths of the key stores that leaves stand in.
func keyStores(leaves []crawl.Leaf) (paths []string) {
	for _, l := range leaves {
		if path, stored := keyStore(l.Path); stored {
			paths = append(paths, path)
		}
	}
	return paths
}

func keyStore(leaf string) (path string, stored bool) {
	path, _, stored = strings.Cut(leaf, "/keystore(")
	return path + "/", stored
}
