// Package scan reads every site of a node once and keeps what regeneration needs: the graph of the
// material, what was not understood, and the content of those sites that will change.
//
// Sites are read by many at once, as they come, and taken into the result in their order, so that the result does not depend
// on who was faster. Reading begins before it is known what the cluster is called (that has to be learnt from an etcd that is
// still starting), because the keys that are found on the way take long to be replaced.
//
// Some sites can only be read with what stands in others: values that are encrypted at rest, and key stores with a password.
// They wait until everything else is read.
package scan

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
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
	Sites    []site.Site       // those that hold material or a name that is renamed, or are encrypted
	Dropped  []site.Change     // those that will be deleted, unread
	Names    map[site.Ref]bool // every site there is
	Others   Others            // those in which nothing will change
	Plain    map[site.Ref]bool // of them, those of which nothing had to be decoded to read them
	Bytes    int64
	// Applied is where each rule and each kind of rename has something to do, by its name.
	Applied map[string][]site.Ref

	ring    *atrest.Ring
	waiting []site.Site // encrypted with a key that was not known yet
	locked  []site.Site // with a key store whose password was not known yet
	words   words
}

// Rules say what a scan looks for besides material.
type Rules struct {
	Renames rename.Rules // text that they would change makes a site worth keeping
	// Changes drop sites, and give values before anything is looked at, so that the old value is not taken for the
	// cluster's material.
	Changes rule.Rules
}

// Known returns rules that need not be learnt.
func (r Rules) Known(context.Context) (Rules, error) { return r, nil }

// Options say how to scan.
type Options struct {
	// Rules returns the rules. It is called once, and meanwhile reading goes on. Nil means no rules.
	Rules func(context.Context) (Rules, error)
	// Found, when set, is told of each private key that is seen for the first time, as early as possible. It may be called
	// concurrently, and also for a key that turns out to stand only where a rule gives another value.
	Found func(pki.Algorithm)
}

// Scan reads the sources. A site that cannot be understood is a finding, one that cannot be read an error.
func Scan(ctx context.Context, sources []site.Source, options Options) (*Result, error) {
	r := &Result{
		Graph: graph.New(), Names: map[site.Ref]bool{}, Plain: map[site.Ref]bool{}, Applied: map[string][]site.Ref{},
		Others: Others{source: site.Sources(sources)}, ring: atrest.NewRing(), words: words{},
	}
	reader := newReader(options.Found)
	group, reading := errgroup.WithContext(ctx)
	group.Go(func() error { return reader.settle(reading, options.Rules) })
	group.Go(func() error { return r.readAll(reading, reader, site.Sources(sources)) })
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := r.addWaiting(ctx, reader); err != nil {
		return nil, err
	}
	for _, s := range r.locked {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s.Passwords = r.words.around(s.Ref)
		if err := r.keep(s, lookBy(&s, reader.rules)); err != nil {
			return nil, err
		}
	}
	r.Graph.Relate()
	return r, nil
}

// take takes a reading into the result, unless it has to wait.
func (r *Result) take(n *reading) error {
	if !r.Names[n.Ref] {
		r.Names[n.Ref] = true
		r.Bytes += int64(len(n.Content))
	}
	switch {
	case n.dropped != "":
		r.Applied[n.dropped] = append(r.Applied[n.dropped], n.Ref)
		r.Dropped = append(r.Dropped, site.Change{Ref: n.Ref, Before: n.StoredHash(), Version: n.Version, Delete: true})
		return nil
	case n.Envelope == nil && atrest.Encrypted(n.Content):
		r.waiting = append(r.waiting, n.Site)
		return nil
	}
	for _, w := range n.sight.words {
		r.words.add(n.Ref, w)
	}
	if n.sight.locked {
		r.locked = append(r.locked, n.Site)
		return nil
	}
	return r.keep(n.Site, n.sight)
}

// keep takes what was seen in a site into the result, and the site itself if anything in it may change.
func (r *Result) keep(s site.Site, seen sight) error {
	if seen.err != nil {
		return fmt.Errorf("cannot read %s: %w", s.Ref, seen.err)
	}
	for _, leaf := range seen.leaves {
		r.Graph.Add(s.Ref.String(), leaf)
		if leaf.Kind == crawl.EncryptionKey {
			r.ring.Add(leaf.Bytes)
		}
	}
	for _, f := range seen.findings {
		if f.Reason == crawl.OtherKey && s.Store == site.File && s.Original != nil {
			continue // a rule has just made it
		}
		r.Findings = append(r.Findings, Finding{s.Ref, f})
	}
	if len(seen.applied) == 0 && len(seen.leaves) == 0 && s.Original == nil && s.Envelope == nil {
		r.Plain[s.Ref] = !seen.opened && !seen.layered
		r.Others.add(s)
		return nil
	}
	s.Before = s.StoredHash()
	r.Sites = append(r.Sites, s)
	for _, name := range seen.applied {
		r.Applied[name] = append(r.Applied[name], s.Ref)
	}
	return nil
}

// addWaiting reads the encrypted values. The keys of one API server may be in secrets that another encrypts, so it goes
// on until nothing more opens. What is left is read as it is, for its finding.
func (r *Result) addWaiting(ctx context.Context, reader *reader) error {
	for len(r.waiting) > 0 {
		var opened memory
		var closed []site.Site
		for _, s := range r.waiting {
			if envelope, content, err := r.ring.Open(s.Name, s.Content); err == nil {
				s.Before = s.StoredHash()
				s.Envelope, s.Content = &envelope, content
				opened = append(opened, s)
			} else {
				closed = append(closed, s)
			}
		}
		if r.waiting = closed; len(opened) == 0 {
			break
		}
		if err := r.readAll(ctx, reader, opened); err != nil {
			return err
		}
	}
	for _, s := range r.waiting {
		if err := r.keep(s, lookBy(&s, reader.rules)); err != nil {
			return err
		}
	}
	return nil
}

// memory are sites that were read before.
type memory []site.Site

// Walk implements [site.Source].
func (m memory) Walk(ctx context.Context, visit func(site.Site) error) error {
	for _, s := range m {
		if err := errors.Join(ctx.Err(), visit(s)); err != nil {
			return err
		}
	}
	return nil
}
