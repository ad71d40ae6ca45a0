package forge_test

import (
	"context"
	"crypto"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto/forge"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	p256  = pki.Algorithm{Name: "ECDSA", Bits: 256}
	small = pki.Algorithm{Name: "RSA", Bits: 2048}
	large = pki.Algorithm{Name: "RSA", Bits: 4096}
)

// recorder notes which keys were asked for; the keys themselves are elliptic, which takes no time.
type recorder struct {
	mu   sync.Mutex
	made []pki.Algorithm
}

func (r *recorder) generate(a pki.Algorithm) (crypto.Signer, error) {
	r.mu.Lock()
	r.made = append(r.made, a)
	r.mu.Unlock()
	return pki.Generate(p256)
}

func TestEveryCallerGetsAKeyOfItsOwn(t *testing.T) {
	for name, expected := range map[string]int{"none expected": 0, "some expected": 20, "more expected than wanted": 60} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{}
			f := forge.New(r.generate)
			defer f.Close()
			for range expected {
				f.Expect(small)
			}
			var seen sync.Map
			var group errgroup.Group
			for range 50 {
				group.Go(func() error {
					key, err := f.Take(t.Context(), small)
					if _, twice := seen.LoadOrStore(key, true); twice {
						t.Error("a key was given twice")
					}
					return err
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if got, most := len(r.made), max(50, expected); got < 50 || got > most {
				t.Errorf("made %d keys, want 50 to %d", got, most)
			}
		})
	}
}

func TestTheSlowestComeFirst(t *testing.T) {
	busy, gate := make(chan bool), make(chan bool)
	r := &recorder{}
	f := forge.New(func(a pki.Algorithm) (crypto.Signer, error) {
		if a.Name == "Ed25519" { // keeps a worker until everything is ordered
			busy <- true
			<-gate
			return pki.Generate(a)
		}
		return r.generate(a)
	})
	defer f.Close()
	workers := runtime.GOMAXPROCS(0)
	for range workers {
		f.Expect(pki.Algorithm{Name: "Ed25519", Bits: 256})
	}
	// All but one begin at once, and the last one when a key is asked for: each says that it is busy.
	for range max(1, workers-1) {
		<-busy
	}
	first := make(chan error)
	go func() {
		_, err := f.Take(t.Context(), p256)
		first <- err
	}()
	if workers > 1 {
		<-busy
	}
	for _, a := range []pki.Algorithm{p256, small, large, p256, small, large} {
		f.Expect(a)
	}
	gate <- true // one worker goes on, alone
	for range 2 {
		if _, err := f.Take(t.Context(), p256); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	want := []pki.Algorithm{large, large, small, small, p256, p256, p256}
	r.mu.Lock()
	if !slices.Equal(r.made, want) {
		t.Errorf("made %v, want %v", r.made, want)
	}
	r.mu.Unlock()
	for range workers - 1 {
		gate <- true
	}
}

// One processor is left to the reader, but not while there is nothing to be read.
func TestWhileTheReaderWaits(t *testing.T) {
	workers := runtime.GOMAXPROCS(0)
	if workers == 1 {
		t.Skip("one processor reads and makes keys")
	}
	busy, gate := make(chan bool), make(chan bool)
	f := forge.New(func(a pki.Algorithm) (crypto.Signer, error) {
		busy <- true
		<-gate
		return pki.Generate(p256)
	})
	defer f.Close()
	defer close(gate)
	for range workers {
		f.Expect(p256)
	}
	for range workers - 1 {
		<-busy
	}
	select {
	case <-busy:
		t.Error("no processor is left to the reader")
	case <-time.After(20 * time.Millisecond):
	}
	f.While(func() { <-busy })
}

func TestSpared(t *testing.T) {
	r := &recorder{}
	f := forge.New(r.generate)
	f.Spare(small)
	f.Expect(small)
	f.Expect(small)
	if _, err := f.Take(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if len(r.made) != 1 {
		t.Errorf("made %d keys, want 1", len(r.made))
	}
}

func TestFailures(t *testing.T) {
	broken := errors.New("no entropy")
	t.Run("of a generation", func(t *testing.T) {
		f := forge.New(func(pki.Algorithm) (crypto.Signer, error) { return nil, broken })
		defer f.Close()
		for range 2 {
			if _, err := f.Take(t.Context(), small); !errors.Is(err, broken) {
				t.Errorf("got error %v, want %v", err, broken)
			}
		}
	})
	t.Run("the context is over", func(t *testing.T) {
		hold := make(chan bool)
		f := forge.New(func(a pki.Algorithm) (crypto.Signer, error) { <-hold; return pki.Generate(p256) })
		defer f.Close()
		defer close(hold)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := f.Take(ctx, small); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v, want %v", err, context.Canceled)
		}
	})
	t.Run("closed", func(t *testing.T) {
		f := forge.New(pki.Generate)
		f.Close()
		if _, err := f.Take(t.Context(), p256); !errors.Is(err, forge.ErrClosed) {
			t.Errorf("got error %v, want %v", err, forge.ErrClosed)
		}
	})
}
