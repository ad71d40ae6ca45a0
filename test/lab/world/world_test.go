package world

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
	"github.com/reroot-dev/reroot/test/lab/build"
	"github.com/reroot-dev/reroot/test/lab/cluster"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

func TestSeedImage(t *testing.T) {
	programs, err := build.Binaries(t.Context(), os.Stderr, build.Names()...)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	host, stop, err := startRegistry(filepath.Join(dir, "registry"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	id, err := identity("seed", SeedVersion, "3.6", "192.168.126.10")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	n, err := install(t.Context(), os.Stderr, filepath.Join(dir, "seed"), ostree.Tree{Version: SeedVersion, Kernel: "seed"}, cluster.Options{Identity: id, Programs: programs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ostree.RemoveSysroot(n.Sysroot) })
	t.Logf("installed in %s", time.Since(start))
	start = time.Now()
	image, err := publishSeed(t.Context(), n, host)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("published in %s", time.Since(start))
	info, err := seedimage.Inspect(t.Context(), image, registry.Access{Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", info)
}
