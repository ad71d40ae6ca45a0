package cluster_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/test/lab/build"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// world is two clusters that have nothing in common, at rest.
type world struct {
	seed, target *cluster.Cluster
	programs     map[string]string
}

func newWorld(t *testing.T) world {
	t.Helper()
	programs, err := build.Binaries(t.Context(), os.Stderr, "hyperkube", "etcd-3.5", "etcd-3.6", "velero", "velero-plugin-for-aws", "s3")
	if err != nil {
		t.Fatal(err)
	}
	programs["lab-oadp"] = filepath.Join(t.TempDir(), "lab-oadp")
	if err := build.Program(t.Context(), cluster.OADPProgram, programs["lab-oadp"]); err != nil {
		t.Fatal(err)
	}
	w := world{programs: programs}
	var group errgroup.Group
	provision := func(c **cluster.Cluster, opts cluster.Options) {
		group.Go(func() (err error) {
			start := time.Now()
			*c, err = cluster.Provision(t.Context(), opts)
			t.Logf("provisioned %s in %s", opts.Identity.ClusterName, time.Since(start).Round(time.Millisecond))
			return err
		})
	}
	provision(&w.seed, options(t, programs, "seed", "4.18.0", "3.6"))
	target := options(t, programs, "target", "4.17.0", "3.5")
	target.Backup = serveStore(t, programs["s3"])
	provision(&w.target, target)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*cluster.Cluster{w.target, w.seed} {
		installPlugin(t, c, programs["velero-plugin-for-aws"])
	}
	return w
}

// options are those of a cluster in a directory of the test.
func options(t *testing.T, programs map[string]string, name, version, etcd string) cluster.Options {
	t.Helper()
	dir, ports := t.TempDir(), freePorts(t, 5)
	return cluster.Options{
		Identity: cluster.Identity{
			ClusterName: name, BaseDomain: "lab.example", InfraID: name + "-x7k2p", ClusterID: uuid.NewString(),
			Hostname: name + "-node", NodeIP: "192.168.126.10", Version: version, Etcd: etcd,
			APIPort: ports[0], EtcdClientPort: ports[1], EtcdPeerPort: ports[2], VeleroMetricsPort: ports[3], VeleroProfilerPort: ports[4],
		},
		Etc: filepath.Join(dir, "etc"), Var: filepath.Join(dir, "var"), Auth: filepath.Join(dir, "auth"),
		Programs: programs, KernelArguments: []string{"systemd.unified_cgroup_hierarchy=1"},
	}
}

