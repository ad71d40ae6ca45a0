package site

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
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
	s.Names.MachineNetworks, err = rule.MachineNetworks(s.InstallConfig)
	return err
}
