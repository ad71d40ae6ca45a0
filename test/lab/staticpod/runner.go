// Package staticpod is the lab's stand-in for a kubelet. It runs the static pods
// of a node as plain processes: no container runtime, no API server, no images.
//
// What is real: the v1.Pod manifests and the folder they lie in, the programs and
// their flags, environment and files, restarts with back-off, a PID namespace for
// each container, the order of signals at the end. What is not: mounts (a process
// sees the node's own files, so a hostPath must be mounted at its own path),
// limits, users, probes, pod status and mirror pods.
//
// The life of a pod:
//
//  1. [Runner.Run] reads the folder once a second. A new file is a pod to start, a
//     file with other content is a pod to restart, a missing file is one to end. A
//     manifest that says what cannot be honoured is refused, and what ran before
//     under its file name goes on running. As with a kubelet, every file counts whose
//     name does not begin with a dot: replace manifests by rename.
//  2. The annotation [AfterAnnotation] holds a pod back until the TCP port of another
//     one's startupProbe answers. A kubelet knows no order either; here it spares the
//     lab an API server's back-off while etcd is starting.
//  3. Each container's image names an executable, see [ImageFile]. Its command and
//     args become the arguments, the first of them being argv[0].
//  4. A process that ends is started again after 0.2 s, doubling to 5 s, or from 0.2 s
//     again once it ran for longer than 10 s.
//  5. A pod ends by SIGTERM and, 5 s later, SIGKILL; at the end of the runner after
//     the pods that waited for it. If the runner is killed, the kernel kills its
//     processes.
package staticpod

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// pollInterval is how often the manifest folder is read.
const pollInterval = time.Second

// Runner runs the static pods of one folder. It needs root, for PID namespaces.
type Runner struct {
	Manifests string // directory of v1.Pod files, YAML or JSON
	Images    string // directory of executables, see ImageFile
	Logs      string // directory that gets <pod>.log, created when missing
	Log       *slog.Logger
}

// Run runs the pods until ctx ends, then ends them all and returns nil. It fails
// only if it cannot begin: bad manifests and processes that end are logged and
// tried again.
func (r *Runner) Run(ctx context.Context) error {
	if err := os.MkdirAll(r.Logs, 0o755); err != nil {
		return fmt.Errorf("cannot make the log directory: %w", err)
	}
	node := &node{Runner: r, files: map[string]*file{}, probes: map[string]string{}}
	defer node.endAll()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		node.sync(context.WithoutCancel(ctx)) // endAll ends the pods, in order
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		}
	}
}

// node is what a running Runner knows.
type node struct {
	*Runner
	files   map[string]*file // by name
	problem string           // why the folder could not be read the last time

	mu     sync.Mutex
	probes map[string]string // TCP address of a pod's startupProbe, by pod name
}

// file is one manifest file: its content as last seen, which is nil once it is
// gone, and the pod that was last started from it.
type file struct {
	content []byte
	pod     *pod
}

// pod is one started pod.
type pod struct {
	name  string
	after string // the pod it waited for, or ""
	stop  context.CancelFunc
	done  chan struct{} // closed when its last process, and its predecessor's, have ended
}

// sync makes the running pods follow the folder.
func (n *node) sync(ctx context.Context) {
	contents, err := readManifests(n.Manifests)
	if err != nil {
		if n.problem != err.Error() {
			n.problem = err.Error()
			n.Log.Error("cannot read the manifests", "err", err)
		}
		return
	}
	n.problem = ""
	for name, f := range n.files {
		if _, there := contents[name]; !there && f.content != nil {
			f.content = nil
			n.end(f.pod)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(contents)) {
		n.syncFile(ctx, name, contents[name])
	}
}

// syncFile starts or restarts the pod of one file if its content is new.
func (n *node) syncFile(ctx context.Context, name string, content []byte) {
	f := n.files[name]
	if f == nil {
		f = &file{}
		n.files[name] = f
	}
	if bytes.Equal(f.content, content) {
		return
	}
	f.content = content
	manifest, err := ParseManifest(content)
	if err != nil {
		n.Log.Error("manifest refused", "file", name, "err", err)
		return
	}
	n.end(f.pod)
	f.pod = n.start(ctx, manifest, f.pod)
}

// start starts a pod as soon as its predecessor, which may be nil, has ended.
func (n *node) start(ctx context.Context, manifest *corev1.Pod, predecessor *pod) *pod {
	ctx, stop := context.WithCancel(ctx)
	started := &pod{name: manifest.Name, after: manifest.Annotations[AfterAnnotation], stop: stop, done: make(chan struct{})}
	n.mu.Lock()
	n.probes[manifest.Name] = probeAddress(manifest)
	n.mu.Unlock()
	go func() {
		defer close(started.done)
		defer stop()
		if predecessor != nil {
			<-predecessor.done
		}
		n.run(ctx, manifest)
	}()
	return started
}

// end begins to end a pod, which may be nil or ended already.
func (n *node) end(p *pod) {
	if p == nil {
		return
	}
	n.mu.Lock()
	delete(n.probes, p.name)
	n.mu.Unlock()
	p.stop()
}

// endAll ends all pods and waits: those first that no other pod has waited for. An
// API server takes a second to end while its etcd answers, and the whole grace
// period when it does not.
func (n *node) endAll() {
	var left []*pod
	for _, f := range n.files {
		if f.pod != nil {
			left = append(left, f.pod)
		}
	}
	for len(left) > 0 {
		needed := map[string]bool{}
		for _, p := range left {
			needed[p.after] = true
		}
		last := slices.DeleteFunc(slices.Clone(left), func(p *pod) bool { return needed[p.name] })
		if len(last) == 0 { // they wait for each other
			last = left
		}
		for _, p := range last {
			p.stop()
		}
		for _, p := range last {
			<-p.done
		}
		left = slices.DeleteFunc(slices.Clone(left), func(p *pod) bool { return slices.Contains(last, p) })
	}
}

// probe returns the TCP address that tells whether the named pod has started. It
// is "" for a pod without such a probe, and not ok for one that does not exist.
func (n *node) probe(name string) (address string, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	address, ok = n.probes[name]
	return address, ok
}
