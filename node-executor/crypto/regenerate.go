package crypto

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

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
	found, err := n.scan(ctx, nobody)
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
		if record, err = n.prepare(ctx, journal); err != nil {
			return nil, err
		}
	} else {
		config.Log.InfoContext(ctx, "finishing an interrupted regeneration", slog.Int("sites", len(record.Changes)))
	}
	if err := n.carryOut(ctx, record.Changes); err != nil {
		return nil, err
	}
	if err := n.confirmForgotten(ctx, record.Old); err != nil {
		return nil, err
	}
	summary, err := readSummary(record.Summary, nil)
	if err != nil {
		return nil, err
	}
	summary.Timings = n.timings
	text, err := summary.encode()
	if err != nil {
		return nil, err
	}
	return summary, journal.Finish(text, config.Fault)
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

// prepare does everything that changes nothing, up to the moment from which it will happen. Keys are made while it reads,
// and take longer than all the rest.
func (n *node) prepare(ctx context.Context, journal *commit.Journal) (*commit.Record, error) {
	keys := forge.New(n.config.Generate)
	defer keys.Close()
	found, err := n.scan(ctx, onlooker{found: keys.Expect, waiting: keys.While, settled: func(rules plan.Rules) {
		for _, kept := range rules.KeepKeys {
			if a, err := pki.AlgorithmOf(kept.Key.Public()); err == nil {
				keys.Spare(a)
			}
		}
		if rules.NamesOnly {
			keys.Close() // none is wanted
		}
	}})
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
	keys.Close() // some may have been expected that nobody wants
	var changes []site.Change
	if err := n.timed("stage", func() error {
		changes, err = p.Stage(made)
		return err
	}); err != nil {
		return nil, err
	}
	sealed, err := p.Seal(made, changes)
	if err != nil {
		return nil, err
	}
	summary := summarise(p, made, changes)
	summary.SitesRead, summary.BytesRead = len(found.Names), found.Bytes
	text, err := summary.encode()
	if err != nil {
		return nil, err
	}
	record := &commit.Record{Changes: sealed, Summary: text, Old: needles.Pieces()}
	var group errgroup.Group
	group.Go(func() error {
		return n.timed("verify", func() error {
			problems = slices.Concat(verify.Staged(p, made, needles, found.Sites, changes), problems)
			obstacles, err := n.files.Check(ctx, changes)
			for _, o := range obstacles {
				problems = append(problems, plan.Problem{Where: o.Ref.String(), What: o.What})
			}
			return err
		})
	})
	group.Go(func() error {
		return n.timed("journal", func() error { return journal.Write(record, n.config.Fault) })
	})
	err = group.Wait()
	if len(problems) > 0 {
		err = errors.Join(err, &RefusedError{Stage: "verify", Problems: problems})
	}
	if err != nil {
		return nil, errors.Join(err, journal.Discard())
	}
	return record, journal.Prepare(n.config.Fault)
}

// issue makes the new material, and meanwhile searches all sites that will stay as they are for what must not be left, and
// what stands beside etcd's own files.
func (n *node) issue(ctx context.Context, p *plan.Plan, keys *forge.Forge, found *scan.Result, needles *verify.Needles) (made *plan.Issued, left []plan.Problem, err error) {
	var beside []plan.Problem
	err = n.timed("issue", func() error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() (err error) {
			made, err = p.Issue(ctx, func(a pki.Algorithm) (crypto.Signer, error) { return keys.Take(ctx, a) })
			return err
		})
		group.Go(func() (err error) {
			left, err = verify.NoSecrets(ctx, &found.Others, found.Plain, needles)
			return err
		})
		group.Go(func() (err error) {
			if n.config.Etcd != nil && n.config.Etcd.Directory() != "" {
				beside, err = verify.NoSecretsBelow(ctx, n.config.Etcd.Directory(), needles, etcd.MemberDir)
			}
			return err
		})
		return group.Wait()
	})
	return made, slices.Concat(left, beside), err
}

// carryOut makes the changes. Etcd comes first: its transactions are the ones that can still be refused. Meanwhile new files
// are written beside the old ones. While these are replaced, etcd forgets the old values.
func (n *node) carryOut(ctx context.Context, changes []site.Change) error {
	var c *cluster
	switch {
	case n.cluster != nil:
		var err error
		if c, err = n.cluster(); err != nil {
			return err
		}
	case slices.ContainsFunc(changes, func(c site.Change) bool { return c.Store != site.File }):
		return errors.New("cannot finish an interrupted regeneration without etcd")
	}
	var staged *files.Staged
	group, changing := errgroup.WithContext(ctx)
	group.Go(func() error {
		return n.timed("stage files", func() (err error) {
			staged, err = n.files.Stage(changing, changes, n.config.Fault)
			return err
		})
	})
	if c != nil {
		group.Go(func() error {
			return n.timed("change etcd", func() error { return c.apply(changing, changes, n.config.Fault) })
		})
	}
	if err := group.Wait(); err != nil {
		if staged != nil {
			staged.Close()
		}
		return err
	}
	group, changing = errgroup.WithContext(ctx)
	group.Go(func() error {
		return n.timed("change files", func() error {
			if err := staged.Apply(changing, n.config.Fault); err != nil {
				return err
			}
			return n.files.Confirm(changing, changes)
		})
	})
	if c != nil {
		group.Go(func() error { return n.timed("forget", func() error { return n.forget(changing, c) }) })
	}
	return group.Wait()
}

// forget drops what etcd keeps of the replaced values, and closes it.
func (n *node) forget(ctx context.Context, c *cluster) error {
	if err := c.keys.Compact(ctx, n.config.Fault); err != nil {
		return err
	}
	if err := n.close(); err != nil {
		return err
	}
	return n.config.Etcd.Forget(ctx, n.config.Fault)
}

// confirmForgotten searches all that is left of a closed etcd.
func (n *node) confirmForgotten(ctx context.Context, old [][]byte) error {
	if n.config.Etcd == nil || n.config.Etcd.Directory() == "" {
		return nil
	}
	return n.timed("search etcd", func() error {
		left, err := verify.NoSecretsBelow(ctx, n.config.Etcd.Directory(), verify.NeedlesOf(old))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("cannot forget old private keys: %s", left[0])
		}
		return err
	})
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
	return Replacement{Names: commonNames(d.Key), Old: d.Key.ID.String(), New: id.String(), Action: d.Action, Why: d.Why}, true
}
