package cluster

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"

	configv1 "github.com/openshift/api/config/v1"
	machineconfigv1 "github.com/openshift/api/machineconfiguration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// okdNamespaces exist on every OKD cluster and are asked for, even without an
// object of ours in them.
var okdNamespaces = []string{"openshift-adp", "openshift-config", "openshift-config-managed", "openshift-lifecycle-agent", "openshift-machine-api"}

// configObjects are what says which cluster this is.
func configObjects(opts Options, m *material, now metav1.Time) ([]runtime.Object, error) {
	id := opts.Identity
	installConfig, err := installConfig(id)
	if err != nil {
		return nil, err
	}
	singleton := metav1.ObjectMeta{Name: "cluster"}
	return []runtime.Object{
		clusterVersion(id, now),
		&configv1.Infrastructure{
			ObjectMeta: singleton,
			Spec:       configv1.InfrastructureSpec{PlatformSpec: configv1.PlatformSpec{Type: configv1.NonePlatformType}},
			Status: configv1.InfrastructureStatus{
				InfrastructureName:     id.InfraID,
				Platform:               configv1.NonePlatformType,
				PlatformStatus:         &configv1.PlatformStatus{Type: configv1.NonePlatformType},
				APIServerURL:           fmt.Sprintf("https://%s:%d", id.APIHost(), id.APIPort),
				APIServerInternalURL:   fmt.Sprintf("https://%s:%d", id.InternalAPIHost(), id.APIPort),
				ControlPlaneTopology:   configv1.SingleReplicaTopologyMode,
				InfrastructureTopology: configv1.SingleReplicaTopologyMode,
				CPUPartitioning:        configv1.CPUPartitioningNone,
			},
		},
		&configv1.DNS{ObjectMeta: singleton, Spec: configv1.DNSSpec{BaseDomain: id.Domain()}},
		&configv1.Ingress{ObjectMeta: singleton, Spec: configv1.IngressSpec{Domain: "apps." + id.Domain()}},
		&configv1.Proxy{ObjectMeta: singleton},
		&configv1.APIServer{ObjectMeta: singleton},
		&configv1.Image{ObjectMeta: singleton},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "cluster-config-v1"}, Data: map[string]string{"install-config": installConfig}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "openshift-config", Name: "pull-secret"}, Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: opts.PullSecret}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kubeadmin"}, Data: map[string][]byte{"kubeadmin": m.passwordHash}},
	}, nil
}

func clusterVersion(id Identity, now metav1.Time) *configv1.ClusterVersion {
	release := configv1.Release{Version: id.Version, Image: "quay.io/okd/scos-release@sha256:" + digest("release", id.Version)}
	return &configv1.ClusterVersion{
		ObjectMeta: metav1.ObjectMeta{Name: "version"},
		Spec:       configv1.ClusterVersionSpec{ClusterID: configv1.ClusterID(id.ClusterID), Channel: "stable-" + id.minor()},
		Status: configv1.ClusterVersionStatus{
			Desired: release,
			History: []configv1.UpdateHistory{{
				State: configv1.CompletedUpdate, Version: release.Version, Image: release.Image, StartedTime: now, CompletionTime: &now,
			}},
			ObservedGeneration: 1,
			VersionHash:        digest("version", id.Version)[:12] + "=",
			AvailableUpdates:   []configv1.Release{},
			Conditions: []configv1.ClusterOperatorStatusCondition{
				condition(configv1.OperatorAvailable, true, now),
				condition(configv1.OperatorProgressing, false, now),
				condition("Failing", false, now),
			},
		},
	}
}

// clusterOperators are those whose cluster operator objects the lab has.
var clusterOperators = []string{
	"authentication", "config-operator", "console", "dns", "etcd", "ingress", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
	"machine-config", "monitoring", "network", "operator-lifecycle-manager", "service-ca",
}

