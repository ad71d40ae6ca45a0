package site_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/reroot-dev/reroot/events/seed"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/site"
)

// keys is an etcd of which only values can be read.
type keys struct {
	clientv3.KV
	values map[string]string
}

func (k keys) Get(_ context.Context, key string, _ ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	r := &clientv3.GetResponse{}
	if v, ok := k.values[key]; ok {
		r.Kvs = []*mvccpb.KeyValue{{Key: []byte(key), Value: []byte(v)}}
	}
	return r, nil
}

func bundle(t *testing.T, pem string) string {
	t.Helper()
	return cryptotest.Stored(t, &corev1.ConfigMap{Data: map[string]string{"ca-bundle.crt": pem}})
}

func TestLearn(t *testing.T) {
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "kubeconfig"), []byte(`{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"a"}}],"clusters":[{"name":"a","cluster":{"server":"https://127.0.0.1:20001"}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const config, maps = "/kubernetes.io/config.openshift.io/", "/kubernetes.io/configmaps/openshift-config/"
	full := func() map[string]string {
		return map[string]string{
			config + "clusterversions/version": `{"spec":{"clusterID":"id"}}`,
			config + "infrastructures/cluster": `{"status":{"infrastructureName":"seed-x7k2p"}}`,
			config + "dnses/cluster":           `{"spec":{"baseDomain":"seed.lab.example"}}`,
			config + "proxies/cluster":         `{"spec":{"httpProxy":"http://a","trustedCA":{"name":"more"}},"status":{"httpProxy":"http://a","noProxy":".svc"}}`,
			config + "images/cluster":          `{"spec":{"additionalTrustedCA":{"name":"registries"}}}`,
			maps + "user-ca-bundle":            bundle(t, "user's"),
			maps + "more":                      bundle(t, "more"),
		}
	}
	want := site.Names{
		Domain: "seed.lab.example", InfraID: "seed-x7k2p", ClusterID: "id", Hostname: "sno", NodeIPs: []string{"192.0.2.1"}, MachineNetworks: []string{"192.0.2.0/24"},
		API: "127.0.0.1:20001", Proxy: rule.ProxySettings{HTTP: "http://a", No: ".svc"}, TrustBundles: map[string]string{"user-ca-bundle": "user's", "more": "more"},
		RegistryBundle: "registries",
	}
	for _, test := range []struct {
		name   string
		change func(map[string]string)
		want   func(*site.Names)
		err    string
	}{
		{"everything", func(map[string]string) {}, func(*site.Names) {}, ""},
		{"no proxy", func(m map[string]string) { delete(m, config+"proxies/cluster") }, func(n *site.Names) { n.Proxy, n.TrustBundles = rule.ProxySettings{}, nil }, ""},
		{"no image configuration", func(m map[string]string) { delete(m, config+"images/cluster") }, func(n *site.Names) { n.RegistryBundle = "" }, ""},
		{"no authorities of registries", func(m map[string]string) { m[config+"images/cluster"] = `{"spec":{}}` }, func(n *site.Names) { n.RegistryBundle = "" }, ""},
		{"a malformed image configuration", func(m map[string]string) { m[config+"images/cluster"] = `{` }, nil, "images/cluster: unexpected end"},
		{"no bundles", func(m map[string]string) { delete(m, maps+"more"); delete(m, maps+"user-ca-bundle") }, func(n *site.Names) { n.TrustBundles = map[string]string{} }, ""},
		{"an encrypted bundle", func(m map[string]string) { m[maps+"more"] = "k8s:enc:aescbc:v1:1:secret" }, func(n *site.Names) { delete(n.TrustBundles, "more") }, ""},
		{"no domain", func(m map[string]string) { m[config+"dnses/cluster"] = `{"spec":{}}` }, nil, "dnses/cluster: field [spec baseDomain] is not set"},
		{"no cluster version", func(m map[string]string) { delete(m, config+"clusterversions/version") }, nil, "clusterversions/version: does not exist"},
	} {
		t.Run(test.name, func(t *testing.T) {
			values, want := full(), want
			want.TrustBundles = map[string]string{"user-ca-bundle": "user's", "more": "more"}
			test.change(values)
			got, err := site.Learn(t.Context(), root, "/kubeconfig", keys{values: values}, seed.ClusterInfo{Hostname: "sno", NodeIP: "192.0.2.1", MachineNetworks: []string{"192.0.2.0/24"}})
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
