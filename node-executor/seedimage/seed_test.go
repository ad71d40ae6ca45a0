package seedimage_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/events/seed"
	access "github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/host/hosttest"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
)

const machineConfig = `{"kind":"MachineConfig","spec":{"kernelArguments":["rw","x.y=\"a b\""],"fips":true,
	"config":{"storage":{"files":[{"path":"/var/lib/containers/managed"}]}}}}`

var cluster = seed.ClusterInfo{
	Version: "4.17.0", ClusterName: "seed", BaseDomain: "example.test", Hostname: "seed-node", NodeIPs: []string{"192.0.2.1"},
}

// startRegistry serves an empty registry and returns HOST:PORT.
func startRegistry(t testing.TB) string {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(discard())))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// makeSeedNode is a stopped reference node with something in every part of the seed.
func makeSeedNode(t testing.TB) (*hosttest.Sysroot, host.Deployment) {
	t.Helper()
	s := hosttest.New(t)
	c := s.Commit(t, "4.17.0", map[string]string{
		"usr/etc/kept": "as shipped", "usr/etc/changed": "as shipped", "usr/etc/removed": "as shipped",
		"usr/bin/tool": strings.Repeat("a tool\n", 1000),
	})
	d := s.MustDeploy(t, "okd", c, "seed.only=1")
	write(t, d.Path, map[string]string{
		"etc/changed": "by the seed", "etc/added/deep/file": "by the seed", "etc/hostname": "seed-node",
		"etc/machine-config-daemon/currentconfig": machineConfig,
	})
	if err := os.Remove(filepath.Join(d.Path, "etc/removed")); err != nil {
		t.Fatal(err)
	}
	vard := filepath.Join(s.Stateroot("okd"), "var")
	write(t, vard, map[string]string{
		"lib/etcd/member/snap/db": "etcd's data", "log/messages": "old", "lib/containers/storage/layer": "big",
		"lib/containers/managed": "by the machine-config-daemon", "home/core/.bash_history": "secret", "lib/kubelet/config.json": "{}",
	})
	if err := os.Chown(filepath.Join(vard, "lib/etcd/member/snap/db"), 167, 168); err != nil {
		t.Fatal(err)
	}
	return s, d
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
}

// create makes a seed image and returns what Create says about it.
func create(t testing.TB, registryHost string) seedimage.Info {
	t.Helper()
	node, _ := makeSeedNode(t)
	info, err := seedimage.Create(t.Context(), seedimage.CreateOptions{
		Image: registryHost + "/okd/seed:4.17.0", Access: access.Access{Insecure: true}, Host: node.Host, Stateroot: "okd",
		Cluster: cluster, Containers: []string{"b.test/x:1", "a.test/y:2", "b.test/x:1", ""}, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// target is a node that runs something else, and how a seed is imported into it.
type target struct {
	*hosttest.Sysroot
	old host.Deployment
	o   seedimage.ImportOptions
}

func newTarget(t testing.TB, image string) *target {
	t.Helper()
	return newTargetIn(t, hosttest.Dir(t), image)
}

func newTargetIn(t testing.TB, dir, image string) *target {
	t.Helper()
	s := hosttest.NewIn(t, dir)
	old := s.MustDeploy(t, "okd", s.Commit(t, "4.16.0", nil), "root=LABEL=root")
	return &target{Sysroot: s, old: old, o: seedimage.ImportOptions{
		Image: image, Access: access.Access{Insecure: true}, Version: "4.17.0", Stateroot: "rhcos_4.17.0",
		Host: s.Host, Dir: filepath.Join(s.Dir, "reroot", "seeds"),
	}}
}

// untouched fails the test unless the node is as it was before any import.
func (n *target) untouched(t testing.TB) {
	t.Helper()
	list, err := n.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || !list[0].Is(n.old.Stateroot, n.old.Commit, n.old.Serial) {
		t.Errorf("deployments are %v", list)
	}
	for _, dir := range []string{n.Stateroot("rhcos_4.17.0"), filepath.Join(n.o.Dir, "rhcos_4.17.0")} {
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s remains: %v", dir, err)
		}
	}
	n.Fsck(t)
}

// complete fails the test unless the seed is imported and nothing else changed.
func (n *target) complete(t testing.TB, r seedimage.Result) {
	t.Helper()
	list, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || !list[0].Is(n.old.Stateroot, n.old.Commit, n.old.Serial) || list[1].Stateroot != "rhcos_4.17.0" {
		t.Fatalf("deployments are %v", list)
	}
	if !list[1].Is(r.Deployment.Stateroot, r.Deployment.Commit, r.Deployment.Serial) {
		t.Errorf("deployed is %s, reported %s", list[1].ID(), r.Deployment.ID())
	}
	n.Fsck(t)
	for name, want := range map[string]string{
		"etc/changed": "by the seed", "etc/added/deep/file": "by the seed", "etc/kept": "as shipped",
		"etc/hostname": "node\n", "etc/removed": "", "usr/bin/tool": strings.Repeat("a tool\n", 1000),
	} {
		wantFile(t, filepath.Join(list[1].Path, name), want)
	}
	vard := filepath.Join(n.Stateroot("rhcos_4.17.0"), "var")
	for name, want := range map[string]string{
		"lib/etcd/member/snap/db": "etcd's data", "lib/containers/managed": "by the machine-config-daemon",
		"log/messages": "", "lib/containers/storage/layer": "", "home/core/.bash_history": "",
	} {
		wantFile(t, filepath.Join(vard, name), want)
	}
	wantFile(t, seedimage.ContainersList(n.o.Dir, "rhcos_4.17.0"), "a.test/y:2\nb.test/x:1\n")
	if info, err := seedimage.ReadClusterInfo(n.o.Dir, "rhcos_4.17.0"); err != nil || info.ClusterName != "seed" {
		t.Errorf("cluster information %+v, %v", info, err)
	}
	if left, err := os.ReadDir(filepath.Join(n.o.Dir, "rhcos_4.17.0")); err != nil || len(left) != 3 {
		t.Errorf("kept %v, %v; want two files and the record", left, err)
	}
}

// wantFile compares a file's content; an empty one must not exist.
func wantFile(t testing.TB, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if want == "" && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s exists: %v", path, err)
	}
	if want != "" && (err != nil || string(got) != want) {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

func wantReason(t testing.TB, err error, want events.Reason) {
	t.Helper()
	var e *seedimage.Error
	if !errors.As(err, &e) || e.Reason() != want {
		t.Errorf("error %v, want reason %s", err, want)
	}
}
