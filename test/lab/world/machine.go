package world

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	api "github.com/reroot-dev/reroot/functions/cluster"
	"github.com/reroot-dev/reroot/node-executor/sandbox"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// machine is the sandbox that the target's node runs in.
type machine struct {
	process *exec.Cmd
	ended   chan struct{}
	socket  string
	console string
}

// boot starts the target's machine as a process of its own. Its devices hold the images of both clusters, as the
// container storage of a node does once the seed's images are precached.
func (w *World) boot(ctx context.Context, seedID cluster.Identity) (*machine, error) {
	containers, libexec, err := devices(w.Target.Dir, w.opts.Programs, w.Target.Cluster.Identity, seedID)
	if err != nil {
		return nil, err
	}
	m := &machine{
		socket: filepath.Join(w.Dir, "node.sock"), console: filepath.Join(w.Target.Dir, "console.log"), ended: make(chan struct{}),
	}
	config := sandbox.Config{
		Name: filepath.Base(w.Dir), Sysroot: w.Target.Sysroot, State: filepath.Join(w.Target.Dir, "machine"), Hostname: w.Target.Cluster.Identity.Hostname,
		Binds:   []sandbox.Bind{{Source: containers, Target: "/var/lib/containers"}, {Source: libexec, Target: "/usr/libexec/lab", ReadOnly: true}},
		Console: m.console, Socket: m.socket,
	}
	b, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(w.Target.Dir, "machine.json")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(w.Target.Dir, "machine.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	m.process = exec.Command(w.opts.Programs["reroot-sandbox"], "run", "--config", file)
	m.process.Stderr, m.process.Dir = log, "/"
	m.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGTERM}
	if err := m.process.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the target's machine: %w", err)
	}
	go func() { _ = m.process.Wait(); close(m.ended) }()
	w.Sandbox, w.Console = m.socket, m.console
	operators, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() { defer close(done); w.operate(operators) }()
	w.stops = append(w.stops, func() { stop(); <-done })
	return m, nil
}

func (m *machine) stop() {
	_ = m.process.Process.Signal(syscall.SIGTERM)
	<-m.ended
}

// ready waits until the target's API server says that it is.
func (m *machine) ready(ctx context.Context, config *rest.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	return poll(ctx, m.ended, func() error {
		req, err := newRequest(ctx, config.Host+"/readyz")
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return fmt.Errorf("it answers %s", resp.Status)
		}
		return nil
	})
}

// operate does what OKD's operators and the kubelet would: on every new incarnation of the target's API it reports the
// cluster healthy. Only its own cluster: until a new root has its identity, nobody is there to report.
func (w *World) operate(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	reported := ""
	for {
		if now, id, err := w.incarnation(ctx); err == nil && now != reported && id.Version != "" {
			if err := cluster.ReportHealthy(ctx, w.Admin, id); err == nil {
				reported = now
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// incarnation tells which etcd and which version answers; the identity is empty when it is not the target's cluster.
func (w *World) incarnation(ctx context.Context) (string, cluster.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	uid, err := w.API.Incarnation(ctx)
	if err != nil {
		return "", cluster.Identity{}, err
	}
	cv, err := w.API.Resource(api.ClusterVersions).Get(ctx, "version", metav1.GetOptions{})
	if err != nil {
		return "", cluster.Identity{}, err
	}
	id := w.Target.Cluster.Identity
	clusterID, _, _ := unstructured.NestedString(cv.Object, "spec", "clusterID")
	version, _, _ := unstructured.NestedString(cv.Object, "status", "desired", "version")
	if clusterID != id.ClusterID {
		return "", cluster.Identity{}, errors.NewNotFound(api.ClusterVersions.GroupResource(), id.ClusterID)
	}
	id.Version = version
	return uid + version, id, nil
}
