package site

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
)

// etcdPrefix is where OpenShift's API server keeps its objects.
const etcdPrefix = "/kubernetes.io/config.openshift.io/"

// Learn reads what a stopped cluster that was copied from a seed is called: from its etcd, its files below root, and
// the seed's description. Kubeconfig is the same file that the site's was collected by.
func Learn(ctx context.Context, root, kubeconfig string, etcd clientv3.KV, info seed.ClusterInfo) (Names, error) {
	n := Names{Hostname: info.Hostname, NodeIPs: info.NodeIPs}
	if len(n.NodeIPs) == 0 && info.NodeIP != "" {
		n.NodeIPs = []string{info.NodeIP}
	}
	var problems []error
	read := func(into *string, key string, path ...string) {
		v, err := field(ctx, etcd, etcdPrefix+key, path...)
		if err != nil {
			problems = append(problems, err)
		}
		*into = v
	}
	read(&n.ClusterID, "clusterversions/version", "spec", "clusterID")
	read(&n.InfraID, "infrastructures/cluster", "status", "infrastructureName")
	read(&n.Domain, "dnses/cluster", "spec", "baseDomain")
	r, err := os.OpenRoot(root)
	if err != nil {
		return n, fmt.Errorf("cannot learn the seed's names: %w", err)
	}
	defer r.Close()
	if n.Flags, err = staticPodFlags(r); err != nil {
		problems = append(problems, err)
	}
	if config, err := loadKubeconfig(r, kubeconfig); err != nil {
		problems = append(problems, err)
	} else if n.API, err = apiServer(config); err != nil {
		problems = append(problems, fmt.Errorf("kubeconfig %s: %w", kubeconfig, err))
	}
	if err := errors.Join(problems...); err != nil {
		return n, fmt.Errorf("cannot learn the seed's names: %w", err)
	}
	return n, nil
}

// field reads a string field of an object that etcd holds as JSON, as it does every custom resource.
func field(ctx context.Context, etcd clientv3.KV, key string, path ...string) (string, error) {
	resp, err := etcd.Get(ctx, key)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", key, err)
	}
	if len(resp.Kvs) != 1 {
		return "", fmt.Errorf("%s does not exist", key)
	}
	var v any
	if err := json.Unmarshal(resp.Kvs[0].Value, &v); err != nil {
		return "", fmt.Errorf("cannot read %s: %w", key, err)
	}
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	s, _ := v.(string)
	if s == "" {
		return "", fmt.Errorf("%s has no %s", key, strings.Join(path, "."))
	}
	return s, nil
}

// Rules are how the cryptography engine makes the seed's cluster the site's: the names, and the keys that stay. A seed may
// be months old, so what is issued anew begins to be valid now.
func (s *Site) Rules(from Names, now time.Time) (plan.Rules, error) {
	rules := plan.Rules{
		Renames: s.renames(from), Validity: plan.Extend, Now: now,
		Own: plan.DefaultOwn, External: plan.DefaultExternal, Unknown: plan.Refuse, Orphans: plan.Refuse,
	}
	for _, signer := range s.Signers {
		block, _ := pem.Decode(signer.Key)
		if block == nil {
			return rules, fmt.Errorf("cannot keep the key of %s: the snapshot holds no PEM", signer.CommonName)
		}
		key, _, err := pki.ParsePrivateKey(block.Bytes)
		if err != nil {
			return rules, fmt.Errorf("cannot keep the key of %s: %w", signer.CommonName, err)
		}
		rules.KeepKeys = append(rules.KeepKeys, plan.KeepKey{CommonName: signer.CommonName, Site: "/secrets/" + signer.Secret, Key: key, SubjectKeyID: signer.SubjectKeyID})
	}
	block, _ := pem.Decode(s.ClientCA)
	if block == nil {
		return rules, errors.New("cannot keep the administrator's client CA: the snapshot holds no PEM")
	}
	ca, err := pki.ParseCertificate(block.Bytes)
	if err != nil {
		return rules, fmt.Errorf("cannot keep the administrator's client CA: %w", err)
	}
	rules.KeepCertificates = []plan.KeepCertificate{{Certificate: ca}}
	return rules, nil
}

// loopback is where static pods listen for each other.
const loopback = "127.0.0.1:"

// renames are the rules from the seed's names to the site's; names that are equal need none.
func (s *Site) renames(from Names) rename.Rules {
	var rules rename.Rules
	add := func(make func(old, renamed string) rename.Rule, old, renamed string) {
		if old != "" && renamed != "" && old != renamed {
			rules = append(rules, make(old, renamed))
		}
	}
	to := s.Names
	add(rename.Domain, from.Domain, to.Domain)
	add(rename.InfraID, from.InfraID, to.InfraID)
	add(rename.ClusterID, from.ClusterID, to.ClusterID)
	add(rename.Hostname, from.Hostname, to.Hostname)
	if len(from.NodeIPs) == len(to.NodeIPs) {
		for i := range from.NodeIPs {
			add(rename.Address, from.NodeIPs[i], to.NodeIPs[i])
		}
	}
	ports := map[string]bool{} // rules must have different old names
	port := func(old, renamed string) {
		host, oldPort := split(old)
		_, newPort := split(renamed)
		if oldPort != 0 && newPort != 0 && oldPort != newPort && !ports[old] {
			ports[old] = true
			rules = append(rules, rename.Port(host, oldPort, newPort))
		}
	}
	port(from.API, to.API)
	for _, name := range []string{"api.", "api-int."} { // what the API is called from elsewhere
		_, oldPort := split(from.API)
		_, newPort := split(to.API)
		port(fmt.Sprintf("%s%s:%d", name, from.Domain, oldPort), fmt.Sprintf("%s%s:%d", name, to.Domain, newPort))
	}
	for _, manifest := range slices.Sorted(maps.Keys(from.Flags)) {
		for _, flag := range slices.Sorted(maps.Keys(from.Flags[manifest])) {
			old, renamed := from.Flags[manifest][flag], to.Flags[manifest][flag]
			if host, _ := split(address(old)); host != "" {
				port(address(old), address(renamed))
				continue
			}
			if flag == probedPort { // whatever listens there may say so in a flag of its own
				add(func(old, renamed string) rename.Rule { return rename.Setting(flag, old, renamed) }, old, renamed)
				port(loopback+old, loopback+renamed)
				continue
			}
			add(func(old, renamed string) rename.Rule { return rename.Flag(flag, old, renamed) }, old, renamed)
		}
	}
	return rules
}

// address is host:port of a URL, or the text itself.
func address(flag string) string {
	if strings.Contains(flag, "://") {
		return hostPort(flag)
	}
	return flag
}

func split(hostPort string) (string, int) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return "", 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return "", 0
	}
	return host, n
}
