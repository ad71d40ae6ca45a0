package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/reroot-dev/reroot/test/lab/build"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

func validIdentity() cluster.Identity {
	return cluster.Identity{
		ClusterName: "target", BaseDomain: "lab.example", InfraID: "target-x7k2p", ClusterID: "6b0b4dba-45e4-4b7e-8d8d-1f5a3c3f2a02",
		Hostname: "target-node", NodeIP: "192.168.126.10", Version: "4.17.0", Etcd: "3.5",
		APIPort: 6443, EtcdClientPort: 2379, EtcdPeerPort: 2380, VeleroMetricsPort: 8085, VeleroProfilerPort: 6060,
	}
}

func TestIdentityValidate(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(*cluster.Identity)
		want []string // in the error; none means valid
	}{
		{"valid", func(*cluster.Identity) {}, nil},
		{"no address of version 4", func(id *cluster.Identity) { id.NodeIP = "fd00::10" }, nil},
		{"no name", func(id *cluster.Identity) { id.ClusterName = "" }, []string{"ClusterName"}},
		{"host name leaves the directory", func(id *cluster.Identity) { id.Hostname = "../node" }, []string{"Hostname"}},
		{"no address", func(id *cluster.Identity) { id.NodeIP = "node" }, []string{"NodeIP"}},
		{"no version", func(id *cluster.Identity) { id.Version = "4.17" }, []string{"Version"}},
		{"unknown etcd", func(id *cluster.Identity) { id.Etcd = "3.4" }, []string{"Etcd"}},
		{"port of two", func(id *cluster.Identity) { id.EtcdPeerPort = id.EtcdClientPort }, []string{"EtcdClientPort and EtcdPeerPort"}},
		{"everything is said", func(id *cluster.Identity) { *id = cluster.Identity{} }, []string{
			"ClusterName", "BaseDomain", "InfraID", "ClusterID", "Hostname", "NodeIP", "Version", "Etcd ", "APIPort", "EtcdClientPort", "EtcdPeerPort", "VeleroMetricsPort", "VeleroProfilerPort",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			id := validIdentity()
			test.edit(&id)
			err := id.Validate()
			if (err != nil) != (test.want != nil) {
				t.Fatalf("error %v, want one: %t", err, test.want != nil)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not mention %q: %v", want, err)
				}
			}
		})
	}
}

func TestProvisionRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		edit func(*testing.T, *cluster.Options)
		want string
	}{
		{"bad identity", func(_ *testing.T, o *cluster.Options) { o.Identity.Etcd = "" }, "Etcd"},
		{"no directory", func(_ *testing.T, o *cluster.Options) { o.Auth = "" }, "Auth must be given"},
		{"a node's directory", func(t *testing.T, o *cluster.Options) {
			if err := os.MkdirAll(filepath.Join(o.Var, "lib", "etcd", "member"), 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is not empty"},
		{"definitions that are not there", func(_ *testing.T, o *cluster.Options) { o.CRDs = []string{"/nonexistent.yaml"} }, "/nonexistent.yaml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			opts := cluster.Options{Identity: validIdentity(), Etc: filepath.Join(dir, "etc"), Var: filepath.Join(dir, "var"), Auth: filepath.Join(dir, "auth")}
			test.edit(t, &opts)
			_, err := cluster.Provision(t.Context(), opts)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one about %q", err, test.want)
			}
			if entries, err := os.ReadDir(filepath.Join(dir, "etc")); err == nil && len(entries) > 0 {
				t.Errorf("wrote %s", entries[0].Name())
			}
		})
	}
}

// A cluster that is given up while it is being made leaves no process behind.
func TestProvisionIsGivenUp(t *testing.T) {
	programs, err := build.Binaries(t.Context(), os.Stderr, "hyperkube", "etcd-3.5")
	if err != nil {
		t.Fatal(err)
	}
	opts := options(t, programs, "target", "4.17.0", "3.5")
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() {
		defer cancel() // as soon as etcd answers
		err := wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(context.Context) (bool, error) {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", opts.Identity.EtcdClientPort))
			if err != nil {
				return false, nil
			}
			return true, conn.Close()
		})
		if err != nil {
			t.Errorf("etcd did not answer: %v", err)
		}
	})
	_, err = cluster.Provision(ctx, opts)
	cancel()
	watch.Wait()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was canceled", err)
	}
	for _, port := range []int{opts.Identity.APIPort, opts.Identity.EtcdClientPort, opts.Identity.EtcdPeerPort} {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Errorf("port is still used: %v", err)
			continue
		}
		_ = listener.Close()
	}
}
