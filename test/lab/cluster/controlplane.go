package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/test/lab/staticpod"
)

const (
	// readyTimeout bounds a start, with room for a machine that builds as well.
	readyTimeout = time.Minute
	readyPoll    = 25 * time.Millisecond
	// logTail is how much of each log an error quotes, in bytes.
	logTail = 2 << 10
)

// StartOptions say which node's pods to run on this machine.
type StartOptions struct {
	Etc, Var string // the directories that are the node's /etc and /var
	// Programs is build.Binaries' result for the programs of Pods, see [ImageFiles].
	Programs map[string]string
	Identity Identity
	// Pods are the static pods to run, by default etcd and kube-apiserver.
	Pods []string
}

// ControlPlane is a node's static pods, running as processes of this machine.
type ControlPlane struct {
	// Config is the node's own administrator ([AdminNodeKubeconfig]).
	Config *rest.Config

	scratch string // manifests, images and logs of the processes
	cancel  context.CancelFunc
	ended   chan struct{} // closed when all processes have ended
	err     error         // valid then
}

// Start runs static pods of a node, as its manifests declare them but with opts.Etc
// and opts.Var in place of the paths /etc and /var in their commands. It returns
// when the API server says that it is ready. The pods run until Stop, the end of
// ctx or of this process. Start needs root, as package staticpod does.
func Start(ctx context.Context, opts StartOptions) (*ControlPlane, error) {
	d := disk{opts.Etc, opts.Var}
	config, err := clientcmd.BuildConfigFromFlags("", d.host(AdminNodeKubeconfig))
	if err != nil {
		return nil, fmt.Errorf("cannot read node's kubeconfig: %w", err)
	}
	scratch, err := os.MkdirTemp("", "reroot-lab-")
	if err != nil {
		return nil, fmt.Errorf("cannot start control plane: %w", err)
	}
	runner, err := newRunner(d, opts, scratch)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(scratch))
	}
	ctx, cancel := context.WithCancel(ctx)
	cp := &ControlPlane{Config: config, scratch: scratch, cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(cp.ended)
		cp.err = errors.Join(runner.Run(ctx), os.RemoveAll(scratch))
	}()
	if err := cp.waitReady(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start control plane: %w\n%s", err, cp.logs()), cp.Stop())
	}
	return cp, nil
}

// Stop ends the pods, the API server before etcd, and returns when they have.
func (cp *ControlPlane) Stop() error {
	cp.cancel()
	<-cp.ended
	return cp.err
}

// newRunner puts into dir what a runner of opts.Pods reads.
func newRunner(d disk, opts StartOptions, dir string) (*staticpod.Runner, error) {
	manifests, images := filepath.Join(dir, "manifests"), filepath.Join(dir, "images")
	for _, sub := range []string{manifests, images} {
		if err := os.Mkdir(sub, 0o755); err != nil {
			return nil, fmt.Errorf("cannot start control plane: %w", err)
		}
	}
	files, err := ImageFiles(opts.Identity)
	if err != nil {
		return nil, fmt.Errorf("cannot start control plane: %w", err)
	}
	for file, program := range files {
		if path, ok := opts.Programs[program]; ok {
			if err := os.Symlink(path, filepath.Join(images, file)); err != nil {
				return nil, fmt.Errorf("cannot start control plane: %w", err)
			}
		}
	}
	pods := opts.Pods
	if pods == nil {
		pods = []string{"etcd", "kube-apiserver"}
	}
	for _, name := range pods {
		data, err := hostManifest(d, name)
		if err != nil {
			return nil, fmt.Errorf("cannot start static pod %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(manifests, name+".yaml"), data, 0o644); err != nil {
			return nil, fmt.Errorf("cannot start static pod %s: %w", name, err)
		}
	}
	return &staticpod.Runner{Manifests: manifests, Images: images, Logs: dir, Log: slog.New(slog.DiscardHandler)}, nil
}

// hostManifest is the node's manifest of a pod with this machine's paths.
func hostManifest(d disk, name string) ([]byte, error) {
	data, err := os.ReadFile(d.host(ManifestDir + "/" + name + ".yaml"))
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, err
	}
	for _, container := range pod.Spec.Containers {
		for i, arg := range container.Command {
			container.Command[i] = d.rewrite(arg)
		}
	}
	return yaml.Marshal(pod)
}

// waitReady asks the API server until it says that it is ready.
func (cp *ControlPlane) waitReady(ctx context.Context) error {
	client, err := discovery.NewDiscoveryClientForConfig(cp.Config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		answer, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil && string(answer) == "ok" {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// logs is the end of what each pod has said. What cannot be read is missing.
func (cp *ControlPlane) logs() string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(cp.scratch, "*.log"))
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			continue
		}
		if info, err := file.Stat(); err == nil {
			tail, _ := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-logTail), logTail))
			fmt.Fprintf(&all, "%s: %s\n", filepath.Base(name), tail)
		}
		_ = file.Close()
	}
	return all.String()
}
