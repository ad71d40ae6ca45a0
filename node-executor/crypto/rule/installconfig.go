package rule

// InstallConfig gives the cluster its own install-config, YAML. It says the cluster's name and base domain apart, which no
// renaming can.
func InstallConfig(value []byte) Rule {
	return Rule{
		Name: "install-config",
		Why:  "operators of the control plane, of etcd and of machines read the cluster's name, networks and replicas from it",
		Places: []Place{
			dataOf("configmaps/kube-system/cluster-config-v1", "install-config", value),
			dataOf("configmaps/openshift-etcd/cluster-config-v1", "install-config", value),
		},
	}
}
