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

// Bounds.
const (
	window     = 8 << 20 // bytes of what has been read and not yet been taken into the result
	leastBytes = 4 << 10 // that a site counts for, so that the number of sites is bounded as well
	batchBytes = 128 << 10
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
	seen    bool   // before the rules were known
	sight   sight
}

// batch is some sites that are looked at by one goroutine.
type batch struct {
	sites []*reading
	bytes int64 // that they count for
	done  chan struct{}
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

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
	queue := make(chan *batch, window/leastBytes) // has room for all that are begun
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		next := newBatch()
		begin := func() {
			if len(next.sites) > 0 {
				queue <- next
				rd.begin(ctx, next)
			}
			next = newBatch()
		}
		defer begin()
		return source.Walk(ctx, func(s site.Site) error {
			bytes := min(window, max(leastBytes, int64(len(s.Content))))
			if !rd.room.TryAcquire(bytes) {
				begin()
				if err := rd.room.Acquire(ctx, bytes); err != nil {
					return err
				}
			}
			next.sites, next.bytes = append(next.sites, &reading{Site: s}), next.bytes+bytes
			if next.bytes >= batchBytes {
				begin()
			}
			return nil
		})
	})
	group.Go(func() error {
		for b := range queue {
			select {
			case <-b.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			for _, n := range b.sites {
				if n.given {
					n.sight = lookBy(&n.Site, rd.rules)
					rd.tell(n.sight.leaves)
				}
				if err := r.take(n); err != nil {
					return err
				}
			}
			rd.room.Release(b.bytes)
		}
		return ctx.Err()
	})
	return group.Wait()
}

// begin has sites looked at by the rules. Before they are known it looks without, so that the keys are known early, and
// once more only where the rules change what there is to be seen.
func (rd *reader) begin(ctx context.Context, b *batch) {
	rd.looking.Go(func() {
		defer close(b.done)
		select {
		case <-rd.settled:
		default:
			for _, n := range b.sites {
				if n.seen = !atrest.Encrypted(n.Content); n.seen {
					n.sight = look(n.Site, Rules{})
					rd.tell(n.sight.leaves)
				}
			}
			select {
			case <-rd.settled:
			case <-ctx.Done():
				return // nobody takes them any more
			}
		}
		for _, n := range b.sites {
			rd.look(n)
		}
	})
}

// look looks at a site by the rules, which are settled.
func (rd *reader) look(n *reading) {
	if n.dropped = rd.rules.Changes.Dropped(n.Ref); n.dropped != "" || atrest.Encrypted(n.Content) {
		return
	}
	if n.given = rd.rules.Changes.Sets(n.Ref); n.given || n.seen && !rd.rules.concern(n.Site, n.sight) {
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
		public, err := pki.PublicHalf(leaf.Bytes)
		if err != nil {
			continue // reported when it is added
		}
		id, err := pki.IDOf(public)
		if err != nil {
			continue
		}
		algorithm, err := pki.AlgorithmOf(public)
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
		s.Before = s.StoredHash()
		s.Original, s.Content = s.Content, after
	}
	seen := look(*s, rules)
	seen.applied = slices.Concat(names, seen.applied)
	if err != nil {
		seen.findings = append(seen.findings, crawl.Finding{Reason: crawl.Malformed, Detail: err.Error(), Serious: true})
	}
	return seen
}
