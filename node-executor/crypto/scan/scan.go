// Package scan reads every site of a node once and keeps what regeneration needs: the graph of the
// material, what was not understood, and the content of those sites that will change.
//
// Some sites can only be read with what stands in others: values that are encrypted at rest, and key stores with a password.
// They wait until everything else is read.
package scan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
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
	Sites    []site.Site       // those that hold material or a name that is renamed, or are encrypted
	Dropped  []site.Change     // those that will be deleted, unread
	Names    map[site.Ref]bool // every site there is
	Plain    map[site.Ref]bool // those in which nothing may change and nothing had to be decoded to read them
	Bytes    int64
	// Applied is where each rule and each kind of rename has something to do, by its name.
	Applied map[string][]site.Ref

	options Options
	ring    *atrest.Ring
	waiting []site.Site // encrypted with a key that was not known yet
	locked  []site.Site // with a key store whose password was not known yet
	words   words
}

// Options says what a scan looks for besides material.
type Options struct {
	Renames rename.Rules // text that they would change makes a site worth keeping
	// Rules drop sites, and give values before anything is looked at, so that the old value is not taken for the
	// cluster's material.
	Rules rule.Rules
	// Found, when set, is told of each private key while the scan goes on.
	Found func(pki.Algorithm)
}

// Scan reads the sources. A site that cannot be understood is a finding, one that cannot be read an error.
func Scan(ctx context.Context, sources []site.Source, options Options) (*Result, error) {
	r := &Result{Graph: graph.New(), Names: map[site.Ref]bool{}, Plain: map[site.Ref]bool{}, options: options, Applied: map[string][]site.Ref{}, ring: atrest.NewRing(), words: words{}}
	r.Graph.Found = options.Found
	for _, source := range sources {
		if err := source.Walk(ctx, r.add); err != nil {
			return nil, err
		}
	}
	if err := r.addWaiting(ctx); err != nil {
		return nil, err
	}
	if err := r.addLocked(ctx); err != nil {
		return nil, err
	}
	r.Graph.Relate()
	return r, nil
}

// Kept are the sites that the result holds the content of, and those that will be deleted: all that may change.
func (r *Result) Kept() map[site.Ref]bool {
	kept := map[site.Ref]bool{}
	for _, s := range r.Sites {
		kept[s.Ref] = true
	}
	for _, c := range r.Dropped {
		kept[c.Ref] = true
	}
	return kept
}

func (r *Result) add(s site.Site) error {
	r.Names[s.Ref] = true
	r.Bytes += int64(len(s.Content))
	s.Before = site.HashOf(s.Content)
	dropped := r.options.Rules.Dropped(s.Ref)
	switch {
	case dropped != "":
		r.Applied[dropped] = append(r.Applied[dropped], s.Ref)
		r.Dropped = append(r.Dropped, site.Change{Ref: s.Ref, Before: s.Before, Delete: true})
		return nil
	case atrest.Encrypted(s.Content) && !r.open(&s):
		r.waiting = append(r.waiting, s)
		return nil
	}
	return r.read(s)
}

// open decrypts an encrypted value if its key is known.
func (r *Result) open(s *site.Site) bool {
	envelope, content, err := r.ring.Open(s.Name, s.Content)
	if err == nil {
		s.Envelope, s.Content = &envelope, content
	}
	return err == nil
}

// addWaiting reads the values whose key was found after them. The keys of one API server may be in secrets
// that another encrypts, so it goes on until nothing more opens. What is left is read as it is, for its finding.
func (r *Result) addWaiting(ctx context.Context) error {
	for opened := true; opened; {
		opened = false
		waiting := r.waiting
		r.waiting = nil
		for _, s := range waiting {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !r.open(&s) {
				r.waiting = append(r.waiting, s)
				continue
			}
			opened = true
			if err := r.read(s); err != nil {
				return err
			}
		}
	}
	var problems []error
	for _, s := range r.waiting {
		problems = append(problems, r.read(s))
	}
	return errors.Join(problems...)
}

// addLocked reads the sites with key stores, with the words from around them.
func (r *Result) addLocked(ctx context.Context) error {
	for _, s := range r.locked {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.Passwords = r.words.around(s.Ref)
		if err := r.keep(s, r.look(s)); err != nil {
			return err
		}
	}
	return nil
}

func (r *Result) read(s site.Site) error {
	r.set(&s)
	seen := r.look(s)
	if seen.locked {
		r.locked = append(r.locked, s)
		return nil
	}
	return r.keep(s, seen)
}

// sight is what was seen in a site.
type sight struct {
	leaves   []crawl.Leaf
	findings []crawl.Finding
	renamed  map[string]bool // kinds of rename that change something in it
	locked   bool            // a key store in it stayed closed
	opened   bool            // there are layers in it that were decoded
	err      error
}

// look reads a site. What it sees is not kept yet: a site whose key stores stay closed is looked at again.
func (r *Result) look(s site.Site) sight {
	seen := sight{renamed: map[string]bool{}}
	if s.TooLarge {
		seen.findings = append(seen.findings, crawl.Finding{Reason: crawl.TooDeep, Detail: "file too large", Serious: true})
	}
	text := func(text []byte) {
		for _, kind := range r.options.Renames.Kinds(text) {
			seen.renamed[kind] = true
		}
	}
	text([]byte(renamable(s.Ref)))
	r.words.add(s.Ref, "", s.Content)
	_, seen.err = crawl.Rewrite(s.Content, crawl.Handler{
		Leaf: func(leaf crawl.Leaf) ([]byte, error) {
			seen.leaves = append(seen.leaves, leaf)
			return nil, nil
		},
		Field: func(path string, value []byte) ([]byte, bool) {
			r.words.add(s.Ref, path, value)
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
		Passwords: s.Passwords,
	})
	return seen
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
	names := slices.AppendSeq(rule.Concerned(s.Content), maps.Keys(seen.renamed))
	if len(names) == 0 && len(seen.leaves) == 0 && s.Original == nil && s.Envelope == nil {
		r.Plain[s.Ref] = !seen.opened
		return nil
	}
	r.Sites = append(r.Sites, s)
	for _, name := range names {
		r.Applied[name] = append(r.Applied[name], s.Ref)
	}
	return nil
}

// renamable is the part of a site's name that renames may change: directories are not moved.
func renamable(ref site.Ref) string {
	if ref.Store == site.File {
		return path.Base(ref.Name)
	}
	return ref.Name
}

// set gives the site the rules' values. A site that a rule wants to change and cannot
// read is a finding: the value may be the seed's.
func (r *Result) set(s *site.Site) {
	after, names, err := r.options.Rules.Set(s.Ref, s.Content)
	if err != nil {
		r.Findings = append(r.Findings, Finding{s.Ref, crawl.Finding{Reason: crawl.Malformed, Detail: err.Error(), Serious: true}})
		return
	}
	if len(names) > 0 {
		s.Original, s.Content = s.Content, after
	}
	for _, name := range names {
		r.Applied[name] = append(r.Applied[name], s.Ref)
	}
}
