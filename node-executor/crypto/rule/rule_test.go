package rule_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

func secret(t testing.TB, annotations, data map[string]string) string {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Annotations: annotations}, Type: corev1.SecretTypeOpaque, Data: map[string][]byte{}}
	for key, value := range data {
		s.Data[key] = []byte(value)
	}
	return cryptotest.Stored(t, s)
}

func configMap(t testing.TB, data map[string]string) string {
	t.Helper()
	return cryptotest.Stored(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: data})
}

func zipped(t testing.TB, text string) string {
	t.Helper()
	return zippedAs(t, gzip.Header{OS: 255}, text) // what Go writes
}

func zippedAs(t testing.TB, header gzip.Header, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Header = header
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out.Bytes())
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// A MachineConfig with the file in each form, and another one.
func machineConfig(t testing.TB, path, content string) string {
	t.Helper()
	return `{"kind":"MachineConfig",  "spec":{"config":{"storage":{"files":[` +
		`{"path":"` + path + `","contents":{"source":"data:text/plain;charset=utf-8;base64,` + b64(content) + `"}},` +
		`{"contents":{"source":"data:,` + strings.NewReplacer(" ", "%20", "{", "%7B", "}", "%7D", `"`, "%22", ":", "%3A").Replace(content) + `"},"path":"` + path + `"},` +
		`{"path":"` + path + `","contents":{"compression":"gzip","source":"data:;base64,` + zipped(t, content) + `"}},` +
		`{"path":"` + path + `.other","contents":{"source":"data:,other"}},{"path":"` + path + `"}]}}}}` + "\n"
}

const (
	seedCA   = "-----BEGIN CERTIFICATE-----\nseed\n-----END CERTIFICATE-----"
	targetCA = "-----BEGIN CERTIFICATE-----\ntarget\n-----END CERTIFICATE-----"
	system   = "# system\n-----BEGIN CERTIFICATE-----\nall\n-----END CERTIFICATE-----\n"
)

func proxyObject(spec, status string) string {
	return `{"kind":"Proxy","spec":{` + spec + `"trustedCA":{"name":"x"}},"status":{` + status + `}}`
}

