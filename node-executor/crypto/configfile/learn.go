package configfile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/site"
)

// Where OpenShift's API server keeps the node and the install-config.
const (
	nodePrefix       = "/kubernetes.io/minions/"
	installConfigKey = "/kubernetes.io/configmaps/kube-system/cluster-config-v1"
)

// Names are what a cluster and its node are called.
type Names struct {
	Domain    string `json:"domain,omitempty"` // <cluster name>.<base domain>
	InfraID   string `json:"infraID,omitempty"`
	ClusterID string `json:"clusterID,omitempty"` // UUID
	Hostname  string `json:"hostname,omitempty"`
	// NodeIPs are the node's addresses, in the order in which the old ones stand in its Node object, and as many.
	NodeIPs []string `json:"nodeIPs,omitempty"`
	// MachineNetworks (CIDR) take the places of those of the seed's install-config, in their order, and as many.
	MachineNetworks []string `json:"machineNetworks,omitempty"`
}

func (n Names) empty() bool {
	return n.Domain+n.InfraID+n.ClusterID+n.Hostname == "" && len(n.NodeIPs)+len(n.MachineNetworks) == 0
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func (n Names) check() error {
	var problems []error
	for option, name := range map[string]string{"domain": n.Domain, "infraID": n.InfraID, "clusterID": n.ClusterID, "hostname": n.Hostname} {
		if name != "" && !namePattern.MatchString(name) {
			problems = append(problems, fmt.Errorf("cluster.%s: %q is no such name", option, name))
		}
	}
	for _, address := range n.NodeIPs {
		if _, err := netip.ParseAddr(address); err != nil {
			problems = append(problems, fmt.Errorf("cluster.nodeIPs: %q is not an address", address))
		}
	}
	for _, network := range n.MachineNetworks {
		if _, err := netip.ParsePrefix(network); err != nil {
			problems = append(problems, fmt.Errorf("cluster.machineNetworks: %q is not a network", network))
		}
	}
	return errors.Join(problems...)
}

// learn completes the rules by what the cluster is called so far.
func (s *Settings) learn(ctx context.Context, cluster clientv3.KV) (plan.Rules, error) {
	rules := s.rules
	bundle, err := site.LearnRegistryBundle(ctx, cluster)
	if err != nil {
		return rules, fmt.Errorf("cannot learn which authorities are others': %w", err)
	}
	rules.External = site.WithRegistryBundle(rules.External, bundle)
	if !s.learns() {
		return rules, nil
	}
	from, err := s.names(ctx, cluster)
	if err != nil {
		return rules, fmt.Errorf("cannot learn what the cluster is called: %w", err)
	}
	to := site.Names{
		Domain: s.target.Domain, InfraID: s.target.InfraID, ClusterID: s.target.ClusterID, Hostname: s.target.Hostname,
		NodeIPs: s.target.NodeIPs, MachineNetworks: s.target.MachineNetworks, Proxy: s.proxy,
	}
	rules.Renames = to.Renames(from)
	rules.Changes = slices.Clone(rules.Changes)
	if len(rules.Renames) > 0 && !rules.NamesOnly {
		rules.Changes = append(rules.Changes, rule.Renamed())
	}
	for _, name := range slices.Sorted(maps.Keys(s.bundles)) {
		rules.Changes = append(rules.Changes, rule.TrustBundle(name, []byte(from.TrustBundles[name]), s.bundles[name]))
	}
	return rules, nil
}

// names are what the cluster is called so far, as far as any of it is replaced.
func (s *Settings) names(ctx context.Context, cluster clientv3.KV) (site.Names, error) {
	from, err := site.LearnCluster(ctx, cluster)
	if err != nil {
		return from, err
	}
	if s.target.Hostname != "" || len(s.target.NodeIPs) > 0 {
		if from.Hostname, from.NodeIPs, err = node(ctx, cluster); err != nil {
			return from, err
		}
	}
	if len(s.target.MachineNetworks) > 0 {
		if from.MachineNetworks, err = machineNetworks(ctx, cluster); err != nil {
			return from, err
		}
	}
	if n := len(s.target.NodeIPs); n > 0 && n != len(from.NodeIPs) {
		return from, fmt.Errorf("node %s has %d addresses, %d are given", from.Hostname, len(from.NodeIPs), n)
	}
	if n := len(s.target.MachineNetworks); n != len(from.MachineNetworks) {
		return from, fmt.Errorf("the cluster has %d machine networks, %d are given", len(from.MachineNetworks), n)
	}
	return from, nil
}

// learns tells whether anything of the settings takes the place of something that must be known.
func (s *Settings) learns() bool {
	return !s.target.empty() || len(s.bundles) > 0 || s.proxy != (rule.ProxySettings{})
}

// node reads the name and the addresses of the only node.
func node(ctx context.Context, cluster clientv3.KV) (hostname string, addresses []string, err error) {
	var n corev1.Node
	key, err := only(ctx, cluster, nodePrefix, &n)
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			addresses = append(addresses, a.Address)
		}
	}
	return path.Base(key), addresses, err
}

// machineNetworks reads the networks of the install-config.
func machineNetworks(ctx context.Context, cluster clientv3.KV) ([]string, error) {
	var config corev1.ConfigMap
	if _, err := only(ctx, cluster, installConfigKey, &config); err != nil {
		return nil, err
	}
	return rule.MachineNetworks([]byte(config.Data["install-config"]))
}

// only reads the only object whose key begins with the prefix.
func only(ctx context.Context, cluster clientv3.KV, prefix string, into runtime.Object) (key string, err error) {
	r, err := cluster.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", prefix, err)
	}
	if len(r.Kvs) != 1 {
		return "", fmt.Errorf("there are %d objects at %s, not one", len(r.Kvs), prefix)
	}
	key = string(r.Kvs[0].Key)
	if atrest.Encrypted(r.Kvs[0].Value) {
		return "", fmt.Errorf("cannot read %s: it is encrypted at rest, and no file in the roots has the key: "+
			"name the directory with the API server's encryption configuration as one", key)
	}
	if err := site.Decode(r.Kvs[0].Value, into); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", key, err)
	}
	return key, nil
}
