package crypto

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto/commit"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/forge"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/verify"
)

// Inspect reads the node and returns the graph of its material. Nothing is changed, but an etcd writes to its log when it
// is started: see [etcd.DataDir.CopyTo].
func Inspect(ctx context.Context, config Config) (*graph.Graph, error) {
	p, err := Prepare(ctx, config)
	if err != nil {
		return nil, err
	}
	return p.Graph(), nil
}

// Prepare reads the node and returns what Regenerate would do, problems included. Like Inspect, it changes nothing.
func Prepare(ctx context.Context, config Config) (p *plan.Plan, err error) {
	config, err = config.withDefaults()
	if err != nil {
		return nil, err
	}
	n, err := openNode(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if err := n.learn(ctx); err != nil {
		return nil, err
	}
	found, err := n.scan(ctx, nil)
	if err != nil {
		return nil, err
	}
	return plan.Decide(found, n.config.Rules), nil
}

// Regenerate replaces the node's cryptography. The error is a [*RefusedError] when the plan has problems; nothing has
// been changed then. After any other error the call may be repeated with the same journal: it goes on where it stopped.
func Regenerate(ctx context.Context, config Config) (_ *Summary, err error) {
	config, err = config.withDefaults()
	if err != nil {
		return nil, err
	}
	journal, err := commit.Open(config.Journal)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	if done, err := journal.Done(); done != nil || err != nil {
		return readSummary(done, err)
	}
	record, err := journal.Prepared()
	if err != nil {
		return nil, err
	}
	n, err := openNode(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	if record == nil {
		if record, err = n.prepare(ctx); err != nil {
			return nil, err
		}
		if err := journal.Prepare(record.Changes, record.Summary, config.Fault); err != nil {
			return nil, err
		}
	} else {
		config.Log.InfoContext(ctx, "finishing an interrupted regeneration", slog.Int("sites", len(record.Changes)))
	}
	if err := n.carryOut(ctx, record.Changes); err != nil {
		return nil, err
	}
	if err := n.forget(ctx); err != nil {
		return nil, err
	}
	if err := journal.Finish(record.Summary, config.Fault); err != nil {
		return nil, err
	}
	return readSummary(record.Summary, nil)
}

func readSummary(text json.RawMessage, err error) (*Summary, error) {
	if err != nil {
		return nil, err
	}
	var s Summary
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("cannot read summary: %w", err)
	}
	return &s, nil
}

// node is the open stores of a stopped node.
type node struct {
	config    Config
	files     *files.Tree
	cluster   clientv3.KV    // nil without etcd
	keys      *etcd.Keyspace // likewise
	members   *etcd.Members  // likewise
	closeEtcd func() error
	timings   []Timing
}

func openNode(ctx context.Context, config Config) (*node, error) {
	tree, err := files.New(config.Roots, config.Skip)
	if err != nil {
		return nil, err
	}
	n := &node{config: config, files: tree, closeEtcd: func() error { return nil }}
	if config.Etcd == nil {
		return n, nil
	}
	err = n.timed("open etcd", func() error {
		client, stop, err := config.Etcd.Open(ctx)
		if err != nil {
			return err
		}
		n.cluster, n.keys, n.members, n.closeEtcd = client, etcd.New(client), etcd.NewMembers(client), stop
		return nil
	})
	return n, err
}

// close closes etcd, once.
func (n *node) close() error {
	stop := n.closeEtcd
	n.closeEtcd = func() error { return nil }
	if err := stop(); err != nil {
		return fmt.Errorf("cannot stop etcd: %w", err)
	}
	return nil
}

func (n *node) timed(stage string, do func() error) error {
	start := time.Now()
	err := do()
	n.timings = append(n.timings, Timing{Stage: stage, Duration: time.Since(start)})
	n.config.Log.Debug("stage ended", slog.String("stage", stage), slog.Duration("took", time.Since(start)))
	return err
}

func (n *node) sources() []site.Source {
	sources := []site.Source{n.files}
	if n.keys != nil {
		sources = append(sources, n.keys, n.members)
	}
	return sources
}

// learn settles the rules.
func (n *node) learn(ctx context.Context) (err error) {
	if n.config.Learn == nil {
		return nil
	}
	if n.config.Rules, err = n.config.Learn(ctx, n.cluster); err != nil {
		return err
	}
	return n.config.Rules.Check()
}

// scan reads everything; keyFound, if not nil, is told of each private key at once.
func (n *node) scan(ctx context.Context, keyFound func(pki.Algorithm)) (found *scan.Result, err error) {
	err = n.timed("scan", func() error {
		found, err = scan.Scan(ctx, n.sources(), scan.Options{Renames: n.config.Rules.Renames, Rules: n.config.Rules.Changes, Found: keyFound})
		return err
	})
	return found, err
}

// prepare does everything that changes nothing. Keys are made while it reads, and take longer than all the rest.
func (n *node) prepare(ctx context.Context) (*commit.Record, error) {
	if err := n.learn(ctx); err != nil {
		return nil, err
	}
	keys := forge.New(n.config.Generate)
	defer keys.Close()
	for _, kept := range n.config.Rules.KeepKeys {
		a, err := pki.AlgorithmOf(kept.Key.Public())
		if err != nil {
			return nil, err
		}
		keys.Spare(a)
	}
	found, err := n.scan(ctx, keys.Expect)
	if err != nil {
		return nil, err
	}
	p := plan.Decide(found, n.config.Rules)
	if len(p.Problems) > 0 {
		return nil, &RefusedError{Stage: "plan", Problems: p.Problems}
	}
	needles := verify.OldSecrets(p)
	made, problems, err := n.issue(ctx, p, keys, found, needles)
	if err != nil {
		return nil, err
	}
	var changes []site.Change
	if err := n.timed("stage", func() error {
		changes, err = p.Stage(made)
		return err
	}); err != nil {
		return nil, err
	}
	if err := n.timed("verify", func() error {
		problems = slices.Concat(verify.Staged(p, made, needles, found.Sites, changes), problems)
		return nil
	}); err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, &RefusedError{Stage: "verify", Problems: problems}
	}
	if changes, err = p.Seal(made, changes); err != nil {
		return nil, err
	}
	summary := summarise(p, made, changes)
	summary.SitesRead, summary.BytesRead, summary.Timings = len(found.Names), found.Bytes, n.timings
	text, err := json.Marshal(summary)
	if err != nil {
		return nil, fmt.Errorf("cannot encode summary: %w", err)
	}
	return &commit.Record{Changes: changes, Summary: text}, nil
}