func TestSet(t *testing.T) {
	pull := rule.PullSecret([]byte(`{"auths": {}}`))
	proxy := rule.Proxy(rule.ProxySettings{HTTP: "http://p:1", No: "a"}, rule.ProxySettings{HTTP: "http://p:1", No: ".svc,a"})
	bundle := rule.TrustBundle(rule.UserBundle, []byte(seedCA+"\n"), []byte(targetCA+"\n"))
	const machines = "etcd:/kubernetes.io/machineconfiguration.openshift.io/machineconfigs/"
	for _, test := range []struct {
		name         string
		rule         rule.Rule
		site         string
		before, want string
		absent       bool // no place for the rule
	}{
		{name: "pull secret", rule: pull, site: "etcd:/kubernetes.io/secrets/openshift-config/pull-secret",
			before: secret(t, nil, map[string]string{".dockerconfigjson": "seed", "z": "seed"}), want: secret(t, nil, map[string]string{".dockerconfigjson": `{"auths": {}}`, "z": "seed"})},
		{name: "pull secret without an entry", rule: pull, site: "etcd:/kubernetes.io/secrets/openshift-config/pull-secret", absent: true, before: secret(t, nil, map[string]string{"z": "seed"})},
		{name: "pull secret elsewhere", rule: pull, site: "etcd:/kubernetes.io/secrets/ns/pull-secret", absent: true, before: secret(t, nil, map[string]string{".dockerconfigjson": "seed"})},
		{name: "pull secret of the kubelet", rule: pull, site: "file:/var/lib/kubelet/config.json", before: "seed", want: `{"auths": {}}`},
		{name: "pull secret rendered", rule: pull, site: machines + "rendered-master-1",
			before: machineConfig(t, "/var/lib/kubelet/config.json", "seed"), want: machineConfig(t, "/var/lib/kubelet/config.json", `{"auths": {}}`)},
		{name: "pull secret not rendered", rule: pull, site: machines + "99-ssh", absent: true, before: machineConfig(t, "/etc/a", "seed")},
		{name: "kubeadmin", rule: rule.Kubeadmin([]byte("$2a$hash")), site: "etcd:/kubernetes.io/secrets/kube-system/kubeadmin",
			before: secret(t, nil, map[string]string{"kubeadmin": "seed"}), want: secret(t, nil, map[string]string{"kubeadmin": "$2a$hash"})},
		{name: "install-config", rule: rule.InstallConfig([]byte("metadata:\n  name: target\n")), site: "etcd:/kubernetes.io/configmaps/openshift-etcd/cluster-config-v1",
			before: configMap(t, map[string]string{"install-config": "seed"}), want: configMap(t, map[string]string{"install-config": "metadata:\n  name: target\n"})},
		{name: "chrony on disk", rule: rule.Chrony([]byte("pool a\n")), site: "file:/etc/chrony.conf", before: "pool seed", want: "pool a\n"},
		{name: "chrony in the daemon's copy", rule: rule.Chrony([]byte("pool a")), site: "file:/etc/machine-config-daemon/currentconfig",
			before: machineConfig(t, "/etc/chrony.conf", "pool seed"), want: machineConfig(t, "/etc/chrony.conf", "pool a")},
		{name: "proxy", rule: proxy, site: "etcd:/kubernetes.io/config.openshift.io/proxies/cluster",
			before: proxyObject(`"httpsProxy":"https://seed","httpProxy":"http://seed",`, `"noProxy":"b"`),
			want:   proxyObject(`"noProxy":"a","httpsProxy":"","httpProxy":"http://p:1",`, `"httpProxy":"http://p:1","noProxy":".svc,a"`)},
		{name: "proxy in the machine config operator", rule: proxy, site: "etcd:/kubernetes.io/machineconfiguration.openshift.io/controllerconfigs/machine-config-controller",
			before: `{"spec":{"proxy":{"httpProxy":"http://seed"}}}`, want: `{"spec":{"proxy":{"noProxy":".svc,a","httpProxy":"http://p:1"}}}`},
		{name: "no proxy in the machine config operator", rule: proxy, site: "etcd:/kubernetes.io/machineconfiguration.openshift.io/controllerconfigs/machine-config-controller",
			absent: true, before: `{"spec":{"proxy":null}}`},
		{name: "bundle", rule: bundle, site: "etcd:/kubernetes.io/configmaps/openshift-config/user-ca-bundle",
			before: configMap(t, map[string]string{"ca-bundle.crt": seedCA + "\n"}), want: configMap(t, map[string]string{"ca-bundle.crt": targetCA + "\n"})},
		{name: "bundle joined with the system's", rule: bundle, site: "etcd:/kubernetes.io/configmaps/ns/trusted-ca-bundle",
			before: configMap(t, map[string]string{"a": "b", "ca-bundle.crt": seedCA + "\n" + system}), want: configMap(t, map[string]string{"a": "b", "ca-bundle.crt": targetCA + "\n" + system})},
		{name: "bundle of others", rule: bundle, site: "etcd:/kubernetes.io/configmaps/ns/trusted-ca-bundle", absent: true, before: configMap(t, map[string]string{"ca-bundle.crt": system})},
		{name: "bundle in the machine config operator", rule: bundle, site: "etcd:/kubernetes.io/machineconfiguration.openshift.io/controllerconfigs/machine-config-controller",
			before: `{"spec":{"additionalTrustBundle":"` + b64("seed") + `"}}`, want: `{"spec":{"additionalTrustBundle":"` + b64(targetCA+"\n") + `"}}`},
		{name: "bundle of the node", rule: bundle, site: "file:/etc/pki/ca-trust/source/anchors/openshift-config-user-ca-bundle.crt", before: "seed", want: targetCA + "\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			store, name, _ := strings.Cut(test.site, ":")
			ref := site.Ref{Store: site.Store(store), Name: name}
			if test.absent {
				test.want = test.before
			}
			rules := rule.Rules{test.rule}
			after, found, err := rules.Set(ref, []byte(test.before))
			if err != nil {
				t.Fatal(err)
			}
			if string(after) != test.want {
				t.Errorf("got\n%q\nwant\n%q", after, test.want)
			}
			if got := len(found) == 0; got != test.absent {
				t.Errorf("found a place: %t, want %t", !got, !test.absent)
			}
			again, _, err := rules.Set(ref, after)
			if err != nil || !bytes.Equal(again, after) {
				t.Errorf("once more it becomes\n%q, %v", again, err)
			}
			if name := rules.Dropped(ref); name != "" {
				t.Errorf("dropped by %s", name)
			}
		})
	}
}

// An operator compares what is stored with what it would write: a data URL is written as the old one was.
func TestMachineFileKeepsItsForm(t *testing.T) {
	header := gzip.Header{Name: "chrony.conf", Comment: "by hand", ModTime: time.Unix(1700000000, 0), OS: 3}
	source := func(compression, source string) string {
		return `{"path":"/etc/chrony.conf","contents":{"compression":"` + compression + `","source":"` + source + `"}}`
	}
	for _, test := range []struct{ name, before, want string }{
		{"what stands for itself", source("", "data:,pool%20seed/a+b!"), source("", "data:,pool%20site/a+b!")},
		{"everything is escaped", source("", "data:,pool%20seed%2Fa%2Bb%21"), source("", "data:,pool%20site%2Fa%2Bb%21")},
		{"the media type", source("", "data:text/plain;charset=utf-8,pool%20seed/a+b!"), source("", "data:text/plain;charset=utf-8,pool%20site/a+b!")},
		{"padded", source("", "data:;base64,"+b64("pool seed//+b!!")), source("", "data:;base64,"+b64("pool site/a+b!"))},
		{"unpadded", source("", "data:;base64,"+strings.TrimRight(b64("pool seed/"), "=")), source("", "data:;base64,"+strings.TrimRight(b64("pool site/a+b!"), "="))},
		{"escaped base64", source("", "data:;base64,cG9vbCBzZWVkLw%3D%3D"), source("", "data:;base64,cG9vbCBzaXRlL2ErYiE%3D")},
		{"the gzip header", source("gzip", "data:;base64,"+zippedAs(t, header, "pool seed")), source("gzip", "data:;base64,"+zippedAs(t, header, "pool site/a+b!"))},
		{"the same text in another form", source("", "data:,p%6f%6fl%20site/a+b!"), source("", "data:,p%6f%6fl%20site/a+b!")},
	} {
		t.Run(test.name, func(t *testing.T) {
			ref := site.Ref{Store: site.File, Name: "/etc/mcs-machine-config-content.json"}
			got, _, err := rule.Rules{rule.Chrony([]byte("pool site/a+b!"))}.Set(ref, []byte(test.before))
			if err != nil || string(got) != test.want {
				t.Errorf("got\n%s, %v\nwant\n%s", got, err, test.want)
			}
		})
	}
}

