package staticpod_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/reroot-dev/reroot/test/lab/build"
)

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	configMaps      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// binaries builds, or finds in the cache, third-party executables.
func binaries(t *testing.T, names ...string) map[string]string {
	t.Helper()
	paths, err := build.Binaries(t.Context(), os.Stderr, names...)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// controlPlane is a node whose manifests are etcd, kube-apiserver and
// kube-controller-manager.
type controlPlane struct {
	*testNode
	client *rest.Config
}

// newControlPlane writes the manifests, keys and certificates of a control plane.
func newControlPlane(t *testing.T) *controlPlane {
	t.Helper()
	executables := binaries(t, "hyperkube", "etcd-3.5")
	n := newNode(t, map[string]string{
		"etcd-3.5":                        executables["etcd-3.5"],
		"kube-apiserver-v1.37.2":          executables["hyperkube"],
		"kube-controller-manager-v1.37.2": executables["hyperkube"],
	})
	certs := newPKI(t, filepath.Join(n.dir, "pki"))
	certs.serving("serving")
	certs.client("admin", "system:masters")
	certs.client("service-accounts", "")
	ports := freePorts(t, 3)
	etcd, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	n.put("etcd.yaml", manifest(t, "etcd", "lab.reroot.dev/etcd:3.5", []string{
		"etcd", "--name=lab", "--data-dir=" + filepath.Join(n.dir, "etcd"), "--log-level=warn",
		"--listen-client-urls=" + etcd, "--advertise-client-urls=" + etcd,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=lab=" + peer,
	}, probed(ports[0])))
	n.put("kube-apiserver.yaml", manifest(t, "kube-apiserver", "lab.reroot.dev/kube-apiserver:v1.37.2", []string{
		"hyperkube", "kube-apiserver", "--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + strconv.Itoa(ports[2]),
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC",
		"--client-ca-file=" + certs.path("ca.crt"), "--tls-cert-file=" + certs.path("serving.crt"), "--tls-private-key-file=" + certs.path("serving.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file=" + certs.path("service-accounts.key"), "--service-account-key-file=" + certs.path("service-accounts.crt"),
	}, after("etcd"), probed(ports[2])))
	c := &controlPlane{n, &rest.Config{
		Host: "https://" + loopback(ports[2]), QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: certs.path("ca.crt"), CertFile: certs.path("admin.crt"), KeyFile: certs.path("admin.key")},
	}}
	c.put("kube-controller-manager.yaml", manifest(t, "kube-controller-manager", "lab.reroot.dev/kube-controller-manager:v1.37.2", []string{
		"kube-controller-manager", "--kubeconfig=" + c.kubeconfig(), "--leader-elect=false", "--secure-port=0",
		"--use-service-account-credentials=true", "--service-account-private-key-file=" + certs.path("service-accounts.key"), "--root-ca-file=" + certs.path("ca.crt"),
	}, after("kube-apiserver")))
	return c
}

// kubeconfig writes the administrator's kubeconfig and returns its path.
func (c *controlPlane) kubeconfig() string {
	c.t.Helper()
	tls := c.client.TLSClientConfig
	name := filepath.Join(c.dir, "admin.kubeconfig")
	err := clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"lab": {Server: c.client.Host, CertificateAuthority: tls.CAFile}},
		AuthInfos:      map[string]*api.AuthInfo{"admin": {ClientCertificate: tls.CertFile, ClientKey: tls.KeyFile}},
		Contexts:       map[string]*api.Context{"lab": {Cluster: "lab", AuthInfo: "admin"}},
		CurrentContext: "lab",
	}, name)
	if err != nil {
		c.t.Fatal(err)
	}
	return name
}

