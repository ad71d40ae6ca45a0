// Package etcd is the store of the cluster's API objects: it reads a whole key space at one
// revision and replaces values by guarded transactions.
//
// A stopped cluster's data directory is opened by a program of its own minor version, upstream's etcd, which
// the nested modules etcd-3.5, etcd-3.6 and etcd-3.7 build: a newer one would change the directory's form for good. When all
// is done, nothing of what was replaced is left in it: etcd itself drops the history ([Keyspace.Compact]); then free pages
// are emptied and the write-ahead log is cut behind a new snapshot ([DataDir.Forget]).
package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

const pageKeys = 500 // of one answer

// Bounds are what a server takes in one transaction.
type Bounds struct{ Operations, Bytes int }

// defaultBounds keep well below what a server takes unless it was told otherwise: 128 operations and 1.5 MiB.
var defaultBounds = Bounds{Operations: 60, Bytes: 1 << 20}

// Opener makes a key space reachable.
type Opener interface {
	// Open opens it. The returned function ends that again and is called exactly once.
	Open(ctx context.Context) (*clientv3.Client, func() error, error)
	// Bounds are those of what it opens.
	Bounds() Bounds
	// Forget is called after the end, when values were replaced and the history was dropped: none of the former may be
	// left elsewhere. It may be repeated after a crash at any point. Fault is called before each step.
	Forget(ctx context.Context, fault func(string) error) error
	// Directory is where all that is kept stands in files when it is not open; "" where that is out of reach.
	Directory() string
}

// Keyspace is all keys of an etcd.
type Keyspace struct {
	client *clientv3.Client
	bounds Bounds
}

// New returns the key space that the client reaches, for a server that was not told of other bounds.
func New(client *clientv3.Client) *Keyspace { return &Keyspace{client, defaultBounds} }

// Within returns the key space with other bounds.
func (k *Keyspace) Within(bounds Bounds) *Keyspace { return &Keyspace{k.client, bounds} }

// secrets is where the API server of OpenShift keeps most private keys.
const secrets = "/kubernetes.io/secrets/"

// Walk visits every key, all at the revision of the first page: Secrets, because whoever finds private keys wants to find
// them early, and then the others, in order.
func (k *Keyspace) Walk(ctx context.Context, visit func(site.Site) error) error {
	behind, revision := clientv3.GetPrefixRangeEnd(secrets), int64(0)
	for _, r := range [][2]string{{secrets, behind}, {"\x00", secrets}, {behind, "\x00"}} {
		if err := k.walkRange(ctx, r[0], r[1], &revision, visit); err != nil {
			return err
		}
	}
	return nil
}

// walkRange visits the keys from one on and before another; the null key is behind all.
func (k *Keyspace) walkRange(ctx context.Context, from, end string, revision *int64, visit func(site.Site) error) error {
	for {
		page, err := k.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithLimit(pageKeys), clientv3.WithRev(*revision))
		if err != nil {
			return fmt.Errorf("cannot list etcd from key %q: %w", from, err)
		}
		if *revision == 0 { // later pages' headers tell the revision of their own time
			*revision = page.Header.Revision
		}
		for _, kv := range page.Kvs {
			ref := site.Ref{Store: site.Etcd, Name: string(kv.Key)}
			if err := visit(site.Site{Ref: ref, Content: kv.Value, Version: kv.ModRevision}); err != nil {
				return err
			}
			from = string(kv.Key) + "\x00"
		}
		if !page.More {
			return nil
		}
	}
}

// Apply brings keys to the state that the changes want, in transactions that each check that nobody
// else wrote. It may be called again after a crash at any point. Fault is called before each transaction.
func (k *Keyspace) Apply(ctx context.Context, changes []site.Change, fault func(string) error) error {
	return k.eachBatch(changes, func(batch []site.Change) error { return k.applyBatch(ctx, batch, fault) })
}

// Confirm reads the keys that the changes are about and fails where one is not as it was to become.
func (k *Keyspace) Confirm(ctx context.Context, changes []site.Change) error {
	return k.eachBatch(changes, func(batch []site.Change) error {
		_, operations, err := k.pending(ctx, batch)
		if err == nil && len(operations) > 0 {
			err = fmt.Errorf("cannot confirm %d of the keys from %s on: %w", len(operations), batch[0].Ref, site.ErrForeignWrite)
		}
		return err
	})
}

// eachBatch cuts the changes of keys into pieces that a server takes in one transaction.
func (k *Keyspace) eachBatch(changes []site.Change, do func([]site.Change) error) error {
	var batch []site.Change
	size := 0
	for _, c := range changes {
		if c.Store != site.Etcd {
			continue
		}
		if len(batch) == k.bounds.Operations || len(batch) > 0 && size+len(c.After) > k.bounds.Bytes {
			if err := do(batch); err != nil {
				return err
			}
			batch, size = batch[:0], 0
		}
		batch = append(batch, c)
		size += len(c.After)
	}
	if len(batch) == 0 {
		return nil
	}
	return do(batch)
}

