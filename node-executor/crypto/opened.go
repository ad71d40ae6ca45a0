package crypto

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// opened is a key space whose values read decrypted, as far as encryption keys in the node's files open them: there the API
// server's own configuration is. What they do not open reads as it is stored.
type opened struct {
	clientv3.KV
	ring func() (*atrest.Ring, error)
}

// open reads files only when the first encrypted value is asked for.
func open(ctx context.Context, cluster clientv3.KV, tree *files.Tree) opened {
	return opened{cluster, sync.OnceValues(func() (*atrest.Ring, error) {
		ring := atrest.NewRing()
		return ring, tree.Walk(ctx, func(s site.Site) error {
			_, err := crawl.Rewrite(s.Content, crawl.Handler{Leaf: func(l crawl.Leaf) ([]byte, error) {
				if l.Kind == crawl.EncryptionKey {
					ring.Add(l.Bytes)
				}
				return nil, nil
			}})
			return err
		})
	})}
}

// Get reads.
func (o opened) Get(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	r, err := o.KV.Get(ctx, key, options...)
	if err != nil {
		return nil, err
	}
	for _, kv := range r.Kvs {
		if !atrest.Encrypted(kv.Value) {
			continue
		}
		ring, err := o.ring()
		if err != nil {
			return nil, err
		}
		if _, content, err := ring.Open(string(kv.Key), kv.Value); err == nil {
			kv.Value = content
		}
	}
	return r, nil
}
