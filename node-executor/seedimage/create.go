package seedimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/pgzip"

	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/seedimage/archive"
)

// CreateOptions says which node becomes which seed image.
type CreateOptions struct {
	Image      string // pull spec with a tag
	Access     registry.Access
	Host       *host.Host       // of the reference node; nothing may change its /var and /etc meanwhile
	Stateroot  string           // of the deployment to take: its booted one, or else its first
	Cluster    seed.ClusterInfo // of the reference cluster
	Containers []string         // pull specs of its container images
	// MachineConfig is the MachineConfig that the node runs, as JSON; nil: as the machine-config-daemon keeps it in /etc.
	MachineConfig []byte
	Dir           string // holds the compressed archives until they are pushed; there is never a copy of a tree
	Progress      func(Progress)
}

// currentConfig is where the machine-config-daemon keeps the MachineConfig that it applied last, below /etc.
const currentConfig = "machine-config-daemon/currentconfig"

// creator is one run of [Create].
type creator struct {
	CreateOptions
	deployments []host.Deployment
	from        host.Deployment
	dir         string
	small       map[string][]byte
}

// Create makes a seed image from a node and pushes it. It changes nothing on the node.
func Create(ctx context.Context, o CreateOptions) (Info, error) {
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	c := &creator{CreateOptions: o, small: map[string][]byte{}}
	info, err := c.run(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("cannot create seed image %s: %w", o.Image, err)
	}
	return info, nil
}

func (c *creator) run(ctx context.Context) (info Info, err error) {
	if err := c.choose(ctx); err != nil {
		return Info{}, err
	}
	if c.dir, err = os.MkdirTemp(c.Dir, "seed-"); err != nil {
		return Info{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	if err := c.describe(); err != nil {
		return Info{}, err
	}
	for _, part := range []struct {
		file string
		pack func(context.Context, *archive.Packer) error
	}{
		{seed.FileEtc, c.packEtc},
		{seed.FileVar, c.packVar},
		{seed.FileOstree, c.packRepo},
	} {
		c.Progress(Progress{Step: part.file})
		if err := c.compress(ctx, part.file, part.pack); err != nil {
			return Info{}, fmt.Errorf("cannot make %s: %w", part.file, err)
		}
	}
	return c.push(ctx)
}

// choose finds the deployment to take: the booted one of the stateroot, or on a node that is down its first.
func (c *creator) choose(ctx context.Context) error {
	var err error
	if c.deployments, err = c.Host.Status(ctx); err != nil {
		return err
	}
	at := slices.IndexFunc(c.deployments, func(d host.Deployment) bool { return d.Stateroot == c.Stateroot && d.Booted })
	if at < 0 {
		at = slices.IndexFunc(c.deployments, func(d host.Deployment) bool { return d.Stateroot == c.Stateroot && !d.Staged })
	}
	if at < 0 {
		return fmt.Errorf("cannot find a deployment in stateroot %s: %w", c.Stateroot, host.ErrNotDeployed)
	}
	c.from = c.deployments[at]
	return nil
}

// describe makes the small files.
func (c *creator) describe() error {
	name := deploymentName{commit: c.from.Commit, serial: fmt.Sprint(c.from.Serial)}
	origin, err := os.ReadFile(c.from.Path + ".origin")
	if err != nil {
		return fmt.Errorf("cannot read origin: %w", err)
	}
	c.small[name.originFile()] = origin

	var status rpmStatus
	for _, d := range c.deployments {
		status.Deployments = append(status.Deployments, rpmDeployment{
			ID: d.ID(), Stateroot: d.Stateroot, Checksum: d.Commit, Serial: d.Serial, Origin: d.Origin, Version: d.Version,
			Booted: d.Is(c.from.Stateroot, c.from.Commit, c.from.Serial),
		})
	}
	if c.small[seed.FileRPMOstree], err = json.MarshalIndent(status, "", "  "); err != nil {
		return err
	}
	if c.small[seed.FileClusterInfo], err = json.Marshal(c.Cluster); err != nil {
		return err
	}
	if c.MachineConfig == nil {
		if c.MachineConfig, err = os.ReadFile(filepath.Join(c.from.Path, "etc", currentConfig)); err != nil {
			return fmt.Errorf("cannot read the node's MachineConfig: %w", err)
		}
	}
	c.small[seed.FileMachineConfig] = c.MachineConfig
	c.small[seed.FileContainers] = []byte(lines(c.Containers))
	return nil
}

// lines puts each distinct value on a line of its own, sorted.
func lines(values []string) string {
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return strings.TrimSpace(v) == "" })
	slices.Sort(values)
	var b strings.Builder
	for _, v := range slices.Compact(values) {
		b.WriteString(v + "\n")
	}
	return b.String()
}

// compress writes one archive. The fastest level is chosen: transfer is cheap beside the cluster's standstill.
func (c *creator) compress(ctx context.Context, name string, pack func(context.Context, *archive.Packer) error) error {
	f, err := os.OpenFile(filepath.Join(c.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	zip, err := pgzip.NewWriterLevel(f, pgzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := zip.SetConcurrency(1<<20, runtime.GOMAXPROCS(0)); err != nil {
		return err
	}
	p := archive.NewPacker(zip)
	err = pack(ctx, p)
	if err == nil {
		_, err = p.Close()
	}
	if zerr := zip.Close(); err == nil { // also after an error: it ends the compressing goroutines
		err = zerr
	}
	if err == nil {
		err = f.Close()
	}
	return err
}

// packRepo packs the node's ostree repository without what it only works with.
func (c *creator) packRepo(ctx context.Context, p *archive.Packer) error {
	return p.Tree(ctx, c.Host.Repo(), ".", func(name string) bool {
		return name == ".lock" || strings.HasPrefix(name, "tmp/")
	})
}

// packVar packs the stateroot's /var. The description of the cluster is in it too, where the lifecycle-agent's
// post-pivot program reads it.
func (c *creator) packVar(ctx context.Context, p *archive.Packer) error {
	managed, err := managedFiles(c.MachineConfig)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.Host.Stateroot(c.from.Stateroot), "var")
	if err := p.Tree(ctx, dir, "var", func(name string) bool { return skipVar(name, managed) }); err != nil {
		return err
	}
	return p.File("var/seed_data/"+seed.FileClusterInfo, 0o600, c.small[seed.FileClusterInfo])
}

// packEtc packs what differs in /etc and lists what is missing there.
func (c *creator) packEtc(ctx context.Context, p *archive.Packer) error {
	changes, err := c.Host.ConfigDiff(ctx, c.from.Stateroot)
	if err != nil {
		return err
	}
	var deleted strings.Builder
	for _, change := range changes {
		switch {
		case change.Kind == 'D':
			deleted.WriteString("/etc/" + change.Path + "\n")
		case !skipEtc(change.Path):
			if err := p.Add(filepath.Join(c.from.Path, "etc", change.Path), "etc/"+change.Path); err != nil {
				return err
			}
		}
	}
	c.small[seed.FileEtcDeletions] = []byte(deleted.String())
	return nil
}

// open returns one file of the image and its size.
func (c *creator) open(name string) (io.ReadCloser, int64, error) {
	if data, ok := c.small[name]; ok {
		return io.NopCloser(strings.NewReader(string(data))), int64(len(data)), nil
	}
	f, err := os.Open(filepath.Join(c.dir, name))
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}