// start starts lab-kubelet. The returned function ends it by a signal and
// returns how it ended.
func (c *controlPlane) start(kubelet string) (end func(os.Signal) error) {
	c.t.Helper()
	cmd := exec.Command(kubelet, "--manifests", c.manifests, "--images", c.imgs, "--logs", c.lgs)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	var ended error
	var once sync.Once
	end = func(signal os.Signal) error {
		once.Do(func() {
			if err := cmd.Process.Signal(signal); err != nil {
				c.t.Error(err)
			}
			ended = cmd.Wait()
		})
		return ended
	}
	c.t.Cleanup(func() {
		_ = end(syscall.SIGTERM)
		if c.t.Failed() {
			c.t.Logf("lab-kubelet:\n%s", output.String())
		}
	})
	return end
}

// get returns the body of a path of the API server, or "" if it does not answer.
func (c *controlPlane) get(path string) string {
	client, err := rest.HTTPClientFor(c.client)
	if err != nil {
		c.t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	response, err := client.Get(c.client.Host + path)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil || response.StatusCode != 200 {
		return ""
	}
	return body.String()
}

// processes returns the ids of the processes whose command line names the node's
// directory, by the last element of argv[0].
func (n *testNode) processes() map[string]int {
	found := map[string]int{}
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		n.t.Fatal(err)
	}
	for _, entry := range entries {
		data, err := os.ReadFile(entry)
		if err != nil || !strings.Contains(string(data), n.dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(entry)))
		if err != nil {
			n.t.Fatal(err)
		}
		name, _, _ := strings.Cut(string(data), "\x00")
		found[filepath.Base(name)] = pid
	}
	return found
}

func (c *controlPlane) awaitReady() {
	c.t.Helper()
	eventually(c.t, "the API server is ready", func() bool { return c.get("/readyz") == "ok" })
}

func labKubelet(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "lab-kubelet")
	if err := build.Program(t.Context(), build.ModulePath+"/test/lab/staticpod/cmd/lab-kubelet", program); err != nil {
		t.Fatal(err)
	}
	return program
}

func TestControlPlane(t *testing.T) {
	t.Parallel()
	kubelet := labKubelet(t)
	c := newControlPlane(t)
	end := c.start(kubelet)
	c.awaitReady()
	if version := c.get("/version"); !strings.Contains(version, `"gitVersion": "v1.37.2"`) {
		t.Errorf("the API server's version is %s", version)
	}
	client := dynamic.NewForConfigOrDie(c.client)
	create(t, client, namespaces, "", object("v1", "Namespace", "shop", nil))
	eventually(t, "the controller manager gives a namespace its service account", func() bool {
		_, err := in(client, serviceAccounts, "shop").Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil
	})

	before := c.processes()
	if err := syscall.Kill(before["hyperkube"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a killed API server is started again", func() bool {
		now := c.processes()
		return now["hyperkube"] != 0 && now["hyperkube"] != before["hyperkube"] && now["etcd"] == before["etcd"]
	})
	c.awaitReady()

	_ = end(syscall.SIGKILL)
	eventually(t, "no process outlives a killed lab-kubelet", func() bool { return len(c.processes()) == 0 })

	end = c.start(kubelet)
	c.awaitReady()
	if _, err := client.Resource(namespaces).Get(t.Context(), "shop", metav1.GetOptions{}); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if err := end(syscall.SIGTERM); err != nil {
		t.Errorf("lab-kubelet ended with %v", err)
	}
	if left := c.processes(); len(left) != 0 {
		t.Errorf("lab-kubelet left %v", left)
	}
}

// object returns a Kubernetes object; fields are those beside its identity.
func object(apiVersion, kind, name string, fields map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{}}
	for field, value := range fields {
		o.Object[field] = value
	}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetName(name)
	return o
}

func create(t *testing.T, client dynamic.Interface, resource schema.GroupVersionResource, namespace string, o *unstructured.Unstructured) {
	t.Helper()
	if _, err := in(client, resource, namespace).Create(context.Background(), o, metav1.CreateOptions{}); err != nil {
		t.Fatalf("cannot create %s %s: %v", o.GetKind(), o.GetName(), err)
	}
}

// in is the resource in a namespace, or in the cluster for "".
func in(client dynamic.Interface, resource schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return client.Resource(resource)
	}
	return client.Resource(resource).Namespace(namespace)
}
