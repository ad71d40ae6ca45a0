package seedimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/types"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/seedimage/archive"
)

// commit takes the commit that the reference node ran over into the node's repository. ostree verifies every object.
func (i *importer) commit(ctx context.Context) error {
	booted, err := bootedDeployment(i.small[seed.FileRPMOstree])
	if err != nil {
		return &Error{events.ReasonSeedFormat, err}
	}
	i.booted = booted
	if err := completeRepo(i.repo()); err != nil {
		return err
	}
	if err := i.Host.PullLocal(ctx, i.repo(), booted.commit); err != nil {
		return programError(err, events.ReasonSeedCorrupt)
	}
	return nil
}

// completeRepo makes the unpacked objects a repository. Its configuration is not the seed's: that one could name a
// parent repository of another system. Everything is reached through the root: any of it may be a link.
func completeRepo(dir string) error {
	repo, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer repo.Close()
	config, err := repo.ReadFile("config")
	if err != nil {
		return &Error{events.ReasonSeedFormat, fmt.Errorf("%s holds no repository: %w", seed.FileOstree, err)}
	}
	if !bareMode.Match(config) {
		return &Error{events.ReasonSeedFormat, fmt.Errorf("the repository in %s is not of mode bare", seed.FileOstree)}
	}
	if st, err := repo.Lstat("objects"); err != nil || !st.IsDir() {
		return &Error{events.ReasonSeedFormat, fmt.Errorf("the repository in %s has no objects", seed.FileOstree)}
	}
	for _, dir := range []string{"refs/heads", "refs/mirrors", "refs/remotes", "tmp/cache", "extensions", "state"} {
		if err := repo.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := repo.Remove("config"); err != nil {
		return err
	}
	return repo.WriteFile("config", []byte("[core]\nrepo_version=1\nmode=bare\n"), 0o644)
}

var bareMode = regexp.MustCompile(`(?m)^mode=bare$`)

// deploymentName is COMMIT.SERIAL, as in the name of a deployment's directory.
type deploymentName struct{ commit, serial string }

// originFile is the seed's file with the deployment's origin.
func (d deploymentName) originFile() string { return "ostree-" + d.commit + "." + d.serial + ".origin" }

// rpmStatus is the part of `rpm-ostree status --json` that tells deployments apart.
type rpmStatus struct {
	Deployments []rpmDeployment `json:"deployments"`
}

type rpmDeployment struct {
	ID        string `json:"id"` // STATEROOT-COMMIT.SERIAL
	Stateroot string `json:"osname"`
	Checksum  string `json:"checksum"`
	Serial    int    `json:"serial"`
	Booted    bool   `json:"booted"`
	Origin    string `json:"origin,omitempty"`
	Version   string `json:"version,omitempty"`
}

var deploymentID = regexp.MustCompile(`-([0-9a-f]{64})\.([0-9]+)$`)

// bootedDeployment finds in the seed's rpm-ostree.json what the reference node ran.
func bootedDeployment(text []byte) (deploymentName, error) {
	var status rpmStatus
	if err := json.Unmarshal(text, &status); err != nil {
		return deploymentName{}, fmt.Errorf("cannot parse %s: %w", seed.FileRPMOstree, err)
	}
	for _, d := range status.Deployments {
		if !d.Booted {
			continue
		}
		m := deploymentID.FindStringSubmatch(d.ID)
		if m == nil {
			return deploymentName{}, fmt.Errorf("cannot parse %s: deployment id %q", seed.FileRPMOstree, d.ID)
		}
		return deploymentName{commit: m[1], serial: m[2]}, nil
	}
	return deploymentName{}, fmt.Errorf("cannot parse %s: no deployment is booted", seed.FileRPMOstree)
}

// kargs are the kernel arguments of the new deployment: those of the reference node's MachineConfig, those that FIPS
// mode needs, a mark, and what the caller adds. The node's own are not taken over.
func (i *importer) kargs() ([]string, error) {
	var config struct {
		Spec struct {
			KernelArguments []string `json:"kernelArguments"`
			FIPS            bool     `json:"fips"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(i.small[seed.FileMachineConfig], &config); err != nil {
		return nil, &Error{events.ReasonSeedFormat, fmt.Errorf("cannot parse %s: %w", seed.FileMachineConfig, err)}
	}
	kargs := config.Spec.KernelArguments
	if config.Spec.FIPS {
		kargs = append(kargs, "fips=1", "boot=LABEL=boot")
	}
	return append(append(kargs, "ibu="+i.Version), i.Kargs...), nil
}

// etc gives the deployment the reference node's changes in /etc and its origin.
func (i *importer) etc(ctx context.Context) error {
	d := i.result.Deployment
	etc := filepath.Join(d.Path, "etc")
	f, err := os.Open(filepath.Join(i.scratch(), seed.FileEtc))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := i.unpackGzip(ctx, f, etc, archive.UnpackOptions{Prefix: "etc"}); err != nil {
		return fmt.Errorf("cannot unpack %s: %w", seed.FileEtc, err)
	}
	if err := removeDeleted(etc, string(i.small[seed.FileEtcDeletions])); err != nil {
		return err
	}
	origin, ok := i.small[i.booted.originFile()]
	if !ok {
		return &Error{events.ReasonSeedFormat, fmt.Errorf("the seed lacks %s", i.booted.originFile())}
	}
	return i.Host.WriteFileAtomic(d.Path+".origin", origin, 0o644)
}

// removeDeleted removes from etc the paths that list names, one a line. A path that is not there is as it should be.
func removeDeleted(etc, list string) error {
	root, err := os.OpenRoot(etc)
	if err != nil {
		return err
	}
	defer root.Close()
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		name, ok := strings.CutPrefix(path.Clean("/"+line), "/etc/")
		if !ok || strings.Contains(line, "..") {
			return fmt.Errorf("%w: %s names %q", archive.ErrUnsafe, seed.FileEtcDeletions, line)
		}
		if err := root.RemoveAll(name); err != nil {
			return fmt.Errorf("cannot remove %s: %w", line, err)
		}
	}
	return nil
}

// programError gives a reason to a failure of a program. Its cause is text: programs share no error values.
func programError(err error, otherwise events.Reason) error {
	var exit *host.ExitError
	if errors.As(err, &exit) {
		for _, text := range []string{"No space left on device", "min-free-space"} {
			if strings.Contains(exit.Stderr, text) {
				return &Error{events.ReasonNoSpace, err}
			}
		}
		return &Error{otherwise, err}
	}
	return err
}

// pinnedDigest is the digest in a reference; empty when it has none.
func pinnedDigest(ref types.ImageReference) string {
	if c, ok := ref.DockerReference().(reference.Canonical); ok {
		return c.Digest().String()
	}
	return ""
}
