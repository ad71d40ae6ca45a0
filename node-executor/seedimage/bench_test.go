package seedimage_test

import (
	"os"
	"path/filepath"
	"testing"

	access "github.com/reroot-dev/reroot/events/seed/registry"
	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/node-executor/host/hosttest"
	"github.com/reroot-dev/reroot/node-executor/seedimage"
	labostree "github.com/reroot-dev/reroot/test/lab/ostree"
)

// BenchmarkSeed makes and imports a seed of the size of the lab's operating system, on the disk.
func BenchmarkSeed(b *testing.B) {
	dir := b.TempDir()
	lab, err := labostree.NewSysroot(b.Context(), b.Output(), dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := labostree.RemoveSysroot(dir); err != nil {
			b.Error(err)
		}
	})
	_, err = lab.Deploy(b.Context(), labostree.DeployOptions{Stateroot: "okd", Tree: labostree.Tree{Version: "4.17.0"}})
	if err != nil {
		b.Fatal(err)
	}
	node := host.New(host.Options{Sysroot: dir, Ostree: hosttest.Ostree(b)})
	o := seedimage.CreateOptions{
		Image: startRegistry(b) + "/okd/seed:4.17.0", Access: access.Access{Insecure: true}, Host: node, Stateroot: "okd",
		Cluster: cluster, MachineConfig: []byte(machineConfig), Dir: b.TempDir(),
	}
	var info seedimage.Info
	b.Run("create", func(b *testing.B) {
		for b.Loop() {
			if info, err = seedimage.Create(b.Context(), o); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(info.Bytes)
	})
	b.Run("import", func(b *testing.B) {
		n := newTargetIn(b, b.TempDir(), info.Image)
		for b.Loop() {
			r, err := seedimage.Import(b.Context(), n.o)
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			b.SetBytes(r.Bytes)
			b.ReportMetric(float64(r.Objects), "objects")
			if err := seedimage.Remove(b.Context(), n.Host, n.o.Dir, n.o.Stateroot); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
		if _, err := os.Stat(filepath.Join(n.Dir, "ostree")); err != nil {
			b.Fatal(err)
		}
	})
}
