package crypto_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/test/lab/cluster"
)

// kubeconfigIn reads a text that may be one; nil when it is not.
func kubeconfigIn(text string) *clientcmdapi.Config {
	if !strings.Contains(text, "clusters") {
		return nil
	}
	config, err := clientcmd.Load([]byte(text))
	if err != nil || len(config.Clusters) == 0 || len(config.AuthInfos) == 0 {
		return nil
	}
	return config
}

// kubeconfigs are those of a stopped cluster by where they stand, found by what they say: in the files of the node, in Secrets
// and in ConfigMaps. What they refer to is read into them. One for a server at another address is left out.
func kubeconfigs(t *testing.T, c *cluster.Cluster, server string, objects map[string]string) map[string]*rest.Config {
	t.Helper()
	found := map[string]*rest.Config{}
	look := func(where, text string) {
		config := kubeconfigIn(text)
		if config == nil {
			return
		}
		for _, of := range config.Clusters {
			if of.Server != server {
				return
			}
			embed(t, c, &of.CertificateAuthority, &of.CertificateAuthorityData)
		}
		for _, user := range config.AuthInfos {
			embed(t, c, &user.ClientCertificate, &user.ClientCertificateData)
			embed(t, c, &user.ClientKey, &user.ClientKeyData)
		}
		client, err := clientcmd.NewDefaultClientConfig(*config, nil).ClientConfig()
		if err != nil {
			t.Errorf("%s: %v", where, err)
			return
		}
		found[where] = client
	}
	for _, dir := range []string{filepath.Join(c.Etc, "kubernetes"), filepath.Join(c.Var, "lib/kubelet")} {
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			look(path, string(content))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for key, value := range objects {
		switch {
		case strings.HasPrefix(key, "/kubernetes.io/secrets/"):
			for entry, content := range cryptotest.Decoded(t, value, &corev1.Secret{}).Data {
				look(key+" "+entry, string(content))
			}
		case strings.HasPrefix(key, "/kubernetes.io/configmaps/"):
			for entry, content := range cryptotest.Decoded(t, value, &corev1.ConfigMap{}).Data {
				look(key+" "+entry, content)
			}
		}
	}
	return found
}

// embed puts the content of a file of the node in the place of its path.
func embed(t *testing.T, c *cluster.Cluster, path *string, content *[]byte) {
	t.Helper()
	if *path == "" {
		return
	}
	host := filepath.Join(c.Etc, strings.TrimPrefix(*path, "/etc"))
	if below, ok := strings.CutPrefix(*path, "/var"); ok {
		host = filepath.Join(c.Var, below)
	}
	var err error
	if *content, err = os.ReadFile(host); err != nil {
		t.Fatal(err)
	}
	*path = ""
}

// minimumKubeconfigs is how many a cluster of the lab has at least: eight in files, the kubelet's that refers to its
// certificate among them, four in a Secret, one in a ConfigMap.
const minimumKubeconfigs = 13

// letsIn checks that the running server lets every client in.
func letsIn(t *testing.T, clients map[string]*rest.Config) {
	for where, config := range clients {
		if user := whoami(t, config); user == "" || strings.HasPrefix(user, "system:anonymous") {
			t.Errorf("%s: got user %q", where, user)
		}
	}
	if len(clients) < minimumKubeconfigs {
		t.Errorf("found %d kubeconfigs: %v", len(clients), clients)
	}
}

// refusesStrangers checks that the running server refuses every client of another one, also where that takes the running one
// for its own.
func refusesStrangers(t *testing.T, server *rest.Config, strangers map[string]*rest.Config) {
	if len(strangers) < minimumKubeconfigs {
		t.Errorf("got %d kubeconfigs of the seed", len(strangers))
	}
	for where, stranger := range strangers {
		stranger.Host, stranger.CAData, stranger.ServerName = server.Host, server.CAData, server.ServerName
		_, err := clientset(t, stranger).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{Limit: 1})
		if !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: got error %v, want unauthorized", where, err)
		}
	}
}

func whoami(t *testing.T, config *rest.Config) string {
	t.Helper()
	review, err := clientset(t, config).AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Error(err)
		return ""
	}
	return review.Status.UserInfo.Username
}