// healthObjects are what operators and the kubelet of a healthy cluster report.
// rendered is the name of the machine configuration that the node has.
func healthObjects(id Identity, rendered string, now metav1.Time) []runtime.Object {
	objects := []runtime.Object{
		node(id, rendered, now),
		machineConfigPool("master", rendered, 1, now),
		machineConfigPool("worker", rendered, 0, now),
	}
	for _, name := range clusterOperators {
		objects = append(objects, &configv1.ClusterOperator{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: configv1.ClusterOperatorStatus{
				Conditions: []configv1.ClusterOperatorStatusCondition{
					condition(configv1.OperatorAvailable, true, now),
					condition(configv1.OperatorProgressing, false, now),
					condition(configv1.OperatorDegraded, false, now),
					condition(configv1.OperatorUpgradeable, true, now),
				},
				Versions: []configv1.OperandVersion{{Name: "operator", Version: id.Version}},
			},
		})
	}
	return objects
}

func condition(kind configv1.ClusterStatusConditionType, holds bool, since metav1.Time) configv1.ClusterOperatorStatusCondition {
	status := configv1.ConditionFalse
	if holds {
		status = configv1.ConditionTrue
	}
	return configv1.ClusterOperatorStatusCondition{Type: kind, Status: status, Reason: "AsExpected", LastTransitionTime: since}
}

func node(id Identity, rendered string, now metav1.Time) *corev1.Node {
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{Type: kind, Status: status, Reason: reason, LastHeartbeatTime: now, LastTransitionTime: now}
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: id.Hostname,
			Labels: map[string]string{
				"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": id.Hostname,
				"node-role.kubernetes.io/control-plane": "", "node-role.kubernetes.io/master": "", "node-role.kubernetes.io/worker": "",
			},
			Annotations: map[string]string{
				"machineconfiguration.openshift.io/currentConfig": rendered,
				"machineconfiguration.openshift.io/desiredConfig": rendered,
				"machineconfiguration.openshift.io/state":         "Done",
			},
		},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{
				condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"),
				condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
			},
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: id.NodeIP}, {Type: corev1.NodeHostName, Address: id.Hostname}},
			NodeInfo:  corev1.NodeSystemInfo{KubeletVersion: kubernetesVersion, OperatingSystem: "linux", Architecture: "amd64", OSImage: "CentOS Stream CoreOS " + id.Version},
		},
	}
}

func machineConfigPool(name, rendered string, machines int32, now metav1.Time) *machineconfigv1.MachineConfigPool {
	const role = "machineconfiguration.openshift.io/role"
	configuration := machineconfigv1.MachineConfigPoolStatusConfiguration{ObjectReference: corev1.ObjectReference{
		APIVersion: machineconfigv1.GroupVersion.String(), Kind: "MachineConfig", Name: rendered,
	}}
	condition := func(kind machineconfigv1.MachineConfigPoolConditionType, status corev1.ConditionStatus) machineconfigv1.MachineConfigPoolCondition {
		return machineconfigv1.MachineConfigPoolCondition{Type: kind, Status: status, LastTransitionTime: now}
	}
	return &machineconfigv1.MachineConfigPool{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"machineconfiguration.openshift.io/mco-built-in": ""}},
		Spec: machineconfigv1.MachineConfigPoolSpec{
			MachineConfigSelector: &metav1.LabelSelector{MatchLabels: map[string]string{role: name}},
			NodeSelector:          &metav1.LabelSelector{MatchLabels: map[string]string{"node-role.kubernetes.io/" + name: ""}},
			Configuration:         configuration,
		},
		Status: machineconfigv1.MachineConfigPoolStatus{
			ObservedGeneration:  1,
			Configuration:       configuration,
			MachineCount:        machines,
			UpdatedMachineCount: machines,
			ReadyMachineCount:   machines,
			Conditions: []machineconfigv1.MachineConfigPoolCondition{
				condition(machineconfigv1.MachineConfigPoolUpdated, corev1.ConditionTrue),
				condition(machineconfigv1.MachineConfigPoolUpdating, corev1.ConditionFalse),
				condition(machineconfigv1.MachineConfigPoolDegraded, corev1.ConditionFalse),
			},
			CertExpirys: []machineconfigv1.CertExpiry{},
		},
	}
}

