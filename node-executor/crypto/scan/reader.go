package scan

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Bounds of what has been read and not yet been taken into the result.
const (
	window     = 8 << 20 // bytes
	leastBytes = 4 << 10 // that a site counts for, so that the number of sites is bounded as well
)

// reader looks at many sites at once.
type reader struct {
	found   func(pki.Algorithm)
	known   sync.Map // private keys that were told of, by the hash of their DER and by their id
	settled chan struct{}
	rules   Rules // once settled
	room    *semaphore.Weighted
	looking sync.WaitGroup
}

// reading is a site on its way into the result.
type reading struct {
	site.Site
	dropped string // by the rule of that name
	given   bool   // it may be given a value, which is done in order: some rules go by what they did before
	sight   sight
	room    int64 // bytes that it counts for
	done    chan struct{}
}

func newReader(found func(pki.Algorithm)) *reader {
	return &reader{found: found, settled: make(chan struct{}), room: semaphore.NewWeighted(window)}
}

// settle gets the rules.
func (rd *reader) settle(ctx context.Context, rules func(context.Context) (Rules, error)) (err error) {
	if rules != nil {
		if rd.rules, err = rules(ctx); err != nil {
			return err
		}
	}
	close(rd.settled)
	return nil
}

// readAll reads a source and takes its sites into the result, in order.
func (r *Result) readAll(ctx context.Context, rd *reader, source site.Source) error {
	defer rd.looking.Wait()
	queue := make(chan *reading, window/leastBytes)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		return source.Walk(ctx, func(s site.Site) error {
			next, err := rd.begin(ctx, s)
			if err == nil {
				queue <- next // has room for all that are begun
			}
			return err
		})
	})
	group.Go(func() error {
		for next := range queue {
			select {
			case <-next.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if next.given {
				next.sight = lookBy(&next.Site, rd.rules)
				rd.tell(next.sight.leaves)
			}
			if err := r.take(next); err != nil {
				return err
			}
			rd.room.Release(next.room)
		}
		return ctx.Err()
	})
	return group.Wait()
}

// begin has a site looked at.
func (rd *reader) begin(ctx context.Context, s site.Site) (*reading, error) {
	n := &reading{Site: s, room: min(window, max(leastBytes, int64(len(s.Content)))), done: make(chan struct{})}
	if err := rd.room.Acquire(ctx, n.room); err != nil {
		return nil, err
	}
	rd.looking.Go(func() {
		defer close(n.done)
		rd.read(ctx, n)
	})
	return n, nil
}

// read looks at a site by the rules. Before they are known it looks without, so that the keys in it are known early, and
// once more only if the rules change what there is to be seen.
func (rd *reader) read(ctx context.Context, n *reading) {
	if n.Before == (site.Hash{}) {
		n.Before = site.HashOf(n.Content)
	}
	early := false
	select {
	case <-rd.settled:
	default:
		if early = !atrest.Encrypted(n.Content); early {
			n.sight = look(n.Site, Rules{})
			rd.tell(n.sight.leaves)
		}
		select {
		case <-rd.settled:
		case <-ctx.Done():
			return // nobody takes it any more
		}
	}
	if n.dropped = rd.rules.Changes.Dropped(n.Ref); n.dropped != "" || atrest.Encrypted(n.Content) {
		return
	}
	if n.given = rd.rules.Changes.Sets(n.Ref); n.given || early && !rd.rules.concern(n.Site, n.sight) {
		return
	}
	n.sight = look(n.Site, rd.rules)
	rd.tell(n.sight.leaves)
}

// concern tells whether renames may make something else of a site that was seen without them.
func (rules Rules) concern(s site.Site, seen sight) bool {
	return len(rules.Renames) > 0 && (seen.opened || rules.Renames.Mentioned(s.Content) || rules.Renames.Mentioned([]byte(renamable(s.Ref))))
}

// tell tells of the private keys that were not seen before.
func (rd *reader) tell(leaves []crawl.Leaf) {
	if rd.found == nil {
		return
	}
	for _, leaf := range leaves {
		if leaf.Kind != crawl.PrivateKey {
			continue
		}
		if _, known := rd.known.LoadOrStore(sha256.Sum256(leaf.Bytes), true); known {
			continue
		}
		private, _, err := pki.ParsePrivateKey(leaf.Bytes)
		if err != nil {
			continue // reported when it is added
		}
		id, err := pki.IDOf(private.Public())
		if err != nil {
			continue
		}
		algorithm, err := pki.AlgorithmOf(private.Public())
		if err != nil {
			continue
		}
		if _, known := rd.known.LoadOrStore(id, true); !known {
			rd.found(algorithm)
		}
	}
}

// lookBy gives the site the rules' values and looks at it. A site that a rule wants to change and cannot
// read is a finding: the value may be the seed's.
func lookBy(s *site.Site, rules Rules) sight {
	after, names, err := rules.Changes.Set(s.Ref, s.Content)
	if len(names) > 0 && s.Original == nil {
		s.Original, s.Content = s.Content, after
	}
	seen := look(*s, rules)
	seen.applied = slices.Concat(names, seen.applied)
	if err != nil {
		seen.findings = append(seen.findings, crawl.Finding{Reason: crawl.Malformed, Detail: err.Error(), Serious: true})
	}
	return seen
}
