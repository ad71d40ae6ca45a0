package main

import (
	stdcrypto "crypto"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/test/lab/build"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// made are the kinds of the keys that the last regeneration made, in the order in which it asked for them.
var made []pki.Algorithm

// BenchmarkRegenerate regenerates the cryptography of a whole cluster of the lab, files and etcd, with the etcd of its
// own minor version started and stopped on the way.
func BenchmarkRegenerate(b *testing.B) {
	programs, err := build.Binaries(b.Context(), os.Stderr, "hyperkube", "etcd-3.5", "etcd-3.6")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		c := provision(b, programs)
		var mu sync.Mutex
		made = nil
		config := crypto.Config{
			Roots: []files.Root{{Host: c.Etc, Node: "/etc"}, {Host: filepath.Join(c.Var, "lib/kubelet"), Node: "/var/lib/kubelet"}},
			Etcd: etcd.DataDir{
				Dir: filepath.Join(c.Var, "lib/etcd"), Programs: map[string]string{c.Identity.Etcd: programs["etcd-"+c.Identity.Etcd]},
				Runner: cryptotest.Runner{Log: filepath.Join(b.TempDir(), "etcd.log")},
			},
			Rules:   plan.Rules{Own: plan.DefaultOwn, External: plan.DefaultExternal, Validity: plan.Extend, Now: time.Now()},
			Journal: filepath.Join(b.TempDir(), "journal"),
			Generate: func(a pki.Algorithm) (stdcrypto.Signer, error) {
				mu.Lock()
				made = append(made, a)
				mu.Unlock()
				return pki.Generate(a)
			},
		}
		b.StartTimer()
		if _, err := crypto.Regenerate(b.Context(), config); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(made)), "keys")
}

// BenchmarkKeys makes the keys that the regeneration made, on all processors, and does nothing else: the time that no
// engine can do without.
func BenchmarkKeys(b *testing.B) {
	if len(made) == 0 {
		b.Skip("BenchmarkRegenerate has to run before, in the same process")
	}
	for b.Loop() {
		var group errgroup.Group
		group.SetLimit(runtime.GOMAXPROCS(0))
		for _, a := range made {
			group.Go(func() error {
				_, err := pki.Generate(a)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

// provision makes a cluster of the lab, stopped.
func provision(b *testing.B, programs map[string]string) *cluster.Cluster {
	b.Helper()
	needRoot(b)
	dir, ports := b.TempDir(), freePorts(b, 5)
	c, err := cluster.Provision(b.Context(), cluster.Options{
		Identity: cluster.Identity{
			ClusterName: "seed", BaseDomain: "lab.example", InfraID: "seed-x7k2p", Hostname: "seed-node", NodeIP: "192.168.126.10",
			ClusterID: "6b0b4dba-45e4-4b7e-8d8d-1f5a3c3f2a04", Version: "4.18.0", Etcd: "3.6",
			APIPort: ports[0], EtcdClientPort: ports[1], EtcdPeerPort: ports[2], VeleroMetricsPort: ports[3], VeleroProfilerPort: ports[4],
		},
		Etc: filepath.Join(dir, "etc"), Var: filepath.Join(dir, "var"), Auth: filepath.Join(dir, "auth"), Programs: programs,
	})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func needRoot(b *testing.B) {
	b.Helper()
	if os.Geteuid() != 0 {
		b.Skip("the lab's nodes can be made by root only")
	}
}

// freePorts finds n different ports of 127.0.0.1 that nobody listens on.
func freePorts(b *testing.B, n int) []int {
	b.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
