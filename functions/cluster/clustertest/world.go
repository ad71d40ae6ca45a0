// Package clustertest gives tests of functions a real cluster to talk to: the lab's etcd and API server with OKD's
// definitions and objects, and on request a Velero with an object store. Starting it takes seconds, so a package's
// tests share one, made by their TestMain.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/test/lab/build"
	lab "github.com/reroot-dev/reroot/test/lab/cluster"
)

// ID and Version of the cluster that [Start] makes: those of the stories in package upgradetest.
const (
	ID      = "11111111-2222-3333-4444-555555555555"
	Version = "4.16.0"
)

// World is a running cluster.
type World struct {
	Config     *rest.Config // its administrator
	Kubeconfig string       // the same, as a file
	Client     *cluster.Client
	Lab        *lab.Cluster

	dir     string
	plane   *lab.ControlPlane
	options lab.StartOptions
	store   *exec.Cmd
}

// Main runs a package's tests with the world that start makes in *w, and ends it. A TestMain calls it.
func Main(m *testing.M, w **World, start func(context.Context) (*World, error)) {
	os.Exit(func() int {
		started, err := start(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		*w = started
		code := m.Run()
		if err := started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// Start makes and starts a cluster that has no backups set up.
func Start(ctx context.Context) (*World, error) { return start(ctx, false) }

// StartVelero makes and starts a cluster with controllers, Velero and an object store.
func StartVelero(ctx context.Context) (*World, error) { return start(ctx, true) }

func start(ctx context.Context, backups bool) (_ *World, err error) {
	names := []string{"hyperkube", "etcd-3.5"}
	if backups {
		names = append(names, "velero", "velero-plugin-for-aws", "s3")
	}
	programs, err := build.Binaries(ctx, os.Stderr, names...)
	if err != nil {
		return nil, err
	}
	w := &World{}
	if w.dir, err = os.MkdirTemp("", "reroot-clustertest-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Stop())
		}
	}()
	ports, err := freePorts(6)
	if err != nil {
		return nil, err
	}
	options := lab.Options{
		Identity: lab.Identity{
			ClusterName: "target", BaseDomain: "lab.example", InfraID: "target-x7k2p", ClusterID: ID,
			Hostname: "target-node", NodeIP: "192.168.126.10", Version: Version, Etcd: "3.5",
			APIPort: ports[0], EtcdClientPort: ports[1], EtcdPeerPort: ports[2], VeleroMetricsPort: ports[3], VeleroProfilerPort: ports[4],
		},
		Etc: filepath.Join(w.dir, "etc"), Var: filepath.Join(w.dir, "var"), Auth: filepath.Join(w.dir, "auth"), Programs: programs,
	}
	w.options = lab.StartOptions{Etc: options.Etc, Var: options.Var, Programs: programs, Identity: options.Identity}
	if backups {
		if options.Backup, err = w.serveStore(programs["s3"], ports[5]); err != nil {
			return nil, err
		}
		plugins := filepath.Join(options.Var, strings.TrimPrefix(lab.VeleroPluginDir, "/var/"))
		if err := os.MkdirAll(plugins, 0o755); err != nil {
			return nil, err
		}
		if err := os.Symlink(programs["velero-plugin-for-aws"], filepath.Join(plugins, "velero-plugin-for-aws")); err != nil {
			return nil, err
		}
		programs["lab-oadp"] = filepath.Join(w.dir, "lab-oadp")
		if err := build.Program(ctx, lab.OADPProgram, programs["lab-oadp"]); err != nil {
			return nil, err
		}
		w.options.Pods = []string{"etcd", "kube-apiserver", "kube-controller-manager", "velero", "oadp-operator"}
	}
	if w.Lab, err = lab.Provision(ctx, options); err != nil {
		return nil, err
	}
	w.Kubeconfig = w.Lab.AdminKubeconfig
	if w.Config, err = clientcmd.BuildConfigFromFlags("", w.Kubeconfig); err != nil {
		return nil, err
	}
	w.Config.WarningHandler = rest.NoWarnings{}
	if w.Client, err = cluster.Connect(w.Config); err != nil {
		return nil, err
	}
	return w, w.Up(ctx)
}

// Up starts the cluster's processes.
func (w *World) Up(ctx context.Context) (err error) {
	w.plane, err = lab.Start(ctx, w.options)
	return err
}

// Down ends the cluster's processes; what they stored stays.
func (w *World) Down() error {
	if w.plane == nil {
		return nil
	}
	defer func() { w.plane = nil }()
	return w.plane.Stop()
}

// Stop ends everything and removes it.
func (w *World) Stop() error {
	err := w.Down()
	if w.store != nil {
		_ = w.store.Process.Signal(syscall.SIGTERM)
		_ = w.store.Wait()
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}

func (w *World) serveStore(program string, port int) (*lab.BackupStore, error) {
	address := fmt.Sprintf("127.0.0.1:%d", port)
	w.store = exec.Command(program, "-addr", address, "-file", filepath.Join(w.dir, "s3.db"), "-bucket", "backups")
	w.store.Stdout, w.store.Stderr = os.Stderr, os.Stderr
	if err := w.store.Start(); err != nil {
		w.store = nil
		return nil, err
	}
	return &lab.BackupStore{URL: "http://" + address, Bucket: "backups", AccessKey: "lab", SecretKey: "lab"}, nil
}

// freePorts are ports of the loopback interface that nothing listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
