package crypto_test

import (
	"context"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest/fixture"
	"github.com/reroot-dev/reroot/node-executor/crypto/etcd"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// lab provisions clusters shaped like OKD's, which are generated, not captured.
type lab struct{ programs map[string]string }

func newLab(t *testing.T) lab {
	t.Helper()
	return lab{fixture.Programs(t)}
}

func (l lab) provision(t *testing.T, name, minor string) *cluster.Cluster {
	t.Helper()
	return fixture.Lab(t, l.programs, name, minor)
}

// keep reads what the target's clients trust, as an executor collects it before the pivot. The objects are read from
// the target's data directory.
func keep(t *testing.T, objects map[string]string) (rules plan.Rules) {
	t.Helper()
	for _, authority := range []string{"loadbalancer-serving-signer", "localhost-serving-signer", "service-network-serving-signer"} {
		rules.KeepKeys = append(rules.KeepKeys, keepKey(t, objects, "openshift-kube-apiserver-operator/"+authority))
	}
	rules.KeepKeys = append(rules.KeepKeys, keepKey(t, objects, "openshift-ingress-operator/router-ca"))
	bundle := objects["/kubernetes.io/configmaps/openshift-config/admin-kubeconfig-client-ca"]
	_, rest, _ := strings.Cut(bundle, "-----BEGIN CERTIFICATE-----")
	admin, err := pki.ParseCertificate(body(t, "-----BEGIN CERTIFICATE-----"+rest))
	if err != nil {
		t.Fatal(err)
	}
	rules.KeepCertificates = []plan.KeepCertificate{{Certificate: admin}}
	return rules
}

func keepKey(t *testing.T, objects map[string]string, secret string) plan.KeepKey {
	t.Helper()
	key := "/kubernetes.io/secrets/" + secret
	var rule plan.KeepKey
	rule.Site = key
	for rest := []byte(objects[key]); ; {
		i := strings.Index(string(rest), "-----BEGIN ")
		if i < 0 {
			break
		}
		var block *pem.Block
		if block, rest = pem.Decode(rest[i:]); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			c, err := pki.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			rule.CommonName, rule.SubjectKeyID = c.CommonName, c.SubjectKeyID
			continue
		}
		private, _, err := pki.ParsePrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		rule.Key = private
	}
	return rule
}

// identity renames everything that tells the seed from the target.
func identity(seed, target cluster.Identity) rename.Rules {
	port := func(old, renamed int) []rename.Rule {
		was, is := strconv.Itoa(old), strconv.Itoa(renamed)
		return []rename.Rule{
			rename.Port("127.0.0.1", old, renamed), rename.Setting("port", was, is), rename.Flag("secure-port", was, is),
		}
	}
	rules := rename.Rules{
		rename.Domain(seed.Domain(), target.Domain()),
		rename.InfraID(seed.InfraID, target.InfraID),
		rename.ClusterID(seed.ClusterID, target.ClusterID),
		rename.Hostname(seed.Hostname, target.Hostname),
	}
	rules = append(rules, port(seed.APIPort, target.APIPort)...)
	rules = append(rules, port(seed.EtcdClientPort, target.EtcdClientPort)...)
	rules = append(rules, port(seed.EtcdPeerPort, target.EtcdPeerPort)...)
	return rules
}

