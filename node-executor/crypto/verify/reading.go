package verify

import (
	"bytes"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// content says which content of a site is read.
type content int

const (
	former  content = iota // as it was
	future                 // as it is to be
	lasting                // as it was and is to be
)

// reading is what one crawl of a content gathers.
type reading struct {
	leaves   []crawl.Leaf
	pieces   []piece
	skeleton []byte // see bystanders
	renamed  bool   // renames change something in it
}

// readings reads a site as it was and as it is to be. They are one reading where nothing changes.
func (v *verifier) readings(s site.Site) (was, is *reading, err error) {
	if after := v.after[s.Ref]; bytes.Equal(s.Content, after) {
		if was, err = v.read(s, after, lasting); err != nil || !was.renamed {
			return was, was, err
		}
	}
	if was, err = v.read(s, s.Content, former); err != nil {
		return nil, nil, err
	}
	is, err = v.read(s, v.after[s.Ref], future)
	return was, is, err
}

func (v *verifier) read(s site.Site, doc []byte, which content) (*reading, error) {
	r := &reading{pieces: v.wholeFile(doc)}
	h := v.skeletal(s, which)
	leaf, text := h.Leaf, h.Text
	h.Leaf = func(l crawl.Leaf) ([]byte, error) {
		r.leaves = append(r.leaves, l)
		return leaf(l)
	}
	h.Text = func(path string, plain []byte) []splice.Edit {
		edits := text(path, plain)
		r.renamed = r.renamed || len(edits) > 0
		return edits
	}
	h.Field = func(path string, value []byte) ([]byte, bool) {
		r.pieces = v.entry(r.pieces, path, value)
		return nil, false
	}
	if which != former {
		h.Layer = func(path string, layer []byte) {
			v.report(v.needles.search(s.Ref, path, layer)...)
		}
	}
	var err error
	r.skeleton, err = v.skeleton(s, doc, h)
	return r, err
}
