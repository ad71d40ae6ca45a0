package configfile_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/configfile"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	ref "github.com/reroot-dev/reroot/node-executor/crypto/site"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func load(t *testing.T, text string) (*configfile.Settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return configfile.Load(path, now)
}

func mustLoad(t *testing.T, text string) *configfile.Settings {
	t.Helper()
	s, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// names are what the rules for values are called.
func names(rules plan.Rules) (all []string) {
	for _, r := range rules.Changes {
		all = append(all, r.Name)
	}
	return all
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecert(t *testing.T) {
	kept := cryptotest.Authority(t, "kube-apiserver-lb-signer", cryptotest.EC(t))
	admin := cryptotest.Authority(t, "admin-kubeconfig-signer", cryptotest.EC(t))
	text, err := json.Marshal(map[string]any{
		"etcd_endpoint":               "localhost:2379",
		"crypto_dirs":                 []string{"/kubernetes", "/kubelet", "/machine-config-daemon"},
		"crypto_files":                []string{"/host-etc/mcs-machine-config-content.json"},
		"cluster_customization_dirs":  []string{"/kubernetes", "/kubelet/pki"},
		"cluster_customization_files": []string{"/host-etc/chrony.conf", "/host-etc/kubernetes/x"},
		"cn_san_replace_rules":        []string{"api.seed:api.target", "system:node:a:system:node:b", "fd00::1,fd00::2"},
		"use_key_rules": []string{
			"kube-apiserver-lb-signer " + write(t, "key", kept.KeyPEM()), "ingress-operator@17:" + write(t, "key", kept.KeyPEM()),
			"in place\n" + kept.KeyPEM(),
		},
		"use_cert_rules":    []string{write(t, "cert", admin.PEM()), admin.PEM()},
		"extend_expiration": true, "force_expire": false, "ip_change_only": false, "etcd_defrag": true,
		"cluster_rename": "edge:example.com:edge-b2c4d", "hostname": "edge-node", "ip": "192.0.2.20",
		"pull_secret": "{}", "kubeadmin_password_hash": "", "proxy": "http://p|http://q|a,b|http://p|http://q|a,b,c",
		"install_config": "x: y", "chrony_config": "pool x", "user_ca_bundle": admin.PEM(), "proxy_trusted_ca_bundle": "corporate:" + admin.PEM(),
		"dry_run": true, "threads": 2, "summary_file": "/var/tmp/a.yaml", "summary_file_clean": "/var/tmp/b.yaml", "regenerate_server_ssh_keys": "/ssh",
	})
	if err != nil {
		t.Fatal(err)
	}
	s := mustLoad(t, string(text))
	wantRoots := []files.Root{ // of the files that only a rule or a name is for, those that are here
		{Host: "/etc/kubernetes", Node: "/etc/kubernetes"}, {Host: "/etc/machine-config-daemon", Node: "/etc/machine-config-daemon"},
		{Host: "/etc/ssh", Node: "/etc/ssh"}, {Host: "/var/lib/kubelet", Node: "/var/lib/kubelet"},
		{Host: "/etc", Node: "/etc", Only: "mcs-machine-config-content.json"},
	}
	s.Roots = slices.DeleteFunc(s.Roots, func(r files.Root) bool { return r.Only == "chrony.conf" || strings.HasPrefix(r.Node, "/etc/pki/") })
	if diff := cmp.Diff(wantRoots, s.Roots); diff != "" {
		t.Errorf("roots:\n%s", diff)
	}
	if s.Endpoint == nil || s.DataDir != nil || s.Endpoint.Config.Endpoints[0] != "localhost:2379" || !s.DryRun || s.Threads != 2 || len(s.Summary) != 2 {
		t.Errorf("got %+v", s)
	}
	rules := s.Config(nil, "").Rules
	if diff := cmp.Diff(map[string]string{"api.seed": "api.target", "system:node:a": "system:node:b", "fd00::1": "fd00::2"}, rules.Names); diff != "" {
		t.Errorf("names in certificates:\n%s", diff)
	}
	if rules.Validity != plan.Extend || !rules.Now.Equal(now) {
		t.Errorf("got validity %s from %s", rules.Validity, rules.Now)
	}
	var keys []string
	for _, k := range rules.KeepKeys {
		if k.Key == nil || !cmp.Equal(kept.Key.Public(), k.Key.Public()) {
			t.Errorf("%s has another key", k.CommonName)
		}
		keys = append(keys, k.CommonName)
	}
	if diff := cmp.Diff([]string{"kube-apiserver-lb-signer", "ingress-operator@17", "in place"}, keys); diff != "" {
		t.Errorf("kept keys:\n%s", diff)
	}
	if len(rules.KeepCertificates) != 2 || rules.KeepCertificates[0].Certificate.CommonName != "admin-kubeconfig-signer" {
		t.Errorf("got kept certificates %v", rules.KeepCertificates)
	}
	if diff := cmp.Diff([]string{"pull secret", "install-config", "chrony", "kubeadmin", "proxy", "leases", "logins", "SSH host keys"}, names(rules)); diff != "" {
		t.Errorf("rules:\n%s", diff)
	}
}

func TestRecertRefuses(t *testing.T) {
	for option, value := range map[string]string{
		"postprocess_only": "true", "kube_encryption_config": "{}", "openshift_encryption_config": "{}",
		"oauth_encryption_config": "{}", "regenerate_server_ssh_keys": "/root/.ssh",
	} {
		t.Run(option, func(t *testing.T) {
			_, err := load(t, "crypto_dirs: [/kubernetes]\n"+option+": "+value+"\n")
			var refused *configfile.RefusedError
			if !errors.As(err, &refused) || refused.Option != option || refused.Because == "" || refused.Do == "" {
				t.Errorf("got error %v", err)
			}
		})
	}
	for name, tc := range map[string]struct{ text, want string }{
		"both validities":   {"extend_expiration: true\nforce_expire: true\n", "force_expire"},
		"unknown option":    {"crypto_dir: /x\n", `there is no option "crypto_dir"`},
		"half a name rule":  {"cn_san_replace_rules: ['a:b:c']\n", `"a:b:c" is not old:new`},
		"no key":            {"use_key_rules: [just-a-name]\n", "a rule is not a name and a path or key"},
		"missing key":       {"use_key_rules: ['a /none']\n", "no such file"},
		"no certificate":    {"use_cert_rules: ['-----BEGIN X-----']\n", "there is none in PEM"},
		"half a cluster":    {"cluster_rename: edge\n", "is not name:domain"},
		"no address":        {"ip: [here]\ncrypto_dirs: []\n", `"here" is not an address`},
		"few proxies":       {"cluster_rename: a:b\nproxy: 'a|b'\n", "it has 2 parts"},
		"bundle for nobody": {"crypto_dirs: []\nproxy_trusted_ca_bundle: x\n", "the name of a ConfigMap"},
		"names, no etcd":    {"crypto_dirs: [/x]\nhostname: edge\n", "cannot be replaced without etcd"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestExample(t *testing.T) {
	text, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	signer := cryptotest.Authority(t, "kube-apiserver-lb-signer", cryptotest.EC(t))
	for name, text := range map[string]string{
		"loadbalancer-serving-signer.pem": signer.PEM() + signer.KeyPEM(), "admin-kubeconfig-client-ca.pem": signer.PEM(),
		"pull-secret.json": "{}", "kubeadmin.bcrypt": "", "user-ca-bundle.pem": signer.PEM(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := mustLoad(t, strings.ReplaceAll(string(text), "/var/lib/reroot/keep", dir))
	if len(s.DataDir.Programs) != 3 || s.Journal != "/var/lib/reroot/crypto" {
		t.Errorf("got %+v", s)
	}
	rules := s.Config(nil, "").Rules
	if len(rules.KeepKeys) != 1 || !bytes.Equal(rules.KeepKeys[0].SubjectKeyID, signer.Certificate.SubjectKeyId) || len(rules.KeepCertificates) != 1 {
		t.Errorf("got %+v", rules)
	}
	if diff := cmp.Diff([]string{"drop", "pull secret", "kubeadmin", "proxy", "leases", "logins"}, names(rules)); diff != "" {
		t.Errorf("rules:\n%s", diff)
	}
}

func TestOwnDefaults(t *testing.T) {
	s := mustLoad(t, `{etcd: {programs: {"3.5": /bin/etcd}}, node: /mnt}`)
	if s.DataDir == nil || s.DataDir.Dir != "/mnt/var/lib/etcd" || len(s.Roots) != 3 || s.Roots[2] != (files.Root{Host: "/mnt/var/lib/kubelet", Node: "/var/lib/kubelet"}) {
		t.Errorf("got %+v", s)
	}
	rules := s.Config(nil, "").Rules
	if !cmp.Equal(rules.Own, plan.DefaultOwn) || !cmp.Equal(rules.External, plan.DefaultExternal) || rules.Unknown != plan.Refuse {
		t.Errorf("got %+v", rules)
	}
}

func TestOwnRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no object":        {"- a\n", "not an object"},
		"unknown option":   {"root: /\n", `there is no option "root"`},
		"twice":            {"node: /a\nnode: /b\n", "twice"},
		"wrong kind":       {"roots: {a: b}\n", "of another kind"},
		"relative":         {"roots: [etc]\n", `roots: "etc" is not an absolute, clean path`},
		"validity":         {"validity: longer\n", `validity: "longer"`},
		"policy":           {"unknown: ask\n", `unknown: "ask"`},
		"two etcds":        {"etcd: {endpoint: 'http://x', programs: {'3.5': /x}}\n", "etcd: either"},
		"no etcd":          {"etcd: {dir: /x}\n", "etcd: either"},
		"minor":            {"etcd: {programs: {'4': /x}}\n", `"4" is not a minor version`},
		"name":             {"cluster: {hostname: A_B}\netcd: {endpoint: x}\n", `cluster.hostname: "A_B"`},
		"missing file":     {"values: {chrony: /none}\n", "no such file"},
		"orphans replaced": {"orphans: replace\n", "cannot replace orphans"},
		"orphans dropped":  {"orphans: drop\n", "name the keys of etcd under drop"},
		"root authority":   {"rootCA: /x\n", "takes the place of one of the cluster's by keep.keys"},
		"tokens replaced":  {"foreignTokens: replace\n", "cannot replace foreign tokens"},
		"id of a key":      {"keep: {keys: [{name: a, id: abc, file: " + write(t, "key", cryptotest.KeyPEM(cryptotest.EC(t))) + "}]}\n", "is not the id of a key"},
		"nameless key":     {"keep: {keys: [{file: /none}]}\n", "one has no name"},
		"no length":        {"validFor: long\n", "of another kind"},
		"keys in the file": {"keep: {keys: [{name: a, file: /none}]}\n", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q", err, tc.want)
			}
		})
	}
}

// An error about a file must not quote what may be a secret in it.
func TestErrorsQuoteNoValue(t *testing.T) {
	for _, text := range []string{"pull_secret: {auth: hunter2}\n", "crypto_dirs: hunter2\n", "threads: hunter2\n", "{a: hunter2\n", "node: [hunter2]\n", "a_b: 1\nhunter2"} {
		if _, err := load(t, text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got error %v", err)
		}
	}
}

func TestLearn(t *testing.T) {
	program := cryptotest.EtcdPrograms(t)["3.7"]
	cryptotest.ServeEtcd(t, program, filepath.Join(t.TempDir(), "etcd"), func(ctx context.Context, client *clientv3.Client) {
		for key, value := range map[string]string{
			"config.openshift.io/dnses/cluster":           `{"spec":{"baseDomain":"seed.example"}}`,
			"config.openshift.io/infrastructures/cluster": `{"status":{"infrastructureName":"seed-x7k2p"}}`,
			"config.openshift.io/clusterversions/version": `{"spec":{"clusterID":"6b0b4dba-45e4-4b7e-8d8d-1f5a3c3f2a04"}}`,
			"minions/seed-node": cryptotest.Stored(t, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "seed-node"}, Status: corev1.NodeStatus{
				Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "seed-node"}, {Type: corev1.NodeInternalIP, Address: "192.0.2.10"}},
			}}),
			"config.openshift.io/proxies/cluster": `{"status":{"httpProxy":"http://seed:1","noProxy":".svc,seed"}}`,
			"configmaps/kube-system/cluster-config-v1": cryptotest.Stored(t, &corev1.ConfigMap{Data: map[string]string{
				"install-config": "networking: {machineNetwork: [{cidr: 192.0.2.0/24}]}",
			}}),
			"configmaps/openshift-config/user-ca-bundle": cryptotest.Stored(t, &corev1.ConfigMap{Data: map[string]string{"ca-bundle.crt": "the seed's"}}),
		} {
			if _, err := client.Put(ctx, "/kubernetes.io/"+key, value); err != nil {
				t.Fatal(err)
			}
		}
		learn := func(text string) (plan.Rules, error) {
			return mustLoad(t, "etcd: {endpoint: x}\n"+text).Config(nil, "").Learn(ctx, client)
		}
		t.Run("everything", func(t *testing.T) {
			rules, err := learn(fmt.Sprintf(`
cluster: {domain: edge.example, infraID: edge-b2c4d, clusterID: 6b0b4dba-45e4-4b7e-8d8d-1f5a3c3f2a05, hostname: edge-node, nodeIPs: [192.0.2.20], machineNetworks: [198.51.100.0/24]}
values: {trustBundles: {user-ca-bundle: %s}, proxy: {spec: {}, status: {httpProxy: "http://edge:1", noProxy: .svc}}}`, write(t, "bundle", "ours")))
			if err != nil {
				t.Fatal(err)
			}
			want := rename.Rules{
				rename.Domain("seed.example", "edge.example"), rename.InfraID("seed-x7k2p", "edge-b2c4d"),
				rename.ClusterID("6b0b4dba-45e4-4b7e-8d8d-1f5a3c3f2a04", "6b0b4dba-45e4-4b7e-8d8d-1f5a3c3f2a05"),
				rename.Hostname("seed-node", "edge-node"), rename.Address("192.0.2.10", "192.0.2.20"), rename.Network("192.0.2.0/24", "198.51.100.0/24"),
				rename.Value("proxy for HTTP", "http://seed:1", "http://edge:1"), rename.Value("proxy exceptions", ".svc,seed", ".svc"),
			}
			const text = "seed.example seed-x7k2p 6b0b4dba-45e4-4b7e-8d8d-1f5a3c3f2a04 seed-node 192.0.2.10 192.0.2.0/24 http://seed:1 .svc,seed "
			if got := rules.Renames.Apply(text); len(rules.Renames) != len(want) || got != want.Apply(text) {
				t.Errorf("got %q, want %q", got, want.Apply(text))
			}
			if diff := cmp.Diff([]string{"proxy", "leases", "logins", "state of the old names", "trust bundle user-ca-bundle"}, names(rules)); diff != "" {
				t.Error(diff)
			}
		})
		t.Run("proxy and machine networks", func(t *testing.T) {
			rules, err := learn("values: {proxy: {status: {httpProxy: 'http://p:2', noProxy: '.svc,edge'}}}")
			if err != nil {
				t.Fatal(err)
			}
			if got := rules.Renames.Apply("HTTP_PROXY=http://seed:1 NO_PROXY=.svc,seed"); got != "HTTP_PROXY=http://p:2 NO_PROXY=.svc,edge" {
				t.Errorf("got %q", got)
			}
			recert := func(networks string) (plan.Rules, error) {
				return mustLoad(t, "etcd_endpoint: x\ncrypto_dirs: [/kubernetes]\nmachine_network_cidr: "+networks+"\n").Config(nil, "").Learn(ctx, client)
			}
			if rules, err = recert("198.51.100.0/24"); err != nil || rules.Renames.Apply("192.0.2.0/24") != "198.51.100.0/24" {
				t.Errorf("got %v, %v", rules.Renames, err)
			}
			if diff := cmp.Diff([]string{"leases", "logins", "state of the old names"}, names(rules)); diff != "" {
				t.Error(diff)
			}
			if rules, err = recert("198.51.100.0/24\nip_change_only: true"); err != nil || !rules.NamesOnly || !slices.Equal(names(rules), []string{"leases"}) {
				t.Errorf("got %v, %v", names(rules), err)
			}
			// The lifecycle-agent names the bundle without its content when that is the user's.
			if rules, err = recert("198.51.100.0/24\nuser_ca_bundle: ours\nproxy_trusted_ca_bundle: 'user-ca-bundle:'"); err != nil {
				t.Fatal(err)
			}
			const bundle = "/kubernetes.io/configmaps/openshift-config/user-ca-bundle"
			stored, err := client.Get(ctx, bundle)
			if err != nil {
				t.Fatal(err)
			}
			after, _, err := rules.Changes.Set(ref.Ref{Store: ref.Etcd, Name: bundle}, stored.Kvs[0].Value)
			if err != nil || !strings.Contains(string(after), "ours") {
				t.Errorf("got bundle %q, %v", after, err)
			}
			if _, err := recert("[198.51.100.0/24, 'fd00::/64']"); err == nil || !strings.Contains(err.Error(), "has 1 machine networks, 2 are given") {
				t.Errorf("got error %v", err)
			}
		})
		t.Run("encrypted", func(t *testing.T) {
			const key = "/kubernetes.io/configmaps/kube-system/cluster-config-v1"
			before, err := client.Get(ctx, key)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Put(ctx, key, "k8s:enc:aescbc:v1:1:xxxx"); err != nil {
				t.Fatal(err)
			}
			_, err = learn("cluster: {machineNetworks: [198.51.100.0/24]}")
			if err == nil || !strings.Contains(err.Error(), "name the directory with the API server's encryption configuration") {
				t.Errorf("got error %v", err)
			}
			if _, err := client.Put(ctx, key, string(before.Kvs[0].Value)); err != nil {
				t.Fatal(err)
			}
		})
		t.Run("what is called so already", func(t *testing.T) {
			if rules, err := learn("cluster: {domain: seed.example}"); err != nil || len(rules.Renames) != 0 {
				t.Errorf("got %v, %v", rules.Renames, err)
			}
		})
		t.Run("more addresses than before", func(t *testing.T) {
			if _, err := learn("cluster: {nodeIPs: [192.0.2.20, 'fd00::2']}"); err == nil || !strings.Contains(err.Error(), "has 1 addresses, 2 are given") {
				t.Errorf("got error %v", err)
			}
		})
		t.Run("no such cluster", func(t *testing.T) {
			if _, err := client.Delete(ctx, "/kubernetes.io/config.openshift.io/", clientv3.WithPrefix()); err != nil {
				t.Fatal(err)
			}
			if _, err := learn("cluster: {domain: edge.example}"); err == nil || !strings.Contains(err.Error(), "cannot learn what the cluster is called") {
				t.Errorf("got error %v", err)
			}
		})
	})
}
