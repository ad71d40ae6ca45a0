package configfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/jsonfield"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// Where OpenShift's API server keeps what says how a cluster is called.
const (
	versionKey        = "/kubernetes.io/config.openshift.io/clusterversions/version"
	infrastructureKey = "/kubernetes.io/config.openshift.io/infrastructures/cluster"
	dnsKey            = "/kubernetes.io/config.openshift.io/dnses/cluster"
	nodePrefix        = "/kubernetes.io/minions/"
	bundlePrefix      = "/kubernetes.io/configmaps/openshift-config/"
	installConfigKey  = "/kubernetes.io/configmaps/kube-system/cluster-config-v1"
	proxyKey          = "/kubernetes.io/config.openshift.io/proxies/cluster"
)

// Names are what a cluster and its node are called.
type Names struct {
	Domain    string `json:"domain,omitempty"` // <cluster name>.<base domain>
	InfraID   string `json:"infraID,omitempty"`
	ClusterID string `json:"clusterID,omitempty"` // UUID
	Hostname  string `json:"hostname,omitempty"`
	// NodeIPs are the node's addresses, in the order in which the old ones stand in its Node object, and as many.
	NodeIPs []string `json:"nodeIPs,omitempty"`
	// Networks are the machine networks (CIDR) that are renamed, old to new.
	Networks map[string]string `json:"networks,omitempty"`
}

func (n Names) empty() bool {
	return n.Domain+n.InfraID+n.ClusterID+n.Hostname == "" && len(n.NodeIPs)+len(n.Networks) == 0
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
	return errors.Join(problems...)
}

// learn completes the rules by what the cluster is called so far.
func (s *Settings) learn(ctx context.Context, cluster clientv3.KV) (plan.Rules, error) {
	rules := s.rules
	renames, err := s.renames(ctx, cluster)
	if err != nil {
		return rules, fmt.Errorf("cannot learn what the cluster is called: %w", err)
	}
	rules.Renames = renames
	for _, name := range slices.Sorted(maps.Keys(s.bundles)) {
		old, err := entry(ctx, cluster, bundlePrefix+name, "data[ca-bundle.crt]")
		if err != nil {
			return rules, fmt.Errorf("cannot learn the trust bundle %s: %w", name, err)
		}
		rules.Changes = append(slices.Clone(rules.Changes), rule.TrustBundle(name, old, s.bundles[name]))
	}
	return rules, nil
}

func (s *Settings) renames(ctx context.Context, cluster clientv3.KV) (rename.Rules, error) {
	var rules rename.Rules
	var problems []error
	// add makes a rule unless nothing is to be renamed or is called so already.
	add := func(make func(old, renamed string) rename.Rule, renamed string, learn func() (string, error)) {
		if renamed == "" {
			return
		}
		old, err := learn()
		if err != nil {
			problems = append(problems, err)
		} else if old != renamed {
			rules = append(rules, make(old, renamed))
		}
	}
	fieldOf := func(key string, names ...string) func() (string, error) {
		return func() (string, error) { return field(ctx, cluster, key, names...) }
	}
	add(rename.Domain, s.target.Domain, fieldOf(dnsKey, "spec", "baseDomain"))
	add(rename.InfraID, s.target.InfraID, fieldOf(infrastructureKey, "status", "infrastructureName"))
	add(rename.ClusterID, s.target.ClusterID, fieldOf(versionKey, "spec", "clusterID"))
	if s.target.Hostname != "" || len(s.target.NodeIPs) > 0 {
		hostname, addresses, err := node(ctx, cluster)
		if err == nil && len(s.target.NodeIPs) > 0 && len(s.target.NodeIPs) != len(addresses) {
			err = fmt.Errorf("node %s has %d addresses, %d are given", hostname, len(addresses), len(s.target.NodeIPs))
		}
		if err != nil {
			return nil, errors.Join(append(problems, err)...)
		}
		add(rename.Hostname, s.target.Hostname, func() (string, error) { return hostname, nil })
		for i, renamed := range s.target.NodeIPs {
			add(rename.Address, renamed, func() (string, error) { return addresses[i], nil })
		}
	}
	for _, old := range slices.Sorted(maps.Keys(s.target.Networks)) {
		add(rename.Network, s.target.Networks[old], func() (string, error) { return old, nil })
	}
	if len(s.machineNetworks) > 0 {
		networks, err := machineNetworks(ctx, cluster)
		if err == nil && len(networks) != len(s.machineNetworks) {
			err = fmt.Errorf("the cluster has %d machine networks, %d are given", len(networks), len(s.machineNetworks))
		}
		for i := range min(len(networks), len(s.machineNetworks)) {
			add(rename.Network, s.machineNetworks[i], func() (string, error) { return networks[i], nil })
		}
		problems = append(problems, err)
	}
	if s.proxy != nil {
		old, err := proxyStatus(ctx, cluster)
		rules, problems = append(rules, rule.ProxyRenames(old, *s.proxy)...), append(problems, err)
	}
	return rules, errors.Join(problems...)
}

