// Package scan reads every site of a node once and keeps what regeneration needs: the graph of the
// material, what was not understood, and the content of those sites that will change.
package scan

import (
	"context"
	"fmt"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// Finding is something in a site that looks like material and was not understood.
type Finding struct {
	Site site.Ref `json:"site"`
	crawl.Finding
}

// Result is what was read.
type Result struct {
	Graph    *graph.Graph
	Findings []Finding
	Sites    []site.Site       // those that hold material or a name that is renamed
	Dropped  []site.Change     // those that will be deleted, unread
	Unset    []Set             // values for which there is no place
	Names    map[site.Ref]bool // every site there is
	Bytes    int64

	made map[int]bool // values set, by their index
}

// Options says what a scan looks for besides material.
type Options struct {
	Renames rename.Rules            // text that they would change makes a site worth keeping
	Drop    func(ref site.Ref) bool // sites to be deleted; nil drops none
	Set     []Set                   // values to be replaced, before anything else is done
}

// Scan reads the sources. A site that cannot be understood is a finding, one that cannot be read an error.
func Scan(ctx context.Context, sources []site.Source, options Options) (*Result, error) {
	r := &Result{Graph: graph.New(), Names: map[site.Ref]bool{}, made: map[int]bool{}}
	for _, source := range sources {
		if err := source.Walk(ctx, func(s site.Site) error { return r.add(s, options) }); err != nil {
			return nil, err
		}
	}
	for i, set := range options.Set {
		if !r.made[i] {
			r.Unset = append(r.Unset, set)
		}
	}
	r.Graph.Relate()
	return r, nil
}

func (r *Result) add(s site.Site, options Options) error {
	r.Names[s.Ref] = true
	r.Bytes += int64(len(s.Content))
	if options.Drop != nil && options.Drop(s.Ref) {
		r.Dropped = append(r.Dropped, site.Change{Ref: s.Ref, Before: site.HashOf(s.Content), Delete: true})
		return nil
	}
	renames := options.Renames
	if s.TooLarge {
		r.Findings = append(r.Findings, Finding{s.Ref, crawl.Finding{Reason: crawl.TooDeep, Detail: "file too large", Serious: true}})
	}
	s.Before = site.HashOf(s.Content)
	set, err := r.set(&s, options.Set)
	if err != nil {
		return fmt.Errorf("cannot set values of %s: %w", s.Ref, err)
	}
	touched := set || renames.Apply(s.Name) != s.Name
	_, err = crawl.Rewrite(s.Content, crawl.Handler{
		Leaf: func(leaf crawl.Leaf) ([]byte, error) {
			touched = true
			r.Graph.Add(s.Ref.String(), leaf)
			return nil, nil
		},
		Text: func(_ string, text []byte) []splice.Edit {
			touched = touched || len(renames.Edits(text)) > 0
			return nil
		},
		Finding: func(f crawl.Finding) { r.Findings = append(r.Findings, Finding{s.Ref, f}) },
	})
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", s.Ref, err)
	}
	if touched {
		r.Sites = append(r.Sites, s)
	}
	return nil
}
