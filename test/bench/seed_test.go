package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/reroot-dev/reroot/events/seed"
	access "github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/host/hosttest"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// The seed image is made from the lab's operating system, on the disk. Both importers end with a deployment that is not
// the default, beside an old one that shares nothing with it, and with everything synced. The registry is this
// process: the network costs nothing.

const (
	seedVersion   = "4.18.0"
	seedStateroot = "rhcos_" + seedVersion
)

// BenchmarkImport is Reroot's import: it checks every digest and reads back what it wrote.
func BenchmarkImport(b *testing.B) {
	image := publish(b)
	for b.Loop() {
		b.StopTimer()
		n := oldNode(b)
		b.StartTimer()
		r, err := seedimage.Import(b.Context(), seedimage.ImportOptions{
			Image: image.spec, Access: access.Access{Insecure: true}, Version: seedVersion, Stateroot: seedStateroot,
			Host: n.Host, Dir: filepath.Join(n.Dir, "reroot/seeds"),
		})
		if err != nil {
			b.Fatal(err)
		}
		syscall.Sync()
		b.ReportMetric(float64(r.Objects), "objects")
		b.ReportMetric(float64(r.Bytes)/1e6, "MB")
	}
}

// BenchmarkUnpackAndPull does what the lifecycle-agent's stateroot job does, with the programs that it uses, except that
// the image is downloaded and unpacked by curl's equal and tar instead of podman: no container storage is written,
// which is in this side's favour, and neither are layer and objects verified.
func BenchmarkUnpackAndPull(b *testing.B) {
	image := publish(b)
	for b.Loop() {
		b.StopTimer()
		n := oldNode(b)
		b.StartTimer()
		work := filepath.Join(n.Dir, "workspace")
		mounted, unpacked := filepath.Join(work, "image"), filepath.Join(work, "ostree")
		mkdir(b, mounted, unpacked)
		layer := filepath.Join(work, "layer")
		fetch(b, image.layer, layer)
		run(b, "tar", "-xzf", layer, "-C", mounted)
		untar(b, filepath.Join(mounted, seed.FileOstree), unpacked)
		repo := filepath.Join(n.Dir, "ostree/repo")
		run(b, append(n.Ostree, "pull-local", "--repo="+repo, repository(b, unpacked), image.commit)...)
		run(b, append(n.Ostree, "admin", "--sysroot="+n.Dir, "os-init", seedStateroot)...)
		run(b, append(n.Ostree, "admin", "--sysroot="+n.Dir, "deploy", "--os="+seedStateroot, "--no-prune", "--not-as-default", image.commit)...)
		run(b, append(n.Ostree, "admin", "--sysroot="+n.Dir, "cleanup")...)
		untar(b, filepath.Join(mounted, seed.FileVar), filepath.Join(n.Dir, "ostree/deploy", seedStateroot))
		deployed := filepath.Join(n.Dir, "ostree/deploy", seedStateroot, "deploy", image.commit+".0")
		untar(b, filepath.Join(mounted, seed.FileEtc), deployed)
		if err := os.RemoveAll(work); err != nil {
			b.Fatal(err)
		}
		syscall.Sync()
	}
}

// published is a seed image in the registry.
type published struct {
	spec   string // pinned by digest
	layer  string // URL of its one layer
	commit string
}

// publish makes the seed image and serves it for as long as the benchmark runs.
func publish(b *testing.B) published {
	b.Helper()
	needRoot(b)
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithBlobHandler(registry.NewDiskBlobHandler(b.TempDir()))))
	b.Cleanup(server.Close)
	dir := sysrootDir(b)
	lab, err := ostree.NewSysroot(b.Context(), b.Output(), dir)
	if err != nil {
		b.Fatal(err)
	}
	d, err := lab.Deploy(b.Context(), ostree.DeployOptions{Stateroot: "okd", Tree: ostree.Tree{Version: seedVersion}})
	if err != nil {
		b.Fatal(err)
	}
	info, err := seedimage.Create(b.Context(), seedimage.CreateOptions{
		Image: strings.TrimPrefix(server.URL, "http://") + "/okd/seed:" + seedVersion, Access: access.Access{Insecure: true},
		Host: host.New(host.Options{Sysroot: dir, Ostree: hosttest.Ostree(b)}), Stateroot: "okd",
		Cluster: seed.ClusterInfo{Version: seedVersion}, MachineConfig: []byte(`{"kind":"MachineConfig","spec":{}}`), Dir: b.TempDir(),
	})
	if err != nil {
		b.Fatal(err)
	}
	return published{spec: info.Image, layer: server.URL + "/v2/okd/seed/blobs/" + layerOf(b, server.URL, info.Digest.String()), commit: d.Commit}
}

// layerOf is the digest of the one layer of an image.
func layerOf(b *testing.B, registry, digest string) string {
	b.Helper()
	resp, err := http.Get(registry + "/v2/okd/seed/manifests/" + digest)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var manifest struct{ Layers []struct{ Digest string } }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&manifest); err != nil || len(manifest.Layers) != 1 {
		b.Fatalf("cannot read the seed's manifest: %v, %d layers", err, len(manifest.Layers))
	}
	return manifest.Layers[0].Digest
}

// oldNode is a node on the disk with one small deployment.
func oldNode(b *testing.B) *hosttest.Sysroot {
	b.Helper()
	n := hosttest.NewIn(b, sysrootDir(b))
	n.MustDeploy(b, "okd", n.Commit(b, "4.17.0", nil), "root=LABEL=root")
	return n
}

// sysrootDir makes a directory whose immutable parts are removed with the rest.
func sysrootDir(b *testing.B) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "sysroot")
	mkdir(b, dir)
	b.Cleanup(func() {
		if err := ostree.RemoveSysroot(dir); err != nil {
			b.Error(err)
		}
	})
	return dir
}

// repository finds the repository in the unpacked archive.
func repository(b *testing.B, dir string) string {
	b.Helper()
	for _, sub := range []string{".", "repo", "ostree/repo"} {
		if _, err := os.Stat(filepath.Join(dir, sub, "objects")); err == nil {
			return filepath.Join(dir, sub)
		}
	}
	b.Fatal("cannot find the repository in the seed's archive")
	return ""
}

func untar(b *testing.B, archive, dir string) {
	b.Helper()
	run(b, "tar", "-xzf", archive, "-C", dir, "--selinux", "--xattrs", "--xattrs-include=*", "--acls")
}

func fetch(b *testing.B, url, file string) {
	b.Helper()
	resp, err := http.Get(url)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	_, err = io.Copy(f, resp.Body)
	if err = errors.Join(err, f.Close()); err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(fmt.Errorf("cannot fetch %s: %s: %w", url, resp.Status, err))
	}
}

func mkdir(b *testing.B, dirs ...string) {
	b.Helper()
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
	}
}

func run(b *testing.B, argv ...string) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), argv[0], argv[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", argv, err, out)
	}
}
