package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
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
	s, err := crypto.Regenerate(ctx, crypto.Config{
		Roots: r.config.Crypto.present("/"), Skip: r.config.Crypto.Skip, Log: r.log,
		Etcd: etcd.DataDir{Dir: r.config.Etcd.Dir, Programs: r.config.Etcd.Programs, Runner: units{r.host}},
		Learn: func(ctx context.Context, cluster clientv3.KV) (plan.Rules, error) {
			names, err := site.Learn(ctx, "/", r.config.Kubeconfig, cluster, info)
			if err != nil {
				return plan.Rules{}, err
			}
			return kept.Rules(names, r.config.Crypto.rules(time.Now()))
		},
		Journal: filepath.Join(siteDir, fmt.Sprintf("crypto-%s-%d", upgrade, attempt)),
		Fault:   func(point string) error { return fault.Maybe("crypto." + point) },
	})
	if refused := (*crypto.RefusedError)(nil); errors.As(err, &refused) {
		for _, p := range refused.Problems { // the error tells of the first ones only
			r.log.ErrorContext(ctx, "cannot regenerate", slog.String("where", p.Where), slog.String("problem", p.What))
		}
	}
	if err != nil {
		return step.Regenerated{}, err
	}
	for _, note := range s.Notes {
		r.log.InfoContext(ctx, "cryptography: "+note.String(), slog.String("step", "regenerate"), slog.String("upgrade", upgrade))
	}
	return step.Regenerated{
		Regenerated: s.Keys[plan.Fresh], Kept: s.Keys[plan.Given], Foreign: s.Certificates[plan.Kept],
	}, nil
}
