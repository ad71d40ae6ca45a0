package world

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/host"
	"github.com/reroot-dev/reroot/test/lab/cluster"
	"github.com/reroot-dev/reroot/test/lab/ostree"
)

// kargs of every node of the lab.
var kargs = []string{"root=LABEL=root", "rw", "systemd.unified_cgroup_hierarchy=1"}

// Node is a node's disk with its cluster on it.
type Node struct {
	Dir       string // everything of the node
	Sysroot   string
	Stateroot string // the one that it was installed with
	Cluster   *cluster.Cluster
	Root      string     // of the deployment that it was installed with
	Host      *host.Host // the sysroot as a plain directory, seen from outside
}

// install makes a node: the cluster is provisioned, then an OS is deployed with the cluster's files on it.
func install(ctx context.Context, log io.Writer, dir string, tree ostree.Tree, opts cluster.Options) (*Node, error) {
	n := &Node{Dir: dir, Sysroot: filepath.Join(dir, "sysroot"), Stateroot: "rhcos_" + strings.ReplaceAll(tree.Version, "-", "_")}
	opts.Etc, opts.Var, opts.Auth = filepath.Join(dir, "etc"), filepath.Join(dir, "var"), filepath.Join(dir, "auth")
	opts.KernelArguments = kargs
	var err error
	if n.Cluster, err = cluster.Provision(ctx, opts); err != nil {
		return nil, fmt.Errorf("cannot provision cluster %s: %w", opts.Identity.ClusterName, err)
	}
	if err := os.WriteFile(filepath.Join(opts.Etc, "hostname"), []byte(opts.Identity.Hostname+"\n"), 0o644); err != nil {
		return nil, err
	}
	s, err := ostree.NewSysroot(ctx, log, n.Sysroot)
	if err != nil {
		return nil, err
	}
	d, err := s.Deploy(ctx, ostree.DeployOptions{Stateroot: n.Stateroot, Tree: tree, Kargs: kargs, Etc: opts.Etc, Var: opts.Var})
	if err != nil {
		return nil, fmt.Errorf("cannot deploy node %s: %w", opts.Identity.Hostname, err)
	}
	n.Root = d.Dir
	rootfs, err := ostree.Rootfs(ctx, log)
	if err != nil {
		return nil, err
	}
	command, err := ostree.Command(rootfs)
	if err != nil {
		return nil, err
	}
	n.Host = host.New(host.Options{Sysroot: n.Sysroot, Ostree: command})
	return n, nil
}

// devices makes what the target's node has beside its disk: programs that stand for container images, which OKD keeps
// on a partition that both stateroots share, and lab-kubelet, which stands for the kubelet.
func devices(dir string, programs map[string]string, ids ...cluster.Identity) (containers, libexec string, err error) {
	containers, libexec = filepath.Join(dir, "containers"), filepath.Join(dir, "libexec")
	links := map[string]string{filepath.Join(libexec, "lab-kubelet"): "lab-kubelet"}
	inContainers := func(path string) string {
		return filepath.Join(containers, strings.TrimPrefix(path, "/var/lib/containers"))
	}
	links[filepath.Join(inContainers(cluster.VeleroPluginDir), "velero-plugin-for-aws")] = "velero-plugin-for-aws"
	for _, id := range ids {
		images, err := cluster.ImageFiles(id)
		if err != nil {
			return "", "", err
		}
		for file, program := range images {
			links[filepath.Join(containers, "lab", "images", file)] = program
		}
	}
	for link, program := range links {
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			return "", "", err
		}
		if err := place(programs[program], link); err != nil {
			return "", "", fmt.Errorf("cannot give the node %s: %w", program, err)
		}
	}
	return containers, libexec, nil
}

// place makes a file appear at another path, by a hard link where the file system allows one.
func place(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return dst.Close()
}
