package rule

import (
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"
)

// InstallConfig gives the cluster its own install-config, YAML. It says the cluster's name and base domain apart, which no
// renaming can.
func InstallConfig(value []byte) Rule {
	return Rule{
		Name: "install-config", Required: true,
		Why: "operators of the control plane, of etcd and of machines read the cluster's name, networks and replicas from it",
		Places: []Place{
			dataOf("configmaps/kube-system/cluster-config-v1", "install-config", value),
			dataOf("configmaps/openshift-etcd/cluster-config-v1", "install-config", value),
		},
	}
}

// MachineNetworks are the networks of an install-config in CIDR notation. Errors do not quote it: it may hold credentials.
func MachineNetworks(installConfig []byte) ([]string, error) {
	var config struct {
		Networking struct {
			MachineNetwork []struct {
				CIDR string `json:"cidr"`
			} `json:"machineNetwork"`
		} `json:"networking"`
	}
	if err := yaml.Unmarshal(installConfig, &config); err != nil {
		return nil, errors.New("install-config is malformed")
	}
	var networks []string
	for i, n := range config.Networking.MachineNetwork {
		if n.CIDR == "" {
			return nil, fmt.Errorf("machine network %d of install-config has no cidr", i)
		}
		networks = append(networks, n.CIDR)
	}
	return networks, nil
}
