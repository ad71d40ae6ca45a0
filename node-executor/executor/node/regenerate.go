package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/fault"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
	"github.com/reroot-dev/reroot/node-executor/site"
	"github.com/reroot-dev/reroot/node-executor/step"
)

// regeneration implements step.Crypto with package crypto.
type regeneration struct {
	config Config
	host   *host.Host
	log    *slog.Logger
}

func (r regeneration) Regenerate(ctx context.Context, stateroot, upgrade string, attempt int) (step.Regenerated, error) {
	kept, err := site.Load(siteDir)
	if err != nil {
		return step.Regenerated{}, err
	}
	info, err := seedimage.ReadClusterInfo(seedDir, stateroot)
	if err != nil {
		return step.Regenerated{}, err
	}
	opener := etcd.DataDir{Dir: r.config.Etcd.Dir, Programs: r.config.Etcd.Programs, Runner: units{r.host}}
	names, err := r.learn(ctx, opener, info)
	if err != nil {
		return step.Regenerated{}, err
	}
	rules, err := kept.Rules(names, time.Now())
	if err != nil {
		return step.Regenerated{}, err
	}
	var roots []files.Root
	for _, dir := range r.config.Crypto.Roots {
		roots = append(roots, files.Root{Host: dir, Node: dir})
	}
	s, err := crypto.Regenerate(ctx, crypto.Config{
		Roots: roots, Skip: r.config.Crypto.Skip, Etcd: opener, Rules: rules, Log: r.log,
		Journal: filepath.Join(siteDir, fmt.Sprintf("crypto-%s-%d", upgrade, attempt)),
		Fault:   func(point string) error { return fault.Maybe("crypto." + point) },
	})
	if err != nil {
		return step.Regenerated{}, err
	}
	return step.Regenerated{
		Regenerated: s.Keys[plan.Fresh], Kept: s.Keys[plan.Given], Foreign: s.Certificates[plan.Kept],
	}, nil
}

// learn reads what the seed's cluster is called. In a run that goes on after an interruption some of it is renamed
// already, which does no harm: the engine then goes by its own journal.
func (r regeneration) learn(ctx context.Context, opener etcd.Opener, info seed.ClusterInfo) (names site.Names, err error) {
	client, stop, err := opener.Open(ctx)
	if err != nil {
		return names, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	return site.Learn(ctx, "/", r.config.Kubeconfig, client, info)
}
