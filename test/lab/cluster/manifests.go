package cluster

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"github.com/reroot-dev/reroot/test/lab/cluster/oadp"
	"github.com/reroot-dev/reroot/test/lab/staticpod"
)

const (
	// ManifestDir is where a node's static pods are declared.
	ManifestDir = "/etc/kubernetes/manifests"
	// VeleroPluginDir is where the node's Velero looks for plug-ins. Like images,
	// they are a device of the node, not part of its disk content.
	VeleroPluginDir = "/var/lib/containers/lab/velero-plugins"

	// OADPProgram is the import path of the stand-in for the OADP operator.
	OADPProgram = "github.com/reroot-dev/reroot/test/lab/cluster/oadp/cmd/lab-oadp"

	registry          = "lab.reroot.dev/"
	kubernetesVersion = "v1.37.2"
	veleroVersion     = "v1.18.3"
	// etcdPrefix is OKD's; upstream's is "/registry".
	etcdPrefix = "kubernetes.io"
)

// ImageFiles says which program is behind each image that the manifests name:
// file name in a directory of images → name of a program. "lab-oadp" is this
// module's own (see [OADPProgram]), the others are build.Binaries'.
func ImageFiles(id Identity) (map[string]string, error) {
	files := map[string]string{}
	for image, program := range map[string]string{
		etcdImage(id):          "etcd-" + id.Etcd,
		apiserverImage:         "hyperkube",
		controllerManagerImage: "hyperkube",
		veleroImage:            "velero",
		oadpImage:              "lab-oadp",
	} {
		file, err := staticpod.ImageFile(image)
		if err != nil {
			return nil, err
		}
		files[file] = program
	}
	return files, nil
}

const (
	apiserverImage         = registry + "kube-apiserver:" + kubernetesVersion
	controllerManagerImage = registry + "kube-controller-manager:" + kubernetesVersion
	veleroImage            = registry + "velero:" + veleroVersion
	oadpImage              = registry + "oadp:lab"
	oadpName               = "oadp-operator"
)

func etcdImage(id Identity) string { return registry + "etcd:" + id.Etcd }

func writeManifests(d disk, opts Options, _ *material) error {
	gate, err := freePort()
	if err != nil {
		return err
	}
	for _, pod := range []*corev1.Pod{
		etcdPod(opts.Identity), apiserverPodManifest(opts.Identity), controllerManagerPod(), veleroPodManifest(opts.Identity), oadpPod(gate),
	} {
		data, err := yaml.Marshal(pod)
		if err != nil {
			return fmt.Errorf("cannot encode static pod %s: %w", pod.Name, err)
		}
		if err := d.write(ManifestDir+"/"+pod.Name+".yaml", data, false); err != nil {
			return err
		}
	}
	return nil
}

// staticPod is a pod of one container on the node's network that sees the node's
// /etc/kubernetes and the given directories.
func staticPod(namespace, name, image string, command []string, writable ...string) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			HostNetwork:       true,
			PriorityClassName: "system-node-critical",
			Containers:        []corev1.Container{{Name: name, Image: image, Command: command}},
		},
	}
	mount := func(dir string, readOnly bool) {
		volume := strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-")
		kind := corev1.HostPathDirectoryOrCreate
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{
			Name: volume, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir, Type: &kind}},
		})
		container := &pod.Spec.Containers[0]
		container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: volume, MountPath: dir, ReadOnly: readOnly})
	}
	mount("/etc/kubernetes", true)
	for _, dir := range writable {
		mount(dir, false)
	}
	return pod
}

// after makes pod start when that of the given name accepts connections.
func after(name string, pod *corev1.Pod) *corev1.Pod {
	pod.Annotations = map[string]string{staticpod.AfterAnnotation: name}
	return pod
}

// listensOn declares the port by which to see that pod has started.
func listensOn(port int, pod *corev1.Pod) *corev1.Pod {
	pod.Spec.Containers[0].StartupProbe = &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Host: "127.0.0.1", Port: intstr.FromInt(port)}},
		PeriodSeconds:    1,
		FailureThreshold: 60,
	}
	return pod
}

func etcdPod(id Identity) *corev1.Pod {
	client := fmt.Sprintf("https://127.0.0.1:%d", id.EtcdClientPort)
	peer := fmt.Sprintf("https://127.0.0.1:%d", id.EtcdPeerPort)
	return listensOn(id.EtcdClientPort, staticPod("openshift-etcd", "etcd", etcdImage(id), []string{
		"etcd",
		"--name=" + id.Hostname,
		"--data-dir=/var/lib/etcd",
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=" + id.Hostname + "=" + peer,
		"--initial-cluster-state=new", // only read when the data directory is empty
		"--client-cert-auth=true",
		"--cert-file=" + etcdFile("serving", id) + ".crt",
		"--key-file=" + etcdFile("serving", id) + ".key",
		"--trusted-ca-file=" + etcdCerts + "configmaps/etcd-serving-ca/ca-bundle.crt",
		"--peer-client-cert-auth=true",
		"--peer-cert-file=" + etcdFile("peer", id) + ".crt",
		"--peer-key-file=" + etcdFile("peer", id) + ".key",
		"--peer-trusted-ca-file=" + etcdCerts + "configmaps/etcd-peer-client-ca/ca-bundle.crt",
		"--logger=zap",
		"--log-level=warn",
	}, "/var/lib/etcd"))
}

