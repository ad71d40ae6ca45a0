// Package forge makes private keys ahead of need.
//
// To generate an RSA key takes a thousand times as long as anything else that is done with it, and it can be begun as
// soon as a key is seen that will be replaced: long before it is known what will be issued on the new one. So a reader says
// which keys it expects to be wanted, processors make them, the slowest kinds first, because a long job at the end
// would leave the others idle, and whoever wants one takes it when it is ready.
//
// Until the first key is taken one processor is left to the reader, except while it waits. Goroutines that compute are
// interrupted only every ten milliseconds, and who reads from another process would wait as long for each piece.
package forge

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

// ErrClosed says that a forge makes no more keys.
var ErrClosed = errors.New("the forge is closed")

// Forge makes keys. Its methods may be called concurrently.
type Forge struct {
	generate func(pki.Algorithm) (crypto.Signer, error)
	workers  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // something below changed
	orders  map[pki.Algorithm]*orders
	failure error // of a generation; there are no more keys after it
	wanted  bool  // a key was asked for
	unread  bool  // the reader waits
	closed  bool
}

// orders are the keys of one algorithm, by how far they are.
type orders struct {
	spared   int // expected ones that are not to be made
	open     int // not begun
	begun    int
	finished []crypto.Signer
	awaited  int // callers of Take
}

// New starts a forge that makes keys by generate. It must be closed.
func New(generate func(pki.Algorithm) (crypto.Signer, error)) *Forge {
	f := &Forge{generate: generate, orders: map[pki.Algorithm]*orders{}}
	f.changed = sync.NewCond(&f.mu)
	processors := runtime.GOMAXPROCS(0)
	for i := range processors {
		f.workers.Go(func() { f.work(i < max(1, processors-1)) })
	}
	return f
}

// Close ends the forge. It waits for keys that are being made and drops those that nobody took.
func (f *Forge) Close() {
	f.mu.Lock()
	f.closed = true
	f.changed.Broadcast()
	f.mu.Unlock()
	f.workers.Wait()
}

// Expect says that one more key of an algorithm will probably be wanted.
func (f *Forge) Expect(a pki.Algorithm) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.of(a)
	if o.spared > 0 {
		o.spared--
		return
	}
	o.open++
	f.changed.Broadcast()
}

// Spare says that one key of an algorithm that is or will be expected will not be wanted.
func (f *Forge) Spare(a pki.Algorithm) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.of(a); o.open > 0 {
		o.open--
	} else {
		o.spared++
	}
}

// While has keys made on all processors while the reader waits.
func (f *Forge) While(wait func()) {
	f.setUnread(true)
	defer f.setUnread(false)
	wait()
}

func (f *Forge) setUnread(unread bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unread = unread
	f.changed.Broadcast()
}

// Take returns a key that nobody else gets. One that was not expected is made now.
func (f *Forge) Take(ctx context.Context, a pki.Algorithm) (crypto.Signer, error) {
	stopWaking := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changed.Broadcast()
	})
	defer stopWaking()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.wanted {
		f.wanted = true
		f.changed.Broadcast()
	}
	o := f.of(a)
	o.awaited++
	defer func() { o.awaited-- }()
	if short := o.awaited - o.open - o.begun - len(o.finished); short > 0 {
		o.open += short
		f.changed.Broadcast()
	}
	for len(o.finished) == 0 {
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case f.failure != nil:
			return nil, f.failure
		case f.closed:
			return nil, ErrClosed
		}
		f.changed.Wait()
	}
	last := len(o.finished) - 1
	key := o.finished[last]
	o.finished = o.finished[:last]
	return key, nil
}

func (f *Forge) of(a pki.Algorithm) *orders {
	if f.orders[a] == nil {
		f.orders[a] = &orders{}
	}
	return f.orders[a]
}

// work makes keys; all the time, or only since one was asked for and while the reader waits. Of several processors all but
// one work early.
func (f *Forge) work(early bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.closed && f.failure == nil {
		a, ok := f.slowest()
		if !ok || !early && !f.wanted && !f.unread {
			f.changed.Wait()
			continue
		}
		o := f.of(a)
		o.open--
		o.begun++
		f.mu.Unlock()
		key, err := f.generate(a)
		f.mu.Lock()
		o.begun--
		if err != nil {
			f.failure = fmt.Errorf("cannot generate a key of %s: %w", a, err)
		} else {
			o.finished = append(o.finished, key)
		}
		f.changed.Broadcast()
	}
}

// slowest finds the algorithm with an open order whose keys take longest: RSA, and of RSA the largest.
func (f *Forge) slowest() (slowest pki.Algorithm, ok bool) {
	slower := func(a, b pki.Algorithm) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Bits, b.Bits)) // RSA comes last in the alphabet
	}
	for a, o := range f.orders {
		if o.open > 0 && (!ok || slower(a, slowest) > 0) {
			slowest, ok = a, true
		}
	}
	return slowest, ok
}