// pending reads what the keys are now and returns what is still to be done, and under which conditions.
func (k *Keyspace) pending(ctx context.Context, batch []site.Change) (conditions []clientv3.Cmp, operations []clientv3.Op, err error) {
	reads := make([]clientv3.Op, len(batch))
	for i, c := range batch {
		reads[i] = clientv3.OpGet(c.Name)
	}
	now, err := k.client.Txn(ctx).Then(reads...).Commit()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read %d keys from %s on: %w", len(batch), batch[0].Ref, err)
	}
	for i, c := range batch {
		condition, operation, err := guarded(c, now.Responses[i].GetResponseRange().Kvs)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot change %s: %w", c.Ref, err)
		}
		if operation != nil {
			conditions, operations = append(conditions, condition), append(operations, *operation)
		}
	}
	return conditions, operations, nil
}

// applyBatch makes one transaction of what is still to be done. As long as nothing of it was done nothing need be read for
// that.
func (k *Keyspace) applyBatch(ctx context.Context, batch []site.Change, fault func(string) error) error {
	if conditions, operations, known := untouched(batch); known {
		if done, err := k.commit(ctx, batch, conditions, operations, fault); done || err != nil {
			return err
		}
	}
	conditions, operations, err := k.pending(ctx, batch)
	if err != nil || len(operations) == 0 {
		return err
	}
	done, err := k.commit(ctx, batch, conditions, operations, fault)
	if err == nil && !done {
		err = fmt.Errorf("cannot write %d keys from %s on: %w", len(operations), batch[0].Ref, site.ErrForeignWrite)
	}
	return err
}

// commit makes a transaction, which is not done if its conditions do not hold.
func (k *Keyspace) commit(ctx context.Context, batch []site.Change, conditions []clientv3.Cmp, operations []clientv3.Op, fault func(string) error) (done bool, err error) {
	if err := fault("etcd.transaction"); err != nil {
		return false, err
	}
	response, err := k.client.Txn(ctx).If(conditions...).Then(operations...).Commit()
	if err != nil {
		return false, fmt.Errorf("cannot write %d keys from %s on: %w", len(operations), batch[0].Ref, err)
	}
	return response.Succeeded, nil
}

// untouched returns the operations for changes of which none was made, and the conditions for that. They are known if it is
// known at which revision each key was written.
func untouched(batch []site.Change) (conditions []clientv3.Cmp, operations []clientv3.Op, known bool) {
	for _, c := range batch {
		condition, operation := clientv3.Compare(clientv3.ModRevision(c.Name), "=", c.Version), clientv3.OpDelete(c.Name)
		switch {
		case c.Create:
			condition, operation = absent(c.Name), clientv3.OpPut(c.Name, string(c.After))
		case c.Version == 0:
			return nil, nil, false
		case !c.Delete:
			// The lease goes with the value: a key that would have expired must still expire.
			operation = clientv3.OpPut(c.Name, string(c.After), clientv3.WithIgnoreLease())
		}
		conditions, operations = append(conditions, condition), append(operations, operation)
	}
	return conditions, operations, true
}

// absent is the condition that there is no such key.
func absent(key string) clientv3.Cmp { return clientv3.Compare(clientv3.CreateRevision(key), "=", 0) }

// guarded returns the operation for a change of a key, of which now is what there is, and the condition under which it may be done; no
// operation when it is done already.
func guarded(c site.Change, now []*mvccpb.KeyValue) (clientv3.Cmp, *clientv3.Op, error) {
	if len(now) == 0 {
		if c.Delete {
			return clientv3.Cmp{}, nil, nil
		}
		if !c.Create {
			return clientv3.Cmp{}, nil, site.ErrForeignWrite
		}
		operation := clientv3.OpPut(c.Name, string(c.After))
		return absent(c.Name), &operation, nil
	}
	kv := now[0]
	if !c.Delete && bytes.Equal(kv.Value, c.After) {
		return clientv3.Cmp{}, nil, nil
	}
	if c.Create || site.HashOf(kv.Value) != c.Before {
		return clientv3.Cmp{}, nil, site.ErrForeignWrite
	}
	operation := clientv3.OpDelete(c.Name)
	if !c.Delete {
		operation = clientv3.OpPut(c.Name, string(c.After), clientv3.WithIgnoreLease()) // see untouched
	}
	return clientv3.Compare(clientv3.ModRevision(c.Name), "=", kv.ModRevision), &operation, nil
}

// Compact drops the history, in which the old values still stand. Fault is called before it.
func (k *Keyspace) Compact(ctx context.Context, fault func(string) error) error {
	now, err := k.client.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
	if err != nil {
		return fmt.Errorf("cannot read etcd's revision: %w", err)
	}
	if err := fault("etcd.compact"); err != nil {
		return err
	}
	_, err = k.client.Compact(ctx, now.Header.Revision, clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("cannot compact etcd: %w", err)
	}
	return nil
}
