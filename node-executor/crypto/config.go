package crypto

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// DefaultRoots are the directories of a node in which OpenShift keeps cryptography.
var DefaultRoots = []string{"/etc/kubernetes", "/var/lib/kubelet", "/etc/machine-config-daemon"}

// MemoryLimit, in bytes, is for runtime/debug.SetMemoryLimit in a process that regenerates. A single node's cluster needs
// less, and for a larger one the garbage collector works harder rather than take twice what it must.
const MemoryLimit = 224 << 20

// expectedHeap is what a single node's cluster needs, in bytes.
const expectedHeap = 192 << 20

// Config says where the material is, what is to be kept and what the cluster is called from now on.
type Config struct {
	// Roots are the directories that are searched, usually the new deployment's /etc and /var/lib/kubelet.
	Roots []files.Root
	// Skip are node paths that are left alone: SSH host keys, the executor's own state.
	Skip []string
	// Etcd opens the cluster's key space; nil when there is none.
	Etcd etcd.Opener
	// Rules say what is kept, renamed and dropped.
	Rules plan.Rules
	// Learn, when set, makes the rules instead, from what etcd says the cluster is called so far. Values that are
	// encrypted at rest with a key in a file of the roots read decrypted. It is called before
	// anything else is read, and not at all by a call that goes on after an interruption: then the rules are settled.
	Learn func(ctx context.Context, cluster clientv3.KV) (plan.Rules, error)
	// Journal is a directory for this one regeneration, on storage that survives a reboot. It holds private keys
	// while work is in progress. Another attempt of the same upgrade gets another directory.
	Journal string
	// Generate makes keys; nil means pki.Generate.
	Generate func(pki.Algorithm) (crypto.Signer, error)
	// Fault is called before each step that changes something, with the step's name, never concurrently; an error stops
	// there. For tests; nil does nothing.
	Fault func(point string) error
	// Log gets progress; nil discards it.
	Log *slog.Logger
}

// oneAtATime lets steps that go on beside each other begin one after the other.
func oneAtATime(begin func(string) error) func(string) error {
	if begin == nil {
		return func(string) error { return nil }
	}
	var mu sync.Mutex
	return func(point string) error {
		mu.Lock()
		defer mu.Unlock()
		return begin(point)
	}
}

// withDefaults checks the configuration.
func (c Config) withDefaults() (Config, error) {
	if c.Generate == nil {
		c.Generate = pki.Generate
	}
	c.Fault = oneAtATime(c.Fault)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if len(c.Roots) == 0 && c.Etcd == nil {
		return c, errors.New("cannot regenerate without roots and etcd")
	}
	if c.Learn != nil {
		if c.Etcd == nil {
			return c, errors.New("cannot learn what the cluster is called without etcd")
		}
		return c, nil
	}
	return c, c.Rules.Check()
}
