package crypto

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/heap"
)

// expectHeap makes room for what is read, once in a process.
var expectHeap = sync.OnceFunc(func() { heap.Expect(expectedHeap) })

// node is the stores of a stopped node.
type node struct {
	config Config
	files  *files.Tree
	// cluster waits until etcd is open, which begins with the node; nil without etcd. It is called before anything that
	// is not read from files.
	cluster func() (*cluster, error)

	mu      sync.Mutex // guards timings
	timings []Timing
}

// cluster is an open etcd.
type cluster struct {
	kv      clientv3.KV
	keys    *etcd.Keyspace
	members *etcd.Members
	close   func() error // once
}

// openNode finds the stores and begins to open etcd. The node must be closed.
func openNode(ctx context.Context, config Config) (*node, error) {
	tree, err := files.New(config.Roots, config.Skip)
	if err != nil {
		return nil, err
	}
	expectHeap()
	n := &node{config: config, files: tree}
	if config.Etcd != nil {
		n.cluster = async(func() (c *cluster, err error) {
			err = n.timed("open etcd", func() (err error) {
				c, err = openCluster(ctx, config.Etcd)
				return err
			})
			return c, err
		})
	}
	return n, nil
}

// async begins to do something; the returned function waits for the outcome, however often it is called.
func async[T any](do func() (T, error)) func() (T, error) {
	var value T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		value, err = do()
	}()
	return func() (T, error) {
		<-done
		return value, err
	}
}

func openCluster(ctx context.Context, opener etcd.Opener) (*cluster, error) {
	client, stop, err := opener.Open(ctx)
	if err != nil {
		return nil, err
	}
	return &cluster{kv: client, keys: etcd.New(client).Within(opener.Bounds()), members: etcd.NewMembers(client), close: sync.OnceValue(stop)}, nil
}

// apply makes the changes, and reads what was changed once more.
func (c *cluster) apply(ctx context.Context, changes []site.Change, fault func(string) error) error {
	if err := c.keys.Apply(ctx, changes, fault); err != nil {
		return err
	}
	if err := c.members.Apply(ctx, changes, fault); err != nil {
		return err
	}
	if err := c.keys.Confirm(ctx, changes); err != nil {
		return err
	}
	return c.members.Confirm(ctx, changes)
}

// close closes etcd if it was opened.
func (n *node) close() error {
	if n.cluster == nil {
		return nil
	}
	c, err := n.cluster()
	if err != nil {
		return nil // reported by whoever wanted to use it
	}
	if err := c.close(); err != nil {
		return fmt.Errorf("cannot stop etcd: %w", err)
	}
	return nil
}

func (n *node) timed(stage string, do func() error) error {
	start := time.Now()
	err := do()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timings = append(n.timings, Timing{Stage: stage, Duration: time.Since(start)})
	n.config.Log.Debug("stage ended", slog.String("stage", stage), slog.Duration("took", time.Since(start)))
	return err
}

// sources are the stores in the order in which they are read: files first, because etcd may still be starting.
func (n *node) sources(waiting func(wait func())) []site.Source {
	sources := []site.Source{n.files}
	if n.cluster != nil {
		sources = append(sources, clusterSource(func() (c *cluster, err error) {
			waiting(func() { c, err = n.cluster() })
			return c, err
		}))
	}
	return sources
}

// clusterSource is all that an etcd has, once it is open.
type clusterSource func() (*cluster, error)

// Walk implements [site.Source].
func (open clusterSource) Walk(ctx context.Context, visit func(site.Site) error) error {
	c, err := open()
	if err != nil {
		return err
	}
	if err := c.keys.Walk(ctx, visit); err != nil {
		return err
	}
	return c.members.Walk(ctx, visit)
}

// onlooker is told of what happens while a node is read.
type onlooker struct {
	found   func(pki.Algorithm) // of each private key at once
	settled func(plan.Rules)    // of the rules
	waiting func(wait func())   // when there is nothing to be read before wait returns; it calls wait
}

// nobody looks on.
var nobody = onlooker{func(pki.Algorithm) {}, func(plan.Rules) {}, func(wait func()) { wait() }}

// scan reads everything, and settles the rules on the way.
func (n *node) scan(ctx context.Context, to onlooker) (result *scan.Result, err error) {
	rules := func(ctx context.Context) (scan.Rules, error) {
		if err := n.learn(ctx); err != nil {
			return scan.Rules{}, err
		}
		to.settled(n.config.Rules)
		return scan.Rules{Renames: n.config.Rules.Renames, Changes: n.config.Rules.Changes}, nil
	}
	err = n.timed("scan", func() error {
		result, err = scan.Scan(ctx, n.sources(to.waiting), scan.Options{Rules: rules, Found: to.found})
		return err
	})
	return result, err
}

// learn settles the rules.
func (n *node) learn(ctx context.Context) error {
	if n.config.Learn == nil {
		return nil
	}
	c, err := n.cluster()
	if err != nil {
		return err
	}
	if n.config.Rules, err = n.config.Learn(ctx, open(ctx, c.kv, n.files)); err != nil {
		return err
	}
	return n.config.Rules.Check()
}
