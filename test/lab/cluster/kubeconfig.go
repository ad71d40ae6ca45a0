package cluster

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/reroot-dev/reroot/test/lab/cluster/pki"
)

// kubeletKubeconfig is the one file here that refers to other files, as on a node.
const kubeletKubeconfig = "/var/lib/kubelet/kubeconfig"

// A kubeconfig is a file with the credentials of one certificate.
type kubeconfig struct {
	file       string // on the node
	user       string // name of a certificate
	serverName string // which of the API server's certificates to expect
	object     string // "namespace/name/key" of a ConfigMap or Secret with the same content
	secret     bool   // object is a Secret
}

// controllerKubeconfig and veleroKubeconfig are named by static pod manifests.
const (
	controllerKubeconfig = controllerPod + "configmaps/controller-manager-kubeconfig/kubeconfig"
	veleroKubeconfig     = veleroPod + "configmaps/velero-kubeconfig/kubeconfig"
	// AdminNodeKubeconfig is a cluster administrator's kubeconfig that every node
	// has; the path is the node's.
	AdminNodeKubeconfig = nodeKubeconfigs + "lb-ext.kubeconfig"
)

func kubeconfigs(id Identity) []kubeconfig {
	const nodes = "openshift-kube-apiserver/node-kubeconfigs/"
	return []kubeconfig{
		{file: "/etc/kubernetes/kubeconfig", user: "kubelet", serverName: id.InternalAPIHost()},
		{file: nodeKubeconfigs + "localhost.kubeconfig", user: "node-system-admin", serverName: "localhost", object: nodes + "localhost.kubeconfig", secret: true},
		{file: nodeKubeconfigs + "localhost-recovery.kubeconfig", user: "node-system-admin", serverName: "localhost-recovery", object: nodes + "localhost-recovery.kubeconfig", secret: true},
		{file: AdminNodeKubeconfig, user: "node-system-admin", serverName: id.APIHost(), object: nodes + "lb-ext.kubeconfig", secret: true},
		{file: nodeKubeconfigs + "lb-int.kubeconfig", user: "node-system-admin", serverName: id.InternalAPIHost(), object: nodes + "lb-int.kubeconfig", secret: true},
		{file: controllerKubeconfig, user: "controller-manager", serverName: "localhost", object: "openshift-kube-controller-manager/controller-manager-kubeconfig/kubeconfig"},
		{file: veleroKubeconfig, user: "velero", serverName: "localhost"},
	}
}

// render is k's content: everything embedded.
func (k kubeconfig) render(id Identity, m *material) ([]byte, error) {
	pair := m.pairs[k.user]
	key, err := pair.KeyPEM()
	if err != nil {
		return nil, err
	}
	auth := &clientcmdapi.AuthInfo{ClientCertificateData: certificatePEM(pair), ClientKeyData: key}
	return encodeKubeconfig(id, k.user, k.serverName, m.bundlePEM(servingAuthorities), auth)
}

// encodeKubeconfig writes a kubeconfig with one context.
func encodeKubeconfig(id Identity, user, serverName string, ca []byte, auth *clientcmdapi.AuthInfo) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[id.ClusterName] = &clientcmdapi.Cluster{
		Server:                   id.APIURL(),
		TLSServerName:            serverName,
		CertificateAuthorityData: ca,
	}
	config.AuthInfos[user] = auth
	config.Contexts[user] = &clientcmdapi.Context{Cluster: id.ClusterName, AuthInfo: user, Namespace: "default"}
	config.CurrentContext = user
	data, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("cannot encode kubeconfig of %s: %w", user, err)
	}
	return data, nil
}

// certificatePEM is what goes with a key: a server's chain or a client's
// certificate alone.
func certificatePEM(pair *pki.Pair) []byte {
	if len(pair.Cert.DNSNames) > 0 {
		return pair.ChainPEM()
	}
	return pair.CertPEM()
}
