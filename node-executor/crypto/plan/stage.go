package plan

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// Stage returns the new content of every site that changes, not yet encrypted (see Seal). Nothing is written.
func (p *Plan) Stage(made *Issued) ([]site.Change, error) {
	rewritten := make([][]byte, len(p.scan.Sites))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range p.scan.Sites {
		group.Go(func() (err error) {
			if rewritten[i], err = p.rewrite(made, s); err != nil {
				return fmt.Errorf("cannot rewrite %s: %w", s.Ref, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	before, contents := Stored(p.scan.Sites), rule.State{}
	for i, s := range p.scan.Sites {
		contents[s.Ref] = rewritten[i]
	}
	if err := mend(before, contents); err != nil {
		return nil, err
	}
	changes := append([]site.Change{}, p.scan.Dropped...)
	for _, s := range p.scan.Sites {
		after := contents[s.Ref]
		moved := site.Ref{Store: s.Store, Name: p.NewName(s.Ref)}
		switch {
		case moved != s.Ref:
			if p.scan.Names[moved] {
				return nil, fmt.Errorf("cannot rename %s to %s: exists", s.Ref, moved)
			}
			// The new one first: until it is durable the old one is the only copy.
			changes = append(changes,
				site.Change{Ref: moved, Create: true, Like: s.Name, After: after, Envelope: s.Envelope},
				site.Change{Ref: s.Ref, Delete: true, Before: s.Before, Version: s.Version})
		case s.Envelope != nil && p.EncryptionKeys[s.Envelope.Key] == Kept && bytes.Equal(after, before[s.Ref]):
			// What it says stays, and so does the key that it is encrypted with.
		case site.HashOf(after) != s.Before:
			changes = append(changes, site.Change{Ref: s.Ref, Before: s.Before, Version: s.Version, After: after, Envelope: s.Envelope})
		}
	}
	return changes, nil
}

// Seal encrypts what is stored encrypted, each value with the successor of the key that opened it, and
// reads it back.
func (p *Plan) Seal(made *Issued, changes []site.Change) ([]site.Change, error) {
	ring := atrest.NewRing()
	for _, key := range made.EncryptionKeys {
		ring.Add(key)
	}
	sealed := slices.Clone(changes)
	for i, c := range changes {
		if c.Envelope == nil {
			continue
		}
		after, err := atrest.Seal(*c.Envelope, made.EncryptionKeys[c.Envelope.Key], c.Name, c.After)
		if err != nil {
			return nil, err
		}
		if _, content, err := ring.Open(c.Name, after); err != nil || !bytes.Equal(content, c.After) {
			return nil, fmt.Errorf("cannot read back %s: %w", c.Ref, errors.Join(err, errUnplanned))
		}
		sealed[i].After, sealed[i].Envelope = after, nil
	}
	return sealed, nil
}

// NewName is the site's name under the renames: an etcd key as a whole, of a path only the last element,
// because directories are not moved.
func (p *Plan) NewName(ref site.Ref) string {
	if ref.Store == site.Etcd {
		return p.rules.Renames.Apply(ref.Name)
	}
	return rename.Base(p.rules.Renames, ref.Name)
}

// rewrite makes all replacements and renames of a site in one pass, and gives it the rules' values once more.
func (p *Plan) rewrite(made *Issued, s site.Site) ([]byte, error) {
	edits, err := crawl.Rewrite(s.Content, crawl.Handler{
		Leaf: func(leaf crawl.Leaf) ([]byte, error) { return p.Replacement(made, leaf) },
		Text: func(_ string, text []byte) []splice.Edit { return p.rules.Renames.Edits(text) },

		Passwords: s.Passwords,
	})
	if err != nil {
		return nil, err
	}
	after, err := splice.Apply(s.Content, edits)
	if err != nil {
		return nil, err
	}
	// A name of the seed's may by chance be a part of a value of the site's.
	after, _, err = p.rules.Changes.Set(s.Ref, after)
	return after, err
}