func apiserverPodManifest(id Identity) *corev1.Pod {
	command := []string{
		"kube-apiserver",
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(id.APIPort),
		"--endpoint-reconciler-type=none",
		"--etcd-servers=https://127.0.0.1:" + strconv.Itoa(id.EtcdClientPort),
		"--etcd-prefix=" + etcdPrefix,
		"--etcd-cafile=" + apiserverPod + "configmaps/etcd-serving-ca/ca-bundle.crt",
		"--etcd-certfile=" + apiserverPod + "secrets/etcd-client/tls.crt",
		"--etcd-keyfile=" + apiserverPod + "secrets/etcd-client/tls.key",
		"--client-ca-file=" + apiserverCerts + "configmaps/client-ca/ca-bundle.crt",
		"--requestheader-client-ca-file=" + apiserverCerts + "configmaps/aggregator-client-ca/ca-bundle.crt",
		"--requestheader-allowed-names=kube-apiserver-proxy,system:kube-apiserver-proxy,system:openshift-aggregator",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + apiserverCerts + "secrets/aggregator-client/tls.crt",
		"--proxy-client-key-file=" + apiserverCerts + "secrets/aggregator-client/tls.key",
		"--kubelet-certificate-authority=" + apiserverPod + "configmaps/kubelet-serving-ca/ca-bundle.crt",
		"--kubelet-client-certificate=" + apiserverCerts + "secrets/kubelet-client/tls.crt",
		"--kubelet-client-key=" + apiserverCerts + "secrets/kubelet-client/tls.key",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-signing-key-file=" + boundTokenKey + ".key",
		"--service-account-key-file=" + boundTokenPublic,
		"--service-account-key-file=" + legacyTokenPublic,
		"--authorization-mode=Node,RBAC",
		"--allow-privileged=true",
		"--service-cluster-ip-range=172.30.0.0/16",
		"--tls-cert-file=" + apiserverCerts + "secrets/service-network-serving-certkey/tls.crt",
		"--tls-private-key-file=" + apiserverCerts + "secrets/service-network-serving-certkey/tls.key",
	}
	// Each is presented to the clients that ask for one of its names.
	for _, pair := range []string{
		apiserverCerts + "secrets/localhost-serving-cert-certkey/tls",
		apiserverCerts + "secrets/external-loadbalancer-serving-certkey/tls",
		apiserverCerts + "secrets/internal-loadbalancer-serving-certkey/tls",
		apiserverPod + "secrets/localhost-recovery-serving-certkey/tls",
	} {
		command = append(command, "--tls-sni-cert-key="+pair+".crt,"+pair+".key")
	}
	return after("etcd", listensOn(id.APIPort, staticPod("openshift-kube-apiserver", "kube-apiserver", apiserverImage, command)))
}

func controllerManagerPod() *corev1.Pod {
	return after("kube-apiserver", staticPod("openshift-kube-controller-manager", "kube-controller-manager", controllerManagerImage, []string{
		"kube-controller-manager",
		"--kubeconfig=" + controllerKubeconfig,
		"--authentication-kubeconfig=" + controllerKubeconfig,
		"--authorization-kubeconfig=" + controllerKubeconfig,
		"--leader-elect=false",
		"--secure-port=0",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + legacyTokenKey + ".key",
		"--root-ca-file=" + controllerPod + "configmaps/serviceaccount-ca/ca-bundle.crt",
		"--cluster-signing-cert-file=" + controllerCerts + "secrets/csr-signer/tls.crt",
		"--cluster-signing-key-file=" + controllerCerts + "secrets/csr-signer/tls.key",
		// No kubelet renews the node's lease: that controller would call the node
		// lost after forty seconds.
		"--controllers=*,-node-lifecycle-controller",
	}))
}

func veleroPodManifest(id Identity) *corev1.Pod {
	pod := after(oadpName, staticPod(oadp.Namespace, "velero", veleroImage, []string{
		"velero", "server",
		"--kubeconfig=" + veleroKubeconfig,
		"--namespace=" + oadp.Namespace,
		"--plugin-dir=" + VeleroPluginDir,
		"--metrics-address=127.0.0.1:" + strconv.Itoa(id.VeleroMetricsPort),
		"--profiler-address=127.0.0.1:" + strconv.Itoa(id.VeleroProfilerPort),
		"--store-validation-frequency=10s",
	}))
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "VELERO_NAMESPACE", Value: oadp.Namespace}}
	return pod
}

// oadpPod declares that it has started when Velero may; it does so at a port that
// is nobody else's business.
func oadpPod(gate int) *corev1.Pod {
	return after("kube-apiserver", listensOn(gate, staticPod(oadp.Namespace, oadpName, oadpImage, []string{
		"lab-oadp",
		"--kubeconfig=" + veleroKubeconfig,
		"--velero-may-start=127.0.0.1:" + strconv.Itoa(gate),
	})))
}

// freePort is a port that nothing listens on.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("cannot find a free port: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}