// machineNetworks reads the networks of the install-config.
func machineNetworks(ctx context.Context, cluster clientv3.KV) ([]string, error) {
	text, err := entry(ctx, cluster, installConfigKey, "data[install-config]")
	if err != nil {
		return nil, err
	}
	return rule.MachineNetworks(text)
}

// proxyStatus reads how programs of the cluster reach the outside.
func proxyStatus(ctx context.Context, cluster clientv3.KV) (rule.ProxySettings, error) {
	value, err := get(ctx, cluster, proxyKey)
	if err != nil || value == nil {
		return rule.ProxySettings{}, err
	}
	fields, err := jsonfield.Parse(value)
	if err != nil {
		return rule.ProxySettings{}, fmt.Errorf("cannot read %s: %w", proxyKey, err)
	}
	return rule.ProxySettings{
		HTTP: fields["/status/httpProxy"].Text, HTTPS: fields["/status/httpsProxy"].Text, No: fields["/status/noProxy"].Text,
	}, nil
}

func get(ctx context.Context, cluster clientv3.KV, key string) ([]byte, error) {
	r, err := cluster.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", key, err)
	}
	if len(r.Kvs) == 0 {
		return nil, nil
	}
	return r.Kvs[0].Value, nil
}

// field reads a text of a custom resource, which is stored as JSON.
func field(ctx context.Context, cluster clientv3.KV, key string, names ...string) (string, error) {
	value, err := get(ctx, cluster, key)
	if err != nil {
		return "", err
	}
	var v any
	if err := json.Unmarshal(value, &v); err != nil {
		return "", fmt.Errorf("cannot read %s: it is missing or no JSON", key)
	}
	for _, name := range names {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	text, _ := v.(string)
	if text == "" {
		return "", fmt.Errorf("%s has no %s", key, strings.Join(names, "."))
	}
	return text, nil
}

// entry reads an entry of a ConfigMap; nil when there is none.
func entry(ctx context.Context, cluster clientv3.KV, key, name string) (found []byte, err error) {
	value, err := get(ctx, cluster, key)
	if value == nil || err != nil {
		return nil, err
	}
	_, err = crawl.Rewrite(value, crawl.Handler{Field: func(path string, text []byte) ([]byte, bool) {
		if path == name {
			found = slices.Clone(text)
		}
		return nil, false
	}})
	return found, err
}

// node reads the name and the addresses of the only node.
func node(ctx context.Context, cluster clientv3.KV) (hostname string, addresses []string, err error) {
	r, err := cluster.Get(ctx, nodePrefix, clientv3.WithPrefix())
	if err != nil {
		return "", nil, fmt.Errorf("cannot read %s: %w", nodePrefix, err)
	}
	if len(r.Kvs) != 1 {
		return "", nil, fmt.Errorf("there are %d nodes, not one", len(r.Kvs))
	}
	var n corev1.Node
	if _, _, err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(r.Kvs[0].Value, nil, &n); err != nil {
		return "", nil, fmt.Errorf("cannot read %s: %w", r.Kvs[0].Key, err)
	}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			addresses = append(addresses, a.Address)
		}
	}
	return path.Base(string(r.Kvs[0].Key)), addresses, nil
}
