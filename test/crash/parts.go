package crash

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/node-executor/fault"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/step"
	"github.com/reroot-dev/reroot/node-executor/step/etc"
)

// CryptoPoints are the fault points of package crypto, which the stand-in passes one after the other. What they break inside of that package is its own tests' business; here it is what the executor makes of it.
var CryptoPoints = []string{
	"journal.prepare.write", "journal.prepare.rename", "etcd.transaction", "etcd.member", "etcd.compact", "etcd.defragment", "etcd.pages",
	"etcd.log.write", "etcd.log.rename", "etcd.wal.remove", "etcd.snap.remove",
	"file.stage", "file.link", "file.sync", "file.rename", "file.overwrite", "file.restore", "file.unstage", "file.remove",
	"journal.finish.write", "journal.finish.rename", "journal.wipe",
}

// CryptoPoint is such a point's name in a fault plan.
func CryptoPoint(name string) string { return "crypto." + name }

// Files by which the stand-ins remember, in the state directory and below /run.
const (
	siteFile    = "site"
	kubeletFile = "kubelet"
)

// poll is how often a stand-in looks.
const poll = 5 * time.Millisecond

// standIn takes the place of systemd, the registry and the cluster. It checks what the real ones need to be so.
type standIn struct {
	Dir
	config Config
	host   *host.Host
}

// IsActive implements step.Units.
func (s standIn) IsActive(_ context.Context, unit string) (bool, error) {
	_, err := os.Stat(filepath.Join(s.run(), kubeletFile))
	return unit == "kubelet.service" && err == nil, nil
}

// Start implements step.Units.
func (s standIn) Start(_ context.Context, unit string) error {
	if unit != "kubelet.service" {
		return nil
	}
	return os.WriteFile(filepath.Join(s.run(), kubeletFile), nil, 0o600)
}

// Stop implements step.Units.
func (s standIn) Stop(context.Context, string) error {
	return os.RemoveAll(filepath.Join(s.run(), kubeletFile))
}

// DaemonReload implements step.Units.
func (s standIn) DaemonReload(context.Context) error { return nil }

// Import implements step.Seeds: the seed's commit is in the repository already.
func (s standIn) Import(ctx context.Context, i step.SeedImage, _ func(float64, string)) (step.Imported, error) {
	if err := s.host.StaterootInit(ctx, i.Stateroot); err != nil {
		return step.Imported{}, err
	}
	d, err := s.host.Deploy(ctx, i.Stateroot, s.config.New.Commit, nil)
	return step.Imported{Target: deployment(d), Digest: digest}, err
}

// Remove implements step.Seeds.
func (s standIn) Remove(ctx context.Context, stateroot string) error {
	return s.host.RemoveStateroot(ctx, stateroot)
}

// Bring implements step.Images.
func (s standIn) Bring(context.Context, string, string, func(float64, string)) (step.Brought, error) {
	return step.Brought{}, nil
}

// AuthFile implements step.Secrets: a secret is read from the API.
func (s standIn) AuthFile(ctx context.Context, ref *events.SecretRef) (string, func() error, error) {
	if ref == nil {
		return "", nil, errors.New("the hub named a pull secret")
	}
	return "", func() error { return nil }, s.answers(ctx)
}

// Collect implements step.Site.
func (s standIn) Collect(ctx context.Context, _ []events.ConfigMapRef) error {
	if err := s.answers(ctx); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(s.State(), siteFile), []byte(clusterName), 0o600)
}

// EtcFiles implements step.Site.
func (s standIn) EtcFiles() ([]etc.File, error) {
	name, err := os.ReadFile(filepath.Join(s.State(), siteFile))
	return []etc.File{{Path: "hostname", Data: name, Mode: 0o644}}, err
}

// Offline implements step.Site.
func (s standIn) Offline() error {
	_, err := s.EtcFiles()
	return err
}

// Online implements step.Site.
func (s standIn) Online(ctx context.Context) (string, error) {
	_, err := s.EtcFiles()
	return "cluster-id", errors.Join(err, s.answers(ctx))
}

// answers says whether the API server does.
func (s standIn) answers(ctx context.Context) error {
	active, err := s.IsActive(ctx, "kubelet.service")
	if err == nil && !active {
		err = errors.New("the API server does not answer")
	}
	return err
}

// Forget implements step.Site.
func (s standIn) Forget() error { return os.RemoveAll(filepath.Join(s.State(), siteFile)) }

// Regenerate implements step.Crypto.
func (s standIn) Regenerate(ctx context.Context, stateroot, _ string, _ int) (step.Regenerated, error) {
	if active, err := s.IsActive(ctx, "kubelet.service"); err != nil || active {
		return step.Regenerated{}, errors.Join(err, errors.New("the kubelet runs while keys are regenerated"))
	}
	if stateroot != s.config.New.Stateroot {
		return step.Regenerated{}, errors.New("the keys of another root were to be regenerated: " + stateroot)
	}
	for _, p := range CryptoPoints {
		if err := fault.Maybe(CryptoPoint(p)); err != nil {
			return step.Regenerated{}, err
		}
	}
	return step.Regenerated{Regenerated: 1}, nil
}

// Await implements step.API: the server answers when the kubelet runs.
func (s standIn) Await(ctx context.Context, _ func(float64, string)) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if active, err := s.IsActive(ctx, "kubelet.service"); err != nil || active {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