func TestDropped(t *testing.T) {
	rules := rule.Rules{rule.Leases(), rule.Renamed(), rule.LifecycleAgent(), rule.Kubeadmin(nil)}
	for _, test := range []struct{ key, want string }{
		{"leases/kube-node-lease/sno", "leases"},
		{"masterleases/10.0.0.1", ""},
		{"certificatesigningrequests/csr-1", "state of the old names"},
		{"events/ns/e.1", "state of the old names"},
		{"pods/openshift-etcd/etcd-sno", "state of the old names"},
		{"replicasets/ns/a-5", "state of the old names"},
		{"services/endpoints/default/kubernetes", "state of the old names"},
		{"services/specs/default/kubernetes", ""},
		{"deployments/ns/a", ""},
		{"operator.openshift.io/ingresscontrollers/openshift-ingress-operator/default", ""},
		{"cert-manager.io/certificaterequests/ns/a", "state of the old names"},
		{"cert-manager.io/certificates/ns/a", ""},
		{"daemonsets/openshift-ovn-kubernetes/ovnkube-node", "state of the old names"},
		{"daemonsets/openshift-multus/multus", ""},
		{"deployments/openshift-lifecycle-agent/lifecycle-agent-controller-manager", "lifecycle-agent"},
		{"operators.coreos.com/clusterserviceversions/openshift-lifecycle-agent/lifecycle-agent.v4.18.0", "lifecycle-agent"},
		{"operators.coreos.com/clusterserviceversions/openshift-adp/oadp-operator.v1.4.0", ""},
		{"lca.openshift.io/imagebasedupgrades/upgrade", ""},
		{"secrets/kube-system/kubeadmin", "kubeadmin"},
	} {
		t.Run(test.key, func(t *testing.T) {
			if got := rules.Dropped(site.Ref{Store: site.Etcd, Name: "/kubernetes.io/" + test.key}); got != test.want {
				t.Errorf("dropped by %q, want %q", got, test.want)
			}
			if got := rules.Dropped(site.Ref{Store: site.File, Name: "/kubernetes.io/" + test.key}); got != "" {
				t.Errorf("a file of that name is dropped by %q", got)
			}
		})
	}
}

func TestMalformed(t *testing.T) {
	for name, doc := range map[string]string{
		"no JSON": "/etc/chrony.conf", "no data URL": `{"path":"/etc/chrony.conf","contents":{"source":"secret"}}`,
		"no base64": `{"path":"/etc/chrony.conf","contents":{"source":"data:;base64,secret!"}}`,
		"no gzip":   `{"path":"/etc/chrony.conf","contents":{"compression":"gzip","source":"data:,secret"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			ref := site.Ref{Store: site.File, Name: "/etc/machine-config-daemon/currentconfig"}
			_, _, err := rule.Rules{rule.Chrony([]byte("x"))}.Set(ref, []byte(doc))
			if err == nil || !strings.HasPrefix(err.Error(), "cannot set chrony: ") || strings.Contains(err.Error(), "secret") {
				t.Errorf("got error %v", err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	if err := (rule.Rules{rule.Leases(), rule.LifecycleAgent()}).Check(); err != nil {
		t.Error(err)
	}
	if err := (rule.Rules{rule.Kubeadmin(nil), rule.Kubeadmin([]byte("x"))}).Check(); err == nil {
		t.Error("two rules for one thing were accepted")
	}
}

func TestMachineNetworks(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
		err        string
	}{
		{"two", "networking:\n  machineNetwork:\n  - cidr: 192.0.2.0/24\n  - cidr: 2001:db8::/64\n", []string{"192.0.2.0/24", "2001:db8::/64"}, ""},
		{"none", "metadata: {name: a}\n", nil, ""},
		{"unnamed", "networking: {machineNetwork: [{}]}", nil, "machine network 0"},
		{"malformed", "pullSecret: [secret", nil, "malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := rule.MachineNetworks([]byte(test.text))
			if !slices.Equal(got, test.want) || (err == nil) != (test.err == "") {
				t.Fatalf("got %v, %v", got, err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("got error %v", err)
			}
		})
	}
}
