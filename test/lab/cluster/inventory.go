package cluster

import (
	"crypto/x509/pkix"
	"fmt"
	"slices"
	"time"

	"github.com/reroot-dev/reroot/test/lab/cluster/pki"
)

// Directories of a node's static pods. The "-pod-3" ones hold what belongs to one
// revision of a pod, the "-certs" ones what is renewed without a new revision.
const (
	resources         = "/etc/kubernetes/static-pod-resources/"
	apiserverCerts    = resources + "kube-apiserver-certs/"
	apiserverPod      = resources + "kube-apiserver-pod-3/"
	controllerCerts   = resources + "kube-controller-manager-certs/"
	controllerPod     = resources + "kube-controller-manager-pod-3/"
	etcdCerts         = resources + "etcd-certs/"
	veleroPod         = resources + "velero-pod-1/"
	nodeKubeconfigs   = apiserverCerts + "secrets/node-kubeconfigs/"
	kubeletClientPair = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	kubeletServerPair = "/var/lib/kubelet/pki/kubelet-server-current.pem"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// An authority is a self-signed signer. name is how the other tables call it.
type authority struct {
	name     string
	subject  pkix.Name
	alg      pki.Algorithm
	validity time.Duration
	secrets  []string // "namespace/name" of Secrets with its certificate and key
	files    []string // likewise on disk: these paths + ".crt" and ".key"
	// keyless: OKD's installer throws the private key away after issuing, and no
	// node ever sees it.
	keyless bool
}

// A certificate is what an authority issues. One with hosts is a server's, one
// with client is a client's.
type certificate struct {
	name     string
	signer   string
	subject  pkix.Name
	hosts    []string
	client   bool
	alg      pki.Algorithm
	validity time.Duration
	secrets  []string
	files    []string
}

// A bundle is a list of authorities that somebody trusts, in many places.
type bundle struct {
	members    []string
	configMaps []string // "namespace/name", with the key ca-bundle.crt, or "namespace/name/key"
	files      []string
}

// inventory is the cryptography of one cluster: names and places after OKD's
// registry of TLS artifacts (openshift/api, tls/) and the nodes' directories that
// its operators fill.
type inventory struct {
	authorities  []authority
	certificates []certificate
	bundles      []bundle
	boundTokens  pki.Algorithm // of the key that signs the API server's own tokens
}

func newInventory(id Identity, now time.Time) inventory {
	return inventory{
		authorities:  authorities(now),
		certificates: append(servingCertificates(id), clientCertificates(id)...),
		bundles:      bundles(),
		boundTokens:  pki.RSA2048,
	}
}

// asOnOKD gives every key the algorithm and size that OKD's has: RSA but for the
// kubelet's. The tables have elliptic ones too, to save time.
func (inv inventory) asOnOKD() inventory {
	for i := range inv.authorities {
		inv.authorities[i].alg = pki.RSA2048
	}
	for i, c := range inv.certificates {
		if c.signer != "csr-signer" {
			inv.certificates[i].alg = pki.RSA2048
		}
	}
	inv.boundTokens = pki.RSA4096
	return inv
}

// installed is the subject of what the installer makes, stamped that of what
// library-go's operators make: they append the time.
func installed(cn string) pkix.Name {
	return pkix.Name{CommonName: cn, OrganizationalUnit: []string{"openshift"}}
}

func stamped(cn string, at time.Time) pkix.Name {
	return pkix.Name{CommonName: fmt.Sprintf("%s@%d", cn, at.Unix())}
}

func authorities(now time.Time) []authority {
	const operator = "openshift-kube-apiserver-operator/"
	return []authority{
		{name: "loadbalancer-serving-signer", subject: installed("kube-apiserver-lb-signer"), alg: pki.RSA2048, validity: 10 * year, secrets: []string{operator + "loadbalancer-serving-signer"}},
		{name: "localhost-serving-signer", subject: installed("kube-apiserver-localhost-signer"), alg: pki.RSA2048, validity: 10 * year, secrets: []string{operator + "localhost-serving-signer"}},
		{name: "service-network-serving-signer", subject: installed("kube-apiserver-service-network-signer"), alg: pki.RSA2048, validity: 10 * year, secrets: []string{operator + "service-network-serving-signer"}},
		{name: "localhost-recovery-serving-signer", subject: stamped("openshift-kube-apiserver-operator_localhost-recovery-serving-signer", now), alg: pki.P256, validity: 10 * year, secrets: []string{operator + "localhost-recovery-serving-signer"}},
		{name: "kube-control-plane-signer", subject: stamped("openshift-kube-apiserver-operator_kube-control-plane-signer", now), alg: pki.RSA2048, validity: year, secrets: []string{operator + "kube-control-plane-signer"}},
		{name: "kube-apiserver-to-kubelet-signer", subject: stamped("openshift-kube-apiserver-operator_kube-apiserver-to-kubelet-signer", now), alg: pki.P256, validity: year, secrets: []string{operator + "kube-apiserver-to-kubelet-signer"}},
		{name: "aggregator-client-signer", subject: stamped("openshift-kube-apiserver-operator_aggregator-client-signer", now), alg: pki.P384, validity: 30 * day, secrets: []string{operator + "aggregator-client-signer"}},
		{name: "node-system-admin-signer", subject: stamped("openshift-kube-apiserver-operator_node-system-admin-signer", now), alg: pki.P256, validity: year, secrets: []string{operator + "node-system-admin-signer"}},
		{name: "csr-signer", subject: stamped("kube-csr-signer_", now), alg: pki.RSA2048, validity: 30 * day,
			secrets: []string{"openshift-kube-controller-manager-operator/csr-signer", "openshift-kube-controller-manager/csr-signer"},
			files:   []string{controllerCerts + "secrets/csr-signer/tls"}},
		{name: "etcd-signer", subject: stamped("openshift-etcd_etcd-signer", now), alg: pki.RSA2048, validity: 5 * year, secrets: []string{"openshift-etcd/etcd-signer", "openshift-config/etcd-signer"}},
		{name: "router-ca", subject: stamped("ingress-operator", now), alg: pki.RSA2048, validity: 2 * year, secrets: []string{"openshift-ingress-operator/router-ca"}},
		{name: "service-ca", subject: stamped("openshift-service-serving-signer", now), alg: pki.P256, validity: 26 * 30 * day, secrets: []string{"openshift-service-ca/signing-key"}},
		{name: "admin-kubeconfig-signer", subject: installed("admin-kubeconfig-signer"), alg: pki.P256, validity: 10 * year, keyless: true},
		{name: "root-ca", subject: installed("root-ca"), alg: pki.P256, validity: 10 * year, keyless: true},
		// A public authority that the cluster trusts and has nothing to do with.
		{name: "public-root", subject: pkix.Name{CommonName: "Lab Public Root R1", Organization: []string{"Lab Trust Services"}, Country: []string{"DE"}}, alg: pki.P384, validity: 15 * year, keyless: true},
	}
}

func servingCertificates(id Identity) []certificate {
	const namespace = "openshift-kube-apiserver/"
	serviceNetwork := []string{"172.30.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "openshift", "openshift.default", "openshift.default.svc", "openshift.default.svc.cluster.local"}
	etcdHosts := []string{"localhost", "127.0.0.1", "::1", id.NodeIP, id.Hostname, "etcd.kube-system.svc", "etcd.openshift-etcd.svc", "etcd.openshift-etcd.svc.cluster.local"}
	served := []certificate{
		{name: "external-loadbalancer-serving", signer: "loadbalancer-serving-signer", hosts: []string{id.APIHost()}, alg: pki.RSA2048,
			secrets: []string{namespace + "external-loadbalancer-serving-certkey"}, files: []string{apiserverCerts + "secrets/external-loadbalancer-serving-certkey/tls"}},
		{name: "internal-loadbalancer-serving", signer: "loadbalancer-serving-signer", hosts: []string{id.InternalAPIHost(), id.NodeIP}, alg: pki.P256,
			secrets: []string{namespace + "internal-loadbalancer-serving-certkey"}, files: []string{apiserverCerts + "secrets/internal-loadbalancer-serving-certkey/tls"}},
		{name: "localhost-serving", signer: "localhost-serving-signer", hosts: []string{"localhost", "127.0.0.1"}, alg: pki.P256,
			secrets: []string{namespace + "localhost-serving-cert-certkey"}, files: []string{apiserverCerts + "secrets/localhost-serving-cert-certkey/tls"}},
		{name: "service-network-serving", signer: "service-network-serving-signer", hosts: serviceNetwork, alg: pki.RSA2048,
			secrets: []string{namespace + "service-network-serving-certkey"}, files: []string{apiserverCerts + "secrets/service-network-serving-certkey/tls"}},
		{name: "localhost-recovery-serving", signer: "localhost-recovery-serving-signer", hosts: []string{"localhost-recovery"}, alg: pki.P256, validity: 10 * year,
			secrets: []string{namespace + "localhost-recovery-serving-certkey", namespace + "localhost-recovery-serving-certkey-3"}, files: []string{apiserverPod + "secrets/localhost-recovery-serving-certkey/tls"}},
		{name: "etcd-peer", signer: "etcd-signer", subject: pkix.Name{CommonName: "system:etcd-peer:" + id.Hostname, Organization: []string{"system:etcd-peers"}}, hosts: etcdHosts, client: true, alg: pki.P256, validity: 3 * year,
			secrets: []string{"openshift-etcd/etcd-peer-" + id.Hostname}, files: []string{etcdFile("peer", id)}},
		{name: "etcd-serving", signer: "etcd-signer", subject: pkix.Name{CommonName: "system:etcd-server:" + id.Hostname, Organization: []string{"system:etcd-servers"}}, hosts: etcdHosts, client: true, alg: pki.P256, validity: 3 * year,
			secrets: []string{"openshift-etcd/etcd-serving-" + id.Hostname}, files: []string{etcdFile("serving", id)}},
		{name: "etcd-serving-metrics", signer: "etcd-signer", subject: pkix.Name{CommonName: "system:etcd-metric:" + id.Hostname, Organization: []string{"system:etcd-metrics"}}, hosts: etcdHosts, client: true, alg: pki.P256, validity: 3 * year,
			secrets: []string{"openshift-etcd/etcd-serving-metrics-" + id.Hostname}, files: []string{etcdFile("serving-metrics", id)}},
		{name: "kubelet-server", signer: "csr-signer", subject: pkix.Name{CommonName: "system:node:" + id.Hostname, Organization: []string{"system:nodes"}}, hosts: []string{id.Hostname, id.NodeIP}, alg: pki.P256, validity: 30 * day},
		{name: "machine-config-server", signer: "root-ca", hosts: []string{id.InternalAPIHost(), id.NodeIP}, alg: pki.RSA2048, validity: 10 * year, secrets: []string{"openshift-machine-config-operator/machine-config-server-tls"}},
		{name: "router", signer: "router-ca", hosts: []string{id.AppsHost()}, alg: pki.RSA2048, validity: 2 * year, secrets: []string{"openshift-ingress/router-certs-default"}},
	}
	for _, service := range []struct{ namespace, service, secret string }{
		{"openshift-cluster-version", "cluster-version-operator", "cluster-version-operator-serving-cert"},
		{"openshift-console", "console", "console-serving-cert"},
		{"openshift-monitoring", "prometheus-k8s", "prometheus-k8s-tls"},
	} {
		host := service.service + "." + service.namespace + ".svc"
		served = append(served, certificate{name: service.secret, signer: "service-ca", hosts: []string{host, host + ".cluster.local"}, alg: pki.P256, validity: 2 * year,
			secrets: []string{service.namespace + "/" + service.secret}})
	}
	return served
}

// etcdFile is where the node has etcd's certificate of a kind, without suffix.
// The node's name is in the file's name, as in OKD.
func etcdFile(kind string, id Identity) string {
	return etcdCerts + "secrets/etcd-all-certs/etcd-" + kind + "-" + id.Hostname
}

func clientCertificates(id Identity) []certificate {
	const namespace = "openshift-kube-apiserver/"
	user := func(cn string, groups ...string) pkix.Name {
		return pkix.Name{CommonName: cn, Organization: groups}
	}
	issued := []certificate{
		{name: "aggregator-client", signer: "aggregator-client-signer", subject: user("system:openshift-aggregator"), alg: pki.P256,
			secrets: []string{namespace + "aggregator-client"}, files: []string{apiserverCerts + "secrets/aggregator-client/tls"}},
		{name: "kubelet-client", signer: "kube-apiserver-to-kubelet-signer", subject: user("system:kube-apiserver", "kube-master"), alg: pki.P256,
			secrets: []string{namespace + "kubelet-client"}, files: []string{apiserverCerts + "secrets/kubelet-client/tls"}},
		{name: "check-endpoints-client", signer: "kube-control-plane-signer", subject: user("system:serviceaccount:openshift-kube-apiserver:check-endpoints"), alg: pki.P256,
			secrets: []string{namespace + "check-endpoints-client-cert-key"}, files: []string{apiserverCerts + "secrets/check-endpoints-client-cert-key/tls"}},
		{name: "control-plane-node-admin", signer: "kube-control-plane-signer", subject: user("system:control-plane-node-admin", "system:masters"), alg: pki.P256,
			secrets: []string{namespace + "control-plane-node-admin-client-cert-key"}, files: []string{apiserverCerts + "secrets/control-plane-node-admin-client-cert-key/tls"}},
		{name: "controller-manager", signer: "kube-control-plane-signer", subject: user("system:kube-controller-manager"), alg: pki.RSA2048,
			secrets: []string{"openshift-config-managed/kube-controller-manager-client-cert-key", "openshift-kube-controller-manager/kube-controller-manager-client-cert-key"},
			files:   []string{controllerCerts + "secrets/kube-controller-manager-client-cert-key/tls"}},
		{name: "scheduler", signer: "kube-control-plane-signer", subject: user("system:kube-scheduler"), alg: pki.P256,
			secrets: []string{"openshift-config-managed/kube-scheduler-client-cert-key", "openshift-kube-scheduler/kube-scheduler-client-cert-key"}},
		{name: "node-system-admin", signer: "node-system-admin-signer", subject: user("system:admin", "system:masters"), alg: pki.P256,
			secrets: []string{"openshift-kube-apiserver-operator/node-system-admin-client"}},
		{name: "etcd-client", signer: "etcd-signer", subject: user("system:etcd-client"), alg: pki.P256, validity: 3 * year,
			secrets: []string{"openshift-config/etcd-client", "openshift-etcd/etcd-client", namespace + "etcd-client", namespace + "etcd-client-3"},
			files:   []string{apiserverPod + "secrets/etcd-client/tls"}},
		{name: "kubelet", signer: "csr-signer", subject: user("system:node:"+id.Hostname, "system:nodes"), alg: pki.P256, validity: 30 * day},
		{name: "velero", signer: "kube-control-plane-signer", subject: user("velero", "system:masters"), alg: pki.P256, validity: year},
		{name: "admin", signer: "admin-kubeconfig-signer", subject: user("system:admin", "system:masters"), alg: pki.P256, validity: 10 * year},
	}
	for i := range issued {
		issued[i].client = true
	}
	return issued
}

var (
	// clientAuthorities vouch for the API server's clients.
	clientAuthorities = []string{"kube-control-plane-signer", "kube-apiserver-to-kubelet-signer", "csr-signer", "node-system-admin-signer", "admin-kubeconfig-signer"}
	// servingAuthorities vouch for the API server, by whatever name.
	servingAuthorities = []string{"loadbalancer-serving-signer", "localhost-serving-signer", "service-network-serving-signer", "localhost-recovery-serving-signer"}
	// podAuthorities are what pods trust: the API server and the ingress.
	podAuthorities = slices.Concat(servingAuthorities, []string{"router-ca"})
)

func bundles() []bundle {
	const (
		operator   = "openshift-kube-apiserver-operator/"
		controller = "openshift-kube-controller-manager"
	)
	etcd := []string{"etcd-signer"}
	return []bundle{
		{members: clientAuthorities,
			configMaps: []string{"openshift-config-managed/kube-apiserver-client-ca", "openshift-kube-apiserver/client-ca", controller + "/client-ca", "openshift-controller-manager/client-ca", "openshift-route-controller-manager/client-ca"},
			files:      []string{apiserverCerts + "configmaps/client-ca/ca-bundle.crt", controllerCerts + "configmaps/client-ca/ca-bundle.crt", "/etc/kubernetes/kubelet-ca.crt"}},
		{members: []string{"admin-kubeconfig-signer"}, configMaps: []string{"openshift-config/admin-kubeconfig-client-ca"}},
		{members: []string{"aggregator-client-signer"},
			configMaps: []string{"openshift-config-managed/kube-apiserver-aggregator-client-ca", "openshift-kube-apiserver/aggregator-client-ca", controller + "/aggregator-client-ca"},
			files:      []string{apiserverCerts + "configmaps/aggregator-client-ca/ca-bundle.crt", controllerCerts + "configmaps/aggregator-client-ca/ca-bundle.crt"}},
		{members: servingAuthorities,
			configMaps: []string{"openshift-config-managed/kube-apiserver-server-ca", "openshift-kube-apiserver/kube-apiserver-server-ca", "openshift-kube-apiserver/kube-apiserver-server-ca-3"},
			files:      []string{apiserverPod + "configmaps/kube-apiserver-server-ca/ca-bundle.crt"}},
		{members: podAuthorities,
			configMaps: []string{controller + "/serviceaccount-ca", controller + "/serviceaccount-ca-3", "openshift-kube-scheduler/serviceaccount-ca"},
			files:      []string{controllerPod + "configmaps/serviceaccount-ca/ca-bundle.crt"}},
		{members: []string{"csr-signer"},
			configMaps: []string{"openshift-config-managed/kubelet-serving-ca", "openshift-kube-apiserver/kubelet-serving-ca", "openshift-kube-apiserver/kubelet-serving-ca-3", controller + "-operator/csr-signer-ca"},
			files:      []string{apiserverPod + "configmaps/kubelet-serving-ca/ca-bundle.crt"}},
		{members: etcd,
			configMaps: []string{"openshift-config/etcd-ca-bundle", "openshift-config/etcd-serving-ca", "openshift-etcd/etcd-ca-bundle", "openshift-etcd/etcd-serving-ca", "openshift-etcd/etcd-peer-client-ca", "openshift-kube-apiserver/etcd-serving-ca", "openshift-kube-apiserver/etcd-serving-ca-3"},
			files:      []string{etcdCerts + "configmaps/etcd-serving-ca/ca-bundle.crt", etcdCerts + "configmaps/etcd-peer-client-ca/ca-bundle.crt", apiserverPod + "configmaps/etcd-serving-ca/ca-bundle.crt"}},
		{members: []string{"router-ca"}, configMaps: []string{"openshift-config-managed/default-ingress-cert", "openshift-console/default-ingress-cert"}},
		{members: []string{"service-ca"}, configMaps: []string{"openshift-config-managed/service-ca", "openshift-service-ca/signing-cabundle", controller + "/service-ca"}},
		{members: []string{"loadbalancer-serving-signer"}, configMaps: []string{operator + "loadbalancer-serving-ca"}},
		{members: []string{"localhost-serving-signer"}, configMaps: []string{operator + "localhost-serving-ca"}},
		{members: []string{"service-network-serving-signer"}, configMaps: []string{operator + "service-network-serving-ca"}},
		{members: []string{"localhost-recovery-serving-signer"}, configMaps: []string{operator + "localhost-recovery-serving-ca"}},
		{members: []string{"kube-control-plane-signer"}, configMaps: []string{operator + "kube-control-plane-signer-ca"}},
		{members: []string{"kube-apiserver-to-kubelet-signer"}, configMaps: []string{operator + "kube-apiserver-to-kubelet-client-ca"}},
		{members: []string{"node-system-admin-signer"}, configMaps: []string{operator + "node-system-admin-ca"}},
		{members: []string{"root-ca"}, configMaps: []string{"kube-system/root-ca/ca.crt"}, files: []string{"/etc/kubernetes/ca.crt"}},
		{members: []string{"public-root"},
			configMaps: []string{"openshift-config-managed/trusted-ca-bundle", "openshift-kube-apiserver/trusted-ca-bundle", "openshift-console/trusted-ca-bundle"},
			files:      []string{apiserverCerts + "configmaps/trusted-ca-bundle/ca-bundle.crt"}},
	}
}
