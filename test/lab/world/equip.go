package world

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/node-executor/executor/node"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// Programs on the target's node, in both of its roots: the command line and the executor's.
const (
	Reroot     = node.StateDir + "/bin/reroot"
	RerootNode = node.StateDir + "/bin/reroot-node"
)

// equip installs the executor on the target's node, as an administrator would: with `reroot-node install`. The command
// line goes beside it, since what is in /usr/local does not go along to a new root.
func (w *World) equip(ctx context.Context) error {
	w.say("installing the executor on it")
	images := "/var/lib/containers/lab/images/"
	journal := node.Journal{URL: w.JournalURL}
	if w.opts.Solo {
		journal = node.Journal{Embedded: true, Port: w.journalPort}
	}
	config, err := yaml.Marshal(node.Config{
		Cluster: w.Record.Cluster, Journal: journal, Kubeconfig: cluster.AdminNodeKubeconfig,
		Gated:    []string{"kubelet.service"}, // the lab has no CRI-O
		Etcd:     node.Etcd{Programs: map[string]string{"3.5": images + "etcd-3.5", "3.6": images + "etcd-3.6"}},
		Registry: node.Registry{Insecure: true}, // the lab's registry has no certificate
		// Overlay on overlay is not for every kernel; vfs copies, and the lab's images are small.
		Containers: node.Containers{Driver: "vfs"},
	})
	if err != nil {
		return err
	}
	file := filepath.Join(w.Target.Dir, "node.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	state, program := filepath.Join(w.Target.Sysroot, "reroot"), "reroot-node"
	breaks := w.opts.Fail != "" && sabotageOf(w.opts.Fail) == ""
	if breaks {
		program = faulty
	}
	install := exec.CommandContext(ctx, w.opts.Programs[program], "install", "--etc", filepath.Join(w.Target.Root, "etc"), "--state", state, "--config", file)
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot install the executor: %w: %s", err, out)
	}
	if err := place(w.opts.Programs["reroot"], filepath.Join(state, "bin", "reroot")); err != nil {
		return fmt.Errorf("cannot give the node the command line: %w", err)
	}
	if breaks {
		return os.WriteFile(filepath.Join(state, "fault-plan"), []byte(w.opts.Fail+" error\n"), 0o600)
	}
	return nil
}