// move gives a cluster at rest other ports, as whatever reconfigures a node does:
// by replacing them in files.
func move(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	var pairs []string
	ports := freePorts(t, 3)
	for i, port := range []*int{&c.Identity.APIPort, &c.Identity.EtcdClientPort, &c.Identity.EtcdPeerPort} {
		for _, before := range []string{":", "=", ": "} {
			pairs = append(pairs, before+strconv.Itoa(*port), before+strconv.Itoa(ports[i]))
		}
		*port = ports[i]
	}
	replacer := strings.NewReplacer(pairs...)
	for _, dir := range []string{c.Etc, filepath.Dir(c.AdminKubeconfig)} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			return os.WriteFile(path, []byte(replacer.Replace(string(data))), 0) // keeps its mode
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// serve starts a cluster from its directories and returns its administrator.
func (w world) serve(t *testing.T, c *cluster.Cluster, pods ...string) *rest.Config {
	t.Helper()
	start := time.Now()
	cp, err := cluster.Start(t.Context(), cluster.StartOptions{Etc: c.Etc, Var: c.Var, Programs: w.programs, Identity: c.Identity, Pods: pods})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Logf("started %s in %s", c.Identity.ClusterName, time.Since(start).Round(time.Millisecond))
	config, err := clientcmd.BuildConfigFromFlags("", c.AdminKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func TestProvision(t *testing.T) {
	w := newWorld(t)
	target := w.serve(t, w.target, "etcd", "kube-apiserver", "kube-controller-manager", "velero", "oadp-operator")
	move(t, w.seed)
	seed := w.serve(t, w.seed, "etcd", "kube-apiserver", "velero", "oadp-operator")

	t.Run("cluster version", func(t *testing.T) {
		for config, c := range map[*rest.Config]*cluster.Cluster{target: w.target, seed: w.seed} {
			version := get(t, config, "config.openshift.io/v1/clusterversions", "", "version")
			id, _, _ := unstructured.NestedString(version.Object, "spec", "clusterID")
			desired, _, _ := unstructured.NestedString(version.Object, "status", "desired", "version")
			if id != c.Identity.ClusterID || desired != c.Identity.Version {
				t.Errorf("cluster %s: id %s, version %s", c.Identity.ClusterName, id, desired)
			}
		}
	})
	t.Run("other cluster's administrator is refused", func(t *testing.T) {
		// The stranger knows where the server is and trusts it.
		stranger := rest.CopyConfig(seed)
		stranger.Host, stranger.TLSClientConfig.CAData, stranger.TLSClientConfig.ServerName = target.Host, target.CAData, target.ServerName
		_, err := client(t, stranger).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsUnauthorized(err) {
			t.Errorf("got %v, want unauthorized", err)
		}
		// Nor does anybody trust a server of the other cluster.
		deceived := rest.CopyConfig(seed)
		deceived.Host = target.Host
		if _, err := client(t, deceived).Discovery().ServerVersion(); err == nil {
			t.Error("the target's API server passed for the seed's")
		}
	})
	t.Run("requested token", func(t *testing.T) {
		request, err := client(t, target).CoreV1().ServiceAccounts("openshift-monitoring").CreateToken(t.Context(), "prometheus-k8s", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		checkToken(t, target, request.Status.Token, true)
		checkToken(t, seed, request.Status.Token, false)
	})
	t.Run("token in a secret", func(t *testing.T) {
		checkToken(t, target, w.target.LegacyToken, true)
		checkToken(t, seed, w.target.LegacyToken, false)
	})
	t.Run("node's kubeconfigs", func(t *testing.T) { checkKubeconfigs(t, w.target) })
	t.Run("node's files", func(t *testing.T) { checkFiles(t, w.target) })
	t.Run("etcd", func(t *testing.T) { checkEtcd(t, w.target) })
	t.Run("backups are set up where asked for", func(t *testing.T) {
		for config, want := range map[*rest.Config]bool{target: true, seed: false} {
			for resource, name := range map[string]string{"velero.io/v1/backupstoragelocations": "default", "oadp.openshift.io/v1alpha1/dataprotectionapplications": "dpa"} {
				if _, err := lookup(t, config, resource, cluster.BackupNamespace, name); (err == nil) != want {
					t.Errorf("%s: error %v, want it there: %t", resource, err, want)
				}
			}
		}
	})
	t.Run("workload moves", func(t *testing.T) { checkWorkloadMoves(t, target, seed) })
	t.Run("health is reported again for another host name", func(t *testing.T) {
		renamed := w.seed.Identity
		renamed.Hostname = "renamed-node"
		if err := cluster.ReportHealthy(t.Context(), seed, renamed); err != nil {
			t.Fatal(err)
		}
		get(t, seed, "v1/nodes", "", "renamed-node")
	})
}

// checkKubeconfigs uses every kubeconfig below the node's /etc/kubernetes.
func checkKubeconfigs(t *testing.T, c *cluster.Cluster) {
	for path, user := range map[string]string{
		"kubeconfig": "system:node:" + c.Identity.Hostname,
		"static-pod-resources/kube-apiserver-certs/secrets/node-kubeconfigs/localhost.kubeconfig":                "system:admin",
		"static-pod-resources/kube-apiserver-certs/secrets/node-kubeconfigs/localhost-recovery.kubeconfig":       "system:admin",
		"static-pod-resources/kube-apiserver-certs/secrets/node-kubeconfigs/lb-ext.kubeconfig":                   "system:admin",
		"static-pod-resources/kube-apiserver-certs/secrets/node-kubeconfigs/lb-int.kubeconfig":                   "system:admin",
		"static-pod-resources/kube-controller-manager-pod-3/configmaps/controller-manager-kubeconfig/kubeconfig": "system:kube-controller-manager",
		"static-pod-resources/velero-pod-1/configmaps/velero-kubeconfig/kubeconfig":                              "velero",
	} {
		t.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(t *testing.T) {
			config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(c.Etc, "kubernetes", path))
			if err != nil {
				t.Fatal(err)
			}
			review, err := client(t, config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if got := review.Status.UserInfo.Username; got != user {
				t.Errorf("user %q, want %q", got, user)
			}
		})
	}
}

// checkFiles looks at everything that becomes the node's /etc: plain files, those
// with keys for root alone, and no certificate that nothing else there vouches for.
func checkFiles(t *testing.T, c *cluster.Cluster) {
	var certificates []*x509.Certificate
	roots := x509.NewCertPool()
	err := filepath.WalkDir(c.Etc, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if secret := bytes.Contains(data, []byte("PRIVATE KEY")) || strings.Contains(path, "kubeconfig"); !info.Mode().IsRegular() || secret && info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %s", path, info.Mode())
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return err
			}
			certificates = append(certificates, cert)
			if cert.IsCA {
				roots.AddCert(cert)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(certificates) < 30 {
		t.Errorf("only %d certificates", len(certificates))
	}
	for _, cert := range certificates {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", cert.Subject, err)
		}
	}
}

// checkEtcd reads the store as what regenerates its cryptography does: by OKD's
// keys, in the encodings that the API server stores.
func checkEtcd(t *testing.T, c *cluster.Cluster) {
	pod := filepath.Join(c.Etc, "kubernetes/static-pod-resources/kube-apiserver-pod-3")
	tls, err := transport.TLSInfo{
		CertFile:      filepath.Join(pod, "secrets/etcd-client/tls.crt"),
		KeyFile:       filepath.Join(pod, "secrets/etcd-client/tls.key"),
		TrustedCAFile: filepath.Join(pod, "configmaps/etcd-serving-ca/ca-bundle.crt"),
	}.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	store, err := clientv3.New(clientv3.Config{Endpoints: []string{fmt.Sprintf("https://127.0.0.1:%d", c.Identity.EtcdClientPort)}, TLS: tls, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for key, want := range map[string]string{
		"/kubernetes.io/secrets/openshift-kube-apiserver-operator/loadbalancer-serving-signer":                       "k8s\x00",
		"/kubernetes.io/secrets/openshift-ingress-operator/router-ca":                                                "k8s\x00",
		"/kubernetes.io/secrets/openshift-monitoring/prometheus-k8s-token-w7tq4":                                     "k8s\x00",
		"/kubernetes.io/configmaps/openshift-config/admin-kubeconfig-client-ca":                                      "k8s\x00",
		"/kubernetes.io/configmaps/openshift-kube-controller-manager/controller-manager-kubeconfig":                  "k8s\x00",
		"/kubernetes.io/machineconfiguration.openshift.io/machineconfigs/00-master":                                  "{",
		"/kubernetes.io/config.openshift.io/clusterversions/version":                                                 "{",
		"/kubernetes.io/apiextensions.k8s.io/customresourcedefinitions/dataprotectionapplications.oadp.openshift.io": "{",
	} {
		answer, err := store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Kvs) != 1 || !bytes.HasPrefix(answer.Kvs[0].Value, []byte(want)) {
			t.Errorf("%s: %d values, want one that begins with %q", key, len(answer.Kvs), want)
		}
	}
}

func checkToken(t *testing.T, config *rest.Config, token string, want bool) {
	t.Helper()
	review, err := client(t, config).AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if review.Status.Authenticated != want {
		t.Errorf("authenticated %t, want %t: %s", review.Status.Authenticated, want, review.Status.Error)
	}
}

func client(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// get reads an object that must be there.
func get(t *testing.T, config *rest.Config, resource, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	object, err := lookup(t, config, resource, namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// lookup reads one object; resource is "group/version/plural", without group for
// the core ones.
func lookup(t *testing.T, config *rest.Config, resource, namespace, name string) (*unstructured.Unstructured, error) {
	t.Helper()
	dir, plural := filepath.Split(resource)
	version, err := schema.ParseGroupVersion(filepath.Clean(dir))
	if err != nil {
		t.Fatal(err)
	}
	return dynamic.NewForConfigOrDie(config).Resource(version.WithResource(plural)).Namespace(namespace).Get(t.Context(), name, metav1.GetOptions{})
}
