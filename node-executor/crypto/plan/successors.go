package plan

import (
	"cmp"
	"context"
	"crypto"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

// successors are the keys that take the place of others, each from when it is made.
type successors struct {
	all map[pki.KeyID]*successor
	// awaited are the keys whose successors are still to be made, those that most depends on first: whichever key is ready
	// first becomes theirs.
	awaited map[pki.Algorithm][]*graph.Key
	mu      sync.Mutex // guards awaited
}

type successor struct {
	made   chan struct{} // closed when signer is set
	signer crypto.Signer
}

func newSuccessors(p *Plan) *successors {
	s := &successors{all: map[pki.KeyID]*successor{}, awaited: map[pki.Algorithm][]*graph.Key{}}
	for id, decision := range p.Keys {
		switch k := decision.Key; decision.Action {
		case Fresh:
			s.all[id] = &successor{made: make(chan struct{})}
			s.awaited[k.Algorithm] = append(s.awaited[k.Algorithm], k)
		case Given:
			s.all[id] = &successor{made: make(chan struct{}), signer: decision.Signer()}
			close(s.all[id].made)
		}
	}
	dependents := func(k *graph.Key) int { return len(k.Tokens) + len(k.Signed) }
	for _, keys := range s.awaited {
		slices.SortFunc(keys, func(a, b *graph.Key) int {
			return cmp.Or(dependents(b)-dependents(a), slices.Compare(a.ID[:], b.ID[:]))
		})
	}
	return s
}

// make has all keys made.
func (s *successors) make(ctx context.Context, group *errgroup.Group, generate func(pki.Algorithm) (crypto.Signer, error)) {
	var wanted []pki.Algorithm
	for algorithm, keys := range s.awaited {
		wanted = append(wanted, slices.Repeat([]pki.Algorithm{algorithm}, len(keys))...)
	}
	for _, algorithm := range wanted {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			key, err := generate(algorithm)
			if err != nil {
				return fmt.Errorf("cannot generate keys: %w", err)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			next := s.all[s.awaited[algorithm][0].ID]
			s.awaited[algorithm] = s.awaited[algorithm][1:]
			next.signer = key
			close(next.made)
			return nil
		})
	}
}

// wait waits for the successors of keys, as far as these have any.
func (s *successors) wait(ctx context.Context, keys ...pki.KeyID) error {
	for _, id := range keys {
		if s.all[id] == nil {
			continue
		}
		select {
		case <-s.all[id].made:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// of returns the successor of a key, which was waited for; nil when the key has none.
func (s *successors) of(id pki.KeyID) crypto.Signer {
	if s.all[id] == nil {
		return nil
	}
	return s.all[id].signer
}