// A seed with its own etcd minor becomes the target, and a real etcd and API server say so.
func TestLabCluster(t *testing.T) {
	l := newLab(t)
	seed, target := l.provision(t, "seed", "3.6"), l.provision(t, "target", "3.5")
	seedDomain, seedAdmin := seed.Identity, clientConfig(t, seed.AdminKubeconfig)

	rules := asTarget(t, l, plan.Rules{Own: plan.DefaultOwn, External: plan.DefaultExternal, Validity: plan.Extend, Now: time.Now()}, seed, target)
	config := crypto.Config{
		Roots: []files.Root{{Host: seed.Etc, Node: "/etc"}, {Host: filepath.Join(seed.Var, "lib/kubelet"), Node: "/var/lib/kubelet"}},
		Etcd:  etcd.DataDir{Dir: filepath.Join(seed.Var, "lib/etcd"), Programs: map[string]string{"3.6": l.programs["etcd-3.6"]}, Runner: cryptotest.Runner{}},
		Rules: rules, Journal: filepath.Join(t.TempDir(), "journal"),
	}
	summary, err := crypto.Regenerate(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	logSummary(t, summary)

	renewed := *seed
	renewed.Identity = target.Identity
	renewed.Identity.Etcd = seed.Identity.Etcd
	clients := kubeconfigs(t, &renewed, renewed.Identity.APIURL(), l.objects(t, &renewed))
	plane, err := cluster.Start(t.Context(), cluster.StartOptions{Etc: renewed.Etc, Var: renewed.Var, Programs: l.programs, Identity: renewed.Identity})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Run("the target's administrator is let in", func(t *testing.T) {
		if user := whoami(t, clientConfig(t, target.AdminKubeconfig)); user != "system:admin" {
			t.Errorf("got user %q", user)
		}
	})
	t.Run("the seed's administrator is refused", func(t *testing.T) {
		stranger := rest.CopyConfig(seedAdmin)
		stranger.Host, stranger.CAData, stranger.ServerName = plane.Config.Host, plane.Config.CAData, plane.Config.ServerName
		_, err := clientset(t, stranger).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsUnauthorized(err) {
			t.Errorf("got error %v, want unauthorized", err)
		}
	})
	t.Run("every kubeconfig of the cluster is let in", func(t *testing.T) { letsIn(t, clients) })
	t.Run("tokens", func(t *testing.T) { reviewTokens(t, plane.Config, seed.LegacyToken) })
	t.Run("nothing is called as the seed's was", func(t *testing.T) { noNames(t, renewed.Etc, seedDomain) })
}

func logSummary(t *testing.T, s *crypto.Summary) {
	t.Helper()
	t.Logf("keys %v, certificates %v, tokens %v, sites %v of %d, %d bytes", s.Keys, s.Certificates, s.Tokens, s.Sites, s.SitesRead, s.BytesRead)
	for _, stage := range s.Timings {
		t.Logf("%s took %s", stage.Stage, stage.Duration.Round(time.Millisecond))
	}
}

func clientConfig(t *testing.T, kubeconfig string) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func clientset(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reviewTokens checks that the token in a secret was signed anew and the seed's is worth nothing.
func reviewTokens(t *testing.T, config *rest.Config, old string) {
	c := clientset(t, config)
	review := func(token string) bool {
		r, err := c.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Authenticated
	}
	if review(old) {
		t.Error("the seed's token is still accepted")
	}
	secrets, err := c.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{FieldSelector: "type=kubernetes.io/service-account-token"})
	if err != nil || len(secrets.Items) == 0 {
		t.Fatalf("got %d tokens, error %v", len(secrets.Items), err)
	}
	for _, s := range secrets.Items {
		if !review(string(s.Data["token"])) {
			t.Errorf("token of %s/%s is refused", s.Namespace, s.Name)
		}
	}
}

func noNames(t *testing.T, etc string, seed cluster.Identity) {
	err := filepath.WalkDir(etc, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for _, name := range []string{seed.Domain(), seed.InfraID, seed.ClusterID, seed.Hostname, strconv.Itoa(seed.APIPort), strconv.Itoa(seed.EtcdClientPort)} {
			if strings.Contains(string(content), name) || strings.Contains(entry.Name(), name) {
				t.Errorf("%s still says %s", path, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// objects reads a stopped cluster's key space with its own etcd.
func (l lab) objects(t *testing.T, c *cluster.Cluster) map[string]string {
	t.Helper()
	found := map[string]string{}
	cryptotest.ServeEtcd(t, l.programs["etcd-"+c.Identity.Etcd], filepath.Join(c.Var, "lib/etcd"), func(ctx context.Context, client *clientv3.Client) {
		err := etcd.New(client).Walk(ctx, func(s site.Site) error {
			found[s.Name] = string(s.Content)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	return found
}
