package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

const (
	// readyTimeout bounds a start, with room for a machine that builds as well.
	readyTimeout = 2 * time.Minute
	readyPoll    = 25 * time.Millisecond
	// stopGrace is how long a component may take to end by itself.
	stopGrace = 20 * time.Second
	// logTail is how much of a log an error quotes, in bytes.
	logTail = 2 << 10
)

// ControlPlane is a node's etcd and kube-apiserver, running as processes of this
// machine.
type ControlPlane struct {
	// Config is the node's own administrator ([AdminNodeKubeconfig]).
	Config *rest.Config

	running []*component // in the order of their start
	stop    func() error // ends them, once
	forget  func() bool  // ends the wait for the context's end
}

// StartOptions say which node's control plane to start.
type StartOptions struct {
	Etc string // the directory that is the node's /etc
	Var string // and its /var
	// Programs is the result of build.Binaries for "hyperkube" and the node's etcd.
	Programs map[string]string
	// Identity is only used to find the images' programs.
	Identity Identity
}

// Start runs the etcd and the kube-apiserver that the node's static pod manifests
// declare, with the paths in their commands replaced by opts.Etc and opts.Var, and
// returns when the API server says that it is ready. They run until Stop, the
// end of ctx or of this process.
func Start(ctx context.Context, opts StartOptions) (*ControlPlane, error) {
	d := disk{opts.Etc, opts.Var}
	config, err := clientcmd.BuildConfigFromFlags("", d.host(AdminNodeKubeconfig))
	if err != nil {
		return nil, fmt.Errorf("cannot read node's kubeconfig: %w", err)
	}
	cp := &ControlPlane{Config: config, forget: func() bool { return true }}
	cp.stop = sync.OnceValue(cp.stopAll)
	for _, name := range []string{"etcd", "kube-apiserver"} {
		c, err := startComponent(d, name, ImageFiles(opts.Identity), opts.Programs)
		if err != nil {
			return nil, errors.Join(err, cp.Stop())
		}
		cp.running = append(cp.running, c)
	}
	// When ctx ends, so do they, in their order: an API server without etcd does not
	// end by itself.
	stop := cp.stop
	cp.forget = context.AfterFunc(ctx, func() { _ = stop() })
	if err := cp.waitReady(ctx); err != nil {
		return nil, errors.Join(err, cp.Stop())
	}
	return cp, nil
}

func (cp *ControlPlane) waitReady(ctx context.Context) error {
	client, err := discovery.NewDiscoveryClientForConfig(cp.Config)
	if err != nil {
		return fmt.Errorf("cannot make client: %w", err)
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
		for _, c := range cp.running {
			select {
			case <-c.ended:
				return fmt.Errorf("cannot start control plane: %s ended: %w\n%s", c.name, c.err, c.tail())
			default:
			}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			last := cp.running[len(cp.running)-1]
			return fmt.Errorf("cannot start control plane: not ready: %w\n%s", errors.Join(ctx.Err(), err), last.tail())
		}
	}
}

// Stop ends the API server and then etcd, and returns when both have ended. Both
// write what they have before they end; one that does not within stopGrace is
// killed, which is an error. Stop may be called again, and says the same.
func (cp *ControlPlane) Stop() error {
	cp.forget()
	return cp.stop()
}

func (cp *ControlPlane) stopAll() error {
	var problems []error
	for i := len(cp.running) - 1; i >= 0; i-- {
		problems = append(problems, cp.running[i].stop())
	}
	return errors.Join(problems...)
}

// A component is one process of a control plane.
type component struct {
	name   string
	cancel context.CancelFunc
	log    *os.File
	ended  chan struct{} // closed when the process has ended
	err    error         // how; valid after ended
}

func startComponent(d disk, name string, images, programs map[string]string) (*component, error) {
	pod, err := readManifest(d, name)
	if err != nil {
		return nil, err
	}
	container := pod.Spec.Containers[0]
	program, ok := programs[images[imageFile(container.Image)]]
	if !ok {
		return nil, fmt.Errorf("cannot start %s: no program for image %s", name, container.Image)
	}
	log, err := os.CreateTemp("", "reroot-"+name+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("cannot make log of %s: %w", name, err)
	}
	// The log is only for errors: nameless, it cannot be left behind.
	if err := os.Remove(log.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make log of %s: %w", name, err), log.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = nil // a static pod's argv[0] is its command's, by which hyperkube knows who to be
	for _, arg := range container.Command {
		cmd.Args = append(cmd.Args, d.rewrite(arg))
	}
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Dir = filepath.Dir(d.host("/var/lib"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c := &component{name: name, cancel: cancel, log: log, ended: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("cannot start %s: %w", name, err), log.Close())
	}
	go func() {
		defer close(c.ended)
		c.err = cmd.Wait()
	}()
	return c, nil
}

// readManifest reads the static pod of the given name. The data comes from this
// package; what is checked is that it is a pod to start.
func readManifest(d disk, name string) (*corev1.Pod, error) {
	data, err := os.ReadFile(d.host(ManifestDir + "/" + name + ".yaml"))
	if err != nil {
		return nil, fmt.Errorf("cannot read static pod %s: %w", name, err)
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, fmt.Errorf("cannot read static pod %s: %w", name, err)
	}
	if len(pod.Spec.Containers) != 1 || len(pod.Spec.Containers[0].Command) == 0 {
		return nil, fmt.Errorf("cannot start static pod %s: not one container with a command", name)
	}
	return pod, nil
}

// stop asks the process to end and waits until it has.
func (c *component) stop() error {
	c.cancel()
	<-c.ended
	defer c.log.Close()
	var exit *exec.ExitError
	switch {
	case errors.Is(c.err, context.Canceled), errors.As(c.err, &exit) && !signaled(exit, syscall.SIGKILL), c.err == nil:
		return nil
	}
	return fmt.Errorf("cannot stop %s: %w\n%s", c.name, c.err, c.tail())
}

func signaled(exit *exec.ExitError, signal syscall.Signal) bool {
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == signal
}

// tail is the end of the component's log.
func (c *component) tail() []byte {
	info, err := c.log.Stat()
	if err != nil {
		return nil
	}
	// What cannot be read is missing from an error that is returned anyway.
	tail, _ := io.ReadAll(io.NewSectionReader(c.log, max(0, info.Size()-logTail), logTail))
	return tail
}
