package world

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/test/lab/build"
	"github.com/reroot-dev/reroot/test/lab/cluster"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// own are this module's programs that the lab runs: name → import path below the module's.
var own = map[string]string{
	"reroot":         "events/cmd/reroot",
	"reroot-node":    "node-executor/cmd/reroot-node",
	"reroot-sandbox": "node-executor/cmd/reroot-sandbox",
	"lab-kubelet":    "test/lab/staticpod/cmd/lab-kubelet",
}

// faulty is reroot-node with its fault points, see package fault.
const faulty = "reroot-node-faulty"

// Prepare makes what the lab needs and the machine lacks, and says what it is doing and how long that takes: programs
// of third parties and the OS tree are built once and cached, this module's own programs every time. It returns each
// program's path.
func Prepare(ctx context.Context, log io.Writer) (map[string]string, error) {
	programs, err := build.Binaries(ctx, log, build.Names()...)
	if err != nil {
		return nil, err
	}
	if _, err := ostree.Rootfs(ctx, log); err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("cannot find the cache: %w", err)
	}
	dir := filepath.Join(cache, "reroot", "own")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the cache: %w", err)
	}
	var group errgroup.Group
	group.SetLimit(2)
	add := func(name, importPath string, tags ...string) {
		out := filepath.Join(dir, name)
		programs[name] = out
		group.Go(func() error { return build.Program(ctx, importPath, out, tags...) })
	}
	add("lab-oadp", cluster.OADPProgram)
	add(faulty, build.ModulePath+"/"+own["reroot-node"], "faultinject")
	for name, path := range own {
		add(name, build.ModulePath+"/"+path)
	}
	return programs, group.Wait()
}
