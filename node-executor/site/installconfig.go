package site

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// collectInstallConfig takes what the cluster was installed with, and learns the machine networks from it.
func collectInstallConfig(ctx context.Context, src *source, s *Site) error {
	cm, err := src.api.Resource(core("configmaps")).Namespace(metav1.NamespaceSystem).Get(ctx, "cluster-config-v1", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	config, err := text(cm, "data", "install-config")
	if err != nil {
		return err
	}
	s.InstallConfig = []byte(config)
	s.Names.MachineNetworks, err = machineNetworks(s.InstallConfig)
	return err
}

// machineNetworks are the networks of an install-config in CIDR notation. Errors do not quote it: it may hold credentials.
func machineNetworks(installConfig []byte) ([]string, error) {
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