// renderedMachineConfig is the configuration that the node has: two certificate
// files, one in each of the two forms of data URL that OKD has used.
func renderedMachineConfig(opts Options, m *material) (*machineconfigv1.MachineConfig, error) {
	kubeletCA := m.bundlePEM(clientAuthorities)
	type contents struct {
		Source string `json:"source"`
	}
	type file struct {
		Path      string   `json:"path"`
		Mode      int      `json:"mode"`
		Overwrite bool     `json:"overwrite"`
		Contents  contents `json:"contents"`
	}
	ignition, err := json.Marshal(map[string]any{
		"ignition": map[string]string{"version": "3.4.0"},
		"storage": map[string]any{"files": []file{
			{Path: "/etc/kubernetes/kubelet-ca.crt", Mode: 0o644, Overwrite: true, Contents: contents{"data:text/plain;charset=utf-8;base64," + base64.StdEncoding.EncodeToString(kubeletCA)}},
			{Path: "/etc/kubernetes/ca.crt", Mode: 0o644, Overwrite: true, Contents: contents{"data:," + url.PathEscape(string(m.pairs["root-ca"].CertPEM()))}},
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot encode machine config: %w", err)
	}
	arguments := opts.KernelArguments
	if arguments == nil {
		arguments = []string{}
	}
	return &machineconfigv1.MachineConfig{
		TypeMeta:   metav1.TypeMeta{APIVersion: machineconfigv1.GroupVersion.String(), Kind: "MachineConfig"},
		ObjectMeta: metav1.ObjectMeta{Name: renderedName(opts.Identity), Annotations: map[string]string{"machineconfiguration.openshift.io/generated-by-controller-version": digest("controller", opts.Identity.Version)[:40]}},
		Spec: machineconfigv1.MachineConfigSpec{
			OSImageURL:      "quay.io/okd/scos-content@sha256:" + digest("os", opts.Identity.Version),
			Config:          runtime.RawExtension{Raw: ignition},
			KernelArguments: arguments,
			Extensions:      []string{},
			KernelType:      "default",
		},
	}, nil
}

// renderedName is the name of the node's machine configuration, which operators
// derive from its content and the lab from the version.
func renderedName(id Identity) string {
	return "rendered-master-" + digest("rendered", id.Version)[:32]
}

// ownedMachineConfig is one of the configurations that the rendered one is made
// of: the same files, with the label by which the pool selects it.
func ownedMachineConfig(rendered *machineconfigv1.MachineConfig) *machineconfigv1.MachineConfig {
	owned := rendered.DeepCopy()
	owned.Name = "00-master"
	owned.Labels = map[string]string{"machineconfiguration.openshift.io/role": "master"}
	return owned
}

func installConfig(id Identity) (string, error) {
	data, err := yaml.Marshal(map[string]any{
		"apiVersion":   "v1",
		"baseDomain":   id.BaseDomain,
		"metadata":     map[string]any{"name": id.ClusterName},
		"controlPlane": map[string]any{"name": "master", "replicas": 1},
		"compute":      []any{map[string]any{"name": "worker", "replicas": 0}},
		"networking": map[string]any{
			"networkType":    "OVNKubernetes",
			"clusterNetwork": []any{map[string]any{"cidr": "10.128.0.0/14", "hostPrefix": 23}},
			"serviceNetwork": []string{"172.30.0.0/16"},
			"machineNetwork": []any{map[string]any{"cidr": id.machineNetwork()}},
		},
		"platform":   map[string]any{"none": map[string]any{}},
		"pullSecret": "",
	})
	if err != nil {
		return "", fmt.Errorf("cannot encode install-config: %w", err)
	}
	return string(data), nil
}

// digest stands for the digest of something that the lab does not have, such as
// the release image of a version: stable, and different for each.
func digest(of, version string) string {
	sum := sha256.Sum256([]byte(of + "\x00" + version))
	return hex.EncodeToString(sum[:])
}
