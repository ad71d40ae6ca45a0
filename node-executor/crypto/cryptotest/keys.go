package cryptotest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

// Keys makes keys like pki.Generate, but those of RSA, which take a tenth of a second and more, are made once and kept in
// the cache, below a pool's name. Two pools have no key in common, and within a pool no key comes twice: one pool is for
// what a test begins with, another for what takes its place. They protect nothing but tests.
type Keys struct {
	pool string
	mu   sync.Mutex
	next map[int]int // by bits
}

// NewKeys returns the keys of a pool, from its first on.
func NewKeys(pool string) *Keys { return &Keys{pool: pool, next: map[int]int{}} }

// Make returns the next key of an algorithm. It may be called concurrently.
func (k *Keys) Make(a pki.Algorithm) (crypto.Signer, error) {
	if a.Name != "RSA" {
		return pki.Generate(a)
	}
	k.mu.Lock()
	n := k.next[a.Bits]
	k.next[a.Bits]++
	k.mu.Unlock()
	return cachedRSA(k.pool, a.Bits, n)
}

// Load takes all keys of the pool that the cache has into the process, so that Make need not read them.
func (k *Keys) Load() error {
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(dir, k.pool+"-*.der"))
	if err != nil {
		return fmt.Errorf("cannot list the cache: %w", err)
	}
	for _, path := range paths {
		if _, err := rsaAt(path, 0); err != nil {
			return err
		}
	}
	return nil
}

// RSA returns the n-th RSA key of 2048 bits for tests that name their keys.
func RSA(t testing.TB, n int) *rsa.PrivateKey {
	t.Helper()
	key, err := cachedRSA("numbered", 2048, n)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

var rsaKeys sync.Map // path → func() (*rsa.PrivateKey, error)

// cachedRSA takes a key from the process, the cache or, when neither has it, makes it.
func cachedRSA(pool string, bits, n int) (*rsa.PrivateKey, error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	return rsaAt(filepath.Join(dir, fmt.Sprintf("%s-%d-%d.der", pool, bits, n)), bits)
}

func cacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cannot find the cache: %w", err)
	}
	return filepath.Join(cache, "reroot", "test-keys"), nil
}

func rsaAt(path string, bits int) (*rsa.PrivateKey, error) {
	once, _ := rsaKeys.LoadOrStore(path, sync.OnceValues(func() (*rsa.PrivateKey, error) { return loadRSA(path, bits) }))
	return once.(func() (*rsa.PrivateKey, error))()
}

func loadRSA(path string, bits int) (*rsa.PrivateKey, error) {
	der, err := os.ReadFile(path)
	if err == nil {
		return x509.ParsePKCS1PrivateKey(der)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot read key from the cache: %w", err)
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, err
	}
	return key, store(path, x509.MarshalPKCS1PrivateKey(key))
}

// store writes a file completely or not at all. Of two processes that store the same key, the later one's stays.
func store(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("cannot make the cache: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return fmt.Errorf("cannot write key to the cache: %w", err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write key to the cache: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return os.Rename(f.Name(), path)
}
