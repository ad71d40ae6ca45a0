package validate

import (
	"context"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/reroot-dev/reroot/events"
	"github.com/reroot-dev/reroot/functions/cluster"
)

// userCABundle is the ConfigMap in which a user puts additional authorities.
const userCABundle = "user-ca-bundle"

// traits are what must be the same on the reference cluster and on the one to upgrade, because it is built into the
// seed and cannot be changed on the way.
type traits struct {
	proxy     bool
	fips      bool
	userCA    bool
	trustedCA string // ConfigMap that the cluster-wide proxy trusts
}

// compatible compares the seed's traits with the cluster's.
func (s *subject) compatible(ctx context.Context) (finding, error) {
	const expected = "proxy, FIPS mode and additional trusted authorities as on the cluster"
	if s.seed == nil {
		return blocked("seed-image", expected)
	}
	own, err := s.traits(ctx)
	if err != nil {
		return finding{}, err
	}
	info := s.seed.info
	var differ []string
	compare := func(what string, seed, cluster bool) {
		if seed != cluster {
			differ = append(differ, fmt.Sprintf("the seed has %s, the cluster has %s", which(what, seed), which(what, cluster)))
		}
	}
	compare("a proxy", info.HasProxy, own.proxy)
	compare("FIPS mode", info.HasFIPS, own.fips)
	if bundle := info.TrustBundle; bundle != nil { // older seeds do not say
		compare("a user CA bundle", bundle.HasUserCABundle, own.userCA)
		if bundle.ProxyConfigMapName != own.trustedCA {
			differ = append(differ, fmt.Sprintf("the seed's proxy trusts ConfigMap %q, the cluster's %q", bundle.ProxyConfigMapName, own.trustedCA))
		}
	}
	if len(differ) > 0 {
		why := strings.Join(differ, "; ")
		return fails(events.ReasonSeedIncompatible, why, expected,
			fmt.Sprintf("cannot use seed image %s on this cluster: %s", s.seed.Image, why),
			"make a seed image from a reference cluster that is configured like this one, set stage Idle, then ask again")
	}
	return holds("the same", expected)
}

func which(what string, has bool) string {
	if has {
		return what
	}
	return "none"
}

func (s *subject) traits(ctx context.Context) (traits, error) {
	var own traits
	proxy, err := s.Resource(cluster.Proxies).Get(ctx, "cluster", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return own, fmt.Errorf("cannot read the cluster's proxy: %w", err)
	}
	if err == nil {
		http, _, _ := unstructured.NestedString(proxy.Object, "spec", "httpProxy")
		https, _, _ := unstructured.NestedString(proxy.Object, "spec", "httpsProxy")
		own.proxy = http != "" || https != ""
		own.trustedCA, _, _ = unstructured.NestedString(proxy.Object, "spec", "trustedCA", "name")
	}
	_, err = s.Resource(cluster.ConfigMaps).Namespace(globalNamespace).Get(ctx, userCABundle, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return own, fmt.Errorf("cannot look for ConfigMap %s: %w", userCABundle, err)
	}
	own.userCA = err == nil
	own.fips, err = s.fips(ctx)
	return own, err
}

// currentConfig names the MachineConfig that a node runs.
const currentConfig = "machineconfiguration.openshift.io/currentConfig"

// fips is what the MachineConfig of the cluster's node says.
func (s *subject) fips(ctx context.Context) (bool, error) {
	nodes, err := s.Resource(cluster.Nodes).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, fmt.Errorf("cannot list nodes: %w", err)
	}
	for _, node := range nodes.Items {
		name := node.GetAnnotations()[currentConfig]
		if name == "" {
			continue
		}
		config, err := s.Resource(cluster.MachineConfigs).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, fmt.Errorf("cannot read MachineConfig %s: %w", name, err)
		}
		if fips, _, _ := unstructured.NestedBool(config.Object, "spec", "fips"); fips {
			return true, nil
		}
	}
	return false, nil
}
