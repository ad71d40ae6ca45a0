package staticpod_test

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/test/lab/staticpod"
)

// testNode is a directory with what a Runner needs of a node.
type testNode struct {
	t                    *testing.T
	dir                  string
	manifests, imgs, lgs string
}

func newNode(t *testing.T, images map[string]string) *testNode {
	t.Helper()
	dir := t.TempDir()
	n := &testNode{t, dir, filepath.Join(dir, "manifests"), filepath.Join(dir, "images"), filepath.Join(dir, "logs")}
	for _, d := range []string{n.manifests, n.imgs} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, executable := range images {
		if err := os.Symlink(executable, filepath.Join(n.imgs, name)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// run starts a Runner in this process; stop ends it and waits.
func (n *testNode) run() (log *safeBuffer, stop func()) {
	log = &safeBuffer{}
	runner := staticpod.Runner{Manifests: n.manifests, Images: n.imgs, Logs: n.lgs, Log: slog.New(slog.NewTextHandler(log, nil))}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- runner.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(stop)
	return log, stop
}

// put writes a manifest as the node's own components do: by rename.
func (n *testNode) put(name, content string) {
	n.t.Helper()
	temporary := filepath.Join(n.manifests, "."+name)
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(n.manifests, name)); err != nil {
		n.t.Fatal(err)
	}
}

// podLog returns what the processes of a pod have said so far.
func (n *testNode) podLog(pod string) string {
	data, err := os.ReadFile(filepath.Join(n.lgs, pod+".log"))
	if err != nil && !os.IsNotExist(err) {
		n.t.Error(err)
	}
	return string(data)
}

// podOption changes a pod that manifest makes.
type podOption func(*corev1.Pod)

func after(pod string) podOption {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{staticpod.AfterAnnotation: pod} }
}

func probed(port int) podOption {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			TCPSocket: &corev1.TCPSocketAction{Host: "127.0.0.1", Port: intstr.FromInt(port)}}}
	}
}

func env(name, value string) podOption {
	return func(p *corev1.Pod) {
		c := &p.Spec.Containers[0]
		c.Env = append(c.Env, corev1.EnvVar{Name: name, Value: value})
	}
}

func workingDir(dir string) podOption {
	return func(p *corev1.Pod) { p.Spec.Containers[0].WorkingDir = dir }
}

// manifest returns the YAML of a static pod with one container.
func manifest(t *testing.T, name, image string, command []string, options ...podOption) string {
	t.Helper()
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "kube-system"},
		Spec:       corev1.PodSpec{HostNetwork: true, Containers: []corev1.Container{{Name: name, Image: image, Command: command}}},
	}
	for _, option := range options {
		option(pod)
	}
	data, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// eventually polls until ok, or fails the test after a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// freePorts returns ports of 127.0.0.1 that nothing listens on.
func freePorts(t *testing.T, count int) []int {
	t.Helper()
	ports := make([]int, count)
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports
}

// loopback is the TCP address of a port on 127.0.0.1.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// answers reports whether something listens at a TCP address.
func answers(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// safeBuffer collects what several goroutines write.
type safeBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