// issue makes the new material, and meanwhile searches all sites that will stay as they are for what must not be left.
func (n *node) issue(ctx context.Context, p *plan.Plan, keys *forge.Forge, found *scan.Result, needles *verify.Needles) (made *plan.Issued, left []plan.Problem, err error) {
	err = n.timed("issue", func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() (err error) {
			made, err = p.Issue(ctx, func(a pki.Algorithm) (crypto.Signer, error) { return keys.Take(ctx, a) })
			return err
		})
		group.Go(func() (err error) {
			left, err = verify.NoSecrets(ctx, n.sources(), found.Kept(), found.Plain, needles)
			return err
		})
		return group.Wait()
	})
	return made, left, err
}

// carryOut makes the changes. Etcd comes first: its transactions are the ones that can still be refused.
func (n *node) carryOut(ctx context.Context, changes []site.Change) error {
	inEtcd := slices.ContainsFunc(changes, func(c site.Change) bool { return c.Store != site.File })
	switch {
	case n.keys != nil:
		if err := n.keys.Apply(ctx, changes, n.config.Fault); err != nil {
			return err
		}
		if err := n.members.Apply(ctx, changes, n.config.Fault); err != nil {
			return err
		}
	case inEtcd:
		return errors.New("cannot finish an interrupted regeneration without etcd")
	}
	if err := n.files.Apply(ctx, changes, n.config.Fault); err != nil {
		return err
	}
	return n.confirm(ctx, changes)
}

// forget drops what etcd keeps of the replaced values, and closes it.
func (n *node) forget(ctx context.Context) error {
	if n.keys == nil {
		return nil
	}
	if err := n.keys.Forget(ctx, n.config.Fault); err != nil {
		return err
	}
	if err := n.close(); err != nil {
		return err
	}
	return n.config.Etcd.ForgetLog(ctx, n.config.Fault)
}

// confirm reads what was changed once more.
func (n *node) confirm(ctx context.Context, changes []site.Change) error {
	if n.keys != nil {
		if err := errors.Join(n.keys.Confirm(ctx, changes), n.members.Confirm(ctx, changes)); err != nil {
			return err
		}
	}
	return n.files.Confirm(ctx, changes)
}

// replacement describes what became of a key.
func replacement(d *plan.KeyDecision, made *plan.Issued) (Replacement, bool) {
	key := made.Keys[d.Key.ID]
	if key == nil {
		return Replacement{}, false
	}
	id, err := pki.IDOf(key.Public())
	if err != nil {
		return Replacement{}, false
	}
	r := Replacement{Names: []string{}, Old: d.Key.ID.String(), New: id.String(), Action: d.Action, Why: d.Why}
	for _, c := range d.Key.Certificates {
		r.Names = append(r.Names, c.CommonName)
	}
	return r, true
}
