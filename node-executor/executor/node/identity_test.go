package node_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest/fixture"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	cryptosite "github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/executor/node"
	"github.com/reroot-dev/reroot/node-executor/site"
)

// By the rules that an upgrade is made with, and where an executor looks that is told nothing, nothing of a cluster of OKD's
// shape tells any more what the seed was called or holds its credentials, and another run finds every rule fulfilled.
func TestNothingTellsTheSeed(t *testing.T) {
	seed := fixture.New(t, fixture.Options{Seed: 1, Name: "seedling", NewKey: cryptotest.NewKeys("seed").Make})
	if err := os.RemoveAll(filepath.Join(seed.Etc, "cni", "multus")); err != nil { // no seed image carries it
		t.Fatal(err)
	}
	before := seed.Objects(t)
	pullSecret := cryptotest.Decoded(t, before["/kubernetes.io/secrets/openshift-config/pull-secret"], &corev1.Secret{}).Data[corev1.DockerConfigJsonKey]
	kubeadmin := cryptotest.Decoded(t, before["/kubernetes.io/secrets/kube-system/kubeadmin"], &corev1.Secret{}).Data["kubeadmin"]
	from := site.Names{
		Domain: seed.Identity.Domain(), InfraID: seed.Identity.InfraID, ClusterID: seed.Identity.ClusterID, Hostname: seed.Identity.Hostname,
		NodeIPs: []string{seed.Identity.NodeIP}, MachineNetworks: []string{"192.168.126.0/24"}, Proxy: proxyOf(t, seed),
	}
	kept := cryptotest.Authority(t, "admin-kubeconfig-signer", cryptotest.EC(t))
	proxy := rule.ProxySettings{HTTP: "http://grown:word@proxy.example.org:1", HTTPS: "http://grown:word@proxy.example.org:2", No: ".svc,.grown.example.org"}
	target := site.Site{
		Names: site.Names{
			Domain: "grown.example.org", InfraID: "grown-abcde", ClusterID: "11111111-2222-3333-4444-555555555555", Hostname: "oak",
			NodeIPs: []string{"198.51.100.7"}, MachineNetworks: []string{"198.51.100.0/24"}, Proxy: proxy,
		},
		Proxy:    proxy,
		Files:    []site.File{{Path: rule.ChronyFile, Data: []byte("pool time.example.org\n")}},
		ClientCA: []byte(kept.PEM()), PullSecret: []byte(`{"auths":{"grown":{}}}`), Kubeadmin: []byte("$2a$10$grown"),
		InstallConfig: []byte("baseDomain: example.org\nmetadata:\n  name: grown\n"),
	}
	defaults, err := node.Parse([]byte(least))
	if err != nil {
		t.Fatal(err)
	}
	config := seed.Config(t)
	config.Generate, config.Roots = cryptotest.NewKeys("fresh").Make, node.Present(defaults.Crypto, filepath.Dir(seed.Etc))
	if config.Rules, err = target.Rules(from, node.Rules(defaults.Crypto, time.Now())); err != nil {
		t.Fatal(err)
	}
	summary, err := crypto.Regenerate(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"domain", "infrastructure id", "cluster id", "host name", "address", "pull secret", "kubeadmin", "install-config", "certificate annotations", "proxy", "proxy for HTTP", "proxy for HTTPS", "proxy exceptions", "chrony"} {
		if summary.Rules[name] == 0 {
			t.Errorf("rule %s applied nowhere", name)
		}
	}
	told := [][]byte{
		[]byte(from.Domain), []byte(from.InfraID), []byte(from.ClusterID), []byte(from.Hostname), []byte(from.NodeIPs[0]), []byte(from.MachineNetworks[0]),
		pullSecret, kubeadmin, []byte(from.Proxy.HTTP), []byte(from.Proxy.HTTPS), []byte(from.Proxy.No), []byte("pool seedling"),
	}
	after := seed.Objects(t)
	for name, text := range tells(t, seed, after, told) {
		t.Errorf("%s still says %q", name, text)
	}
	if got := cryptotest.Decoded(t, after["/kubernetes.io/configmaps/kube-system/cluster-config-v1"], &corev1.ConfigMap{}).Data["install-config"]; got != string(target.InstallConfig) {
		t.Errorf("got install-config %q", got)
	}
	if got := cryptotest.Decoded(t, after["/kubernetes.io/secrets/openshift-config/pull-secret"], &corev1.Secret{}).Data[corev1.DockerConfigJsonKey]; !bytes.Equal(got, target.PullSecret) {
		t.Errorf("got pull secret %q", got)
	}
	again(t, config)
}

// proxyOf reads what the node's services are told of the seed's proxy.
func proxyOf(t *testing.T, seed *fixture.Cluster) rule.ProxySettings {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(seed.Etc, "mco", "proxy.env"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = value
	}
	return rule.ProxySettings{HTTP: values["HTTP_PROXY"], HTTPS: values["HTTPS_PROXY"], No: values["NO_PROXY"]}
}

// tells returns the places whose name or content, in any layer, holds one of the texts.
func tells(t *testing.T, seed *fixture.Cluster, objects map[string]string, texts [][]byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	look := func(where string, content []byte) {
		for _, text := range texts {
			if bytes.Contains(content, text) {
				found[where] = string(text)
			}
		}
	}
	visit := func(s cryptosite.Site) error {
		look(s.Ref.String(), []byte(filepath.Base(s.Name)))
		_, err := crawl.Rewrite(s.Content, crawl.Handler{
			Layer: func(path string, content []byte) { look(s.Ref.String()+path, content) },
			Leaf: func(leaf crawl.Leaf) ([]byte, error) {
				look(s.Ref.String()+leaf.Path, leaf.Bytes)
				return nil, nil
			},
		})
		return err
	}
	tree, err := files.New([]files.Root{{Host: seed.Etc, Node: "/etc"}, {Host: filepath.Join(seed.Var, "lib", "kubelet"), Node: "/var/lib/kubelet"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.Walk(context.Background(), visit); err != nil {
		t.Fatal(err)
	}
	for key, value := range objects {
		if err := visit(cryptosite.Site{Ref: cryptosite.Ref{Store: cryptosite.Etcd, Name: key}, Content: []byte(value)}); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// again plans another run: renames find nothing, and all values are there already.
func again(t *testing.T, config crypto.Config) {
	t.Helper()
	config.Rules.KeepCertificates = nil
	config.Journal = filepath.Join(t.TempDir(), "journal")
	p, err := crypto.Prepare(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	renames := map[string]bool{}
	for _, r := range config.Rules.Renames {
		renames[r.Kind] = true
	}
	for _, a := range p.Applications() {
		if renames[a.Rule] && len(a.Sites) > 0 {
			t.Errorf("another run would apply %s", fmt.Sprint(a))
		}
	}
	if len(config.Rules.Renames) == 0 || len(p.Applications()) != len(renames)+len(config.Rules.Changes)+len(rule.Agreements) {
		t.Errorf("got %d applications", len(p.Applications()))
	}
}
