package site_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/site"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// authority makes a self-signed certificate and its key, both PEM.
func authority(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func target(t *testing.T) *site.Site {
	t.Helper()
	_, key := authority(t, "kube-apiserver-lb-signer")
	ca, _ := authority(t, "admin-kubeconfig-signer")
	return &site.Site{
		Version: site.Version,
		Names: site.Names{
			Domain: "target.lab.example", InfraID: "target-x7k2p", ClusterID: "11111111-1111-1111-1111-111111111111", Hostname: "target-node",
			NodeIPs: []string{"192.168.126.11"}, API: "127.0.0.1:30001",
			MachineNetworks: []string{"192.168.0.0/17"},
			Proxy:           rule.ProxySettings{HTTP: "http://proxy.target:3128", HTTPS: "http://proxy.target:3129", No: ".svc,192.168.0.0/17"},
			TrustBundles:    map[string]string{"user-ca-bundle": "target's"},
			Flags:           map[string]map[string]string{"etcd.yaml": {"listen-client-urls": "https://127.0.0.1:30002", "port": "30002"}, "kube-apiserver.yaml": {"secure-port": "30001"}},
		},
		Signers:  []site.Signer{{CommonName: "kube-apiserver-lb-signer", Secret: "openshift-kube-apiserver-operator/loadbalancer-serving-signer", Key: key, SubjectKeyID: []byte{1, 2}}},
		ClientCA: ca, PullSecret: []byte(`{"auths":{}}`),
		Files: []site.File{{Path: "/etc/hostname", Mode: 0o644, UID: os.Getuid(), GID: os.Getgid(), Data: []byte("target-node\n")}},
	}
}

func seedNames() site.Names {
	return site.Names{
		Domain: "seed.lab.example", InfraID: "seed-x7k2p", ClusterID: "22222222-2222-2222-2222-222222222222", Hostname: "seed-node",
		NodeIPs: []string{"192.168.126.10"}, API: "127.0.0.1:20001",
		MachineNetworks: []string{"192.168.126.0/24"}, Proxy: rule.ProxySettings{HTTP: "http://dummy:1", HTTPS: "http://dummy:2", No: ".svc,dummy"},
		TrustBundles: map[string]string{"user-ca-bundle": "seed's"},
		Flags:        map[string]map[string]string{"etcd.yaml": {"listen-client-urls": "https://127.0.0.1:20002", "port": "20002"}, "kube-apiserver.yaml": {"secure-port": "20001"}},
	}
}

// policies are rules that say how the site's treat what is neither the site's nor renamed.
func policies() plan.Rules {
	return plan.Rules{Validity: plan.Extend, Now: now, Own: []string{"root-ca"}, External: []string{"file:/etc/pki/"}, Orphans: plan.Keep}
}

// What the policies say stays, and the seed's Image names one more list of others' authorities.
func TestRulesPolicies(t *testing.T) {
	from := seedNames()
	from.RegistryBundle = "registries"
	want := policies()
	rules, err := target(t).Rules(from, want)
	if err != nil {
		t.Fatal(err)
	}
	external := []string{"file:/etc/pki/", "etcd:/kubernetes.io/configmaps/openshift-config/registries"}
	if !slices.Equal(rules.External, external) || !slices.Equal(want.External, external[:1]) {
		t.Errorf("got external places %q, want %q", rules.External, external)
	}
	if !slices.Equal(rules.Own, want.Own) || rules.Orphans != want.Orphans || rules.Validity != want.Validity || rules.Now != want.Now {
		t.Errorf("got %+v, want the policies %+v", rules, want)
	}
}

func TestRulesRename(t *testing.T) {
	rules, err := target(t).Rules(seedNames(), policies())
	if err != nil {
		t.Fatal(err)
	}
	if err := rules.Check(); err != nil {
		t.Fatalf("the engine refuses the rules: %v", err)
	}
	for name, c := range map[string]struct{ from, to string }{
		"domain and what is below it": {"https://api.seed.lab.example, *.apps.seed.lab.example", "https://api.target.lab.example, *.apps.target.lab.example"},
		"infrastructure id":           {"seed-x7k2p-master-0", "target-x7k2p-master-0"},
		"cluster id":                  {"clusterID: 22222222-2222-2222-2222-222222222222", "clusterID: 11111111-1111-1111-1111-111111111111"},
		"host name in a file name":    {"etcd-serving-seed-node.crt", "etcd-serving-target-node.crt"},
		"node address":                {"192.168.126.10 but not 192.168.126.100", "192.168.126.11 but not 192.168.126.100"},
		"port in a URL":               {"server: https://127.0.0.1:20001", "server: https://127.0.0.1:30001"},
		"port in a flag":              {"--secure-port=20001", "--secure-port=30001"},
		"probed port":                 {"        port: 20002\n", "        port: 30002\n"},
		"flag with a URL":             {"--listen-client-urls=https://127.0.0.1:20002", "--listen-client-urls=https://127.0.0.1:30002"},
		"machine network":             {"cidr: 192.168.126.0/24", "cidr: 192.168.0.0/17"},
		"proxy":                       {`"HTTPS_PROXY","value":"http://dummy:2"`, `"HTTPS_PROXY","value":"http://proxy.target:3129"`},
		"proxy exceptions":            {"NO_PROXY=.svc,dummy\n", "NO_PROXY=.svc,192.168.0.0/17\n"},
		"a bare number stays":         {"replicas: 20001", "replicas: 20001"},
		"another cluster's name":      {"api.xseed.lab.example", "api.xseed.lab.example"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rules.Renames.Apply(c.from); got != c.to {
				t.Errorf("%q becomes %q, want %q", c.from, got, c.to)
			}
		})
	}
}

func TestRulesWithoutDifference(t *testing.T) {
	s := target(t)
	rules, err := s.Rules(s.Names, policies())
	if err != nil || len(rules.Renames) != 0 {
		t.Errorf("a seed of the same names leads to %v, %v", rules.Renames, err)
	}
}

// The seed's two proxies are one: which is meant where cannot be told.
func TestAmbiguousProxy(t *testing.T) {
	from := seedNames()
	from.Proxy.HTTPS = from.Proxy.HTTP
	s := target(t)
	rules, err := s.Rules(from, policies())
	if err != nil {
		t.Fatal(err)
	}
	if got := rules.Renames.Apply("HTTP_PROXY=http://dummy:1"); got != "HTTP_PROXY=http://dummy:1" {
		t.Errorf("got %s, want it left to operators", got)
	}
	s.Names.Proxy.HTTPS = s.Names.Proxy.HTTP
	if rules, err = s.Rules(from, policies()); err != nil || rules.Check() != nil {
		t.Fatal(err, rules.Check())
	}
	if got := rules.Renames.Apply("HTTP_PROXY=http://dummy:1"); got != "HTTP_PROXY=http://proxy.target:3128" {
		t.Errorf("got %s", got)
	}
}

func TestRulesChange(t *testing.T) {
	full := target(t)
	full.Kubeadmin, full.InstallConfig = []byte("$2a$"), []byte("metadata:\n  name: target\n")
	full.Files = append(full.Files, site.File{Path: "/etc/chrony.conf", Data: []byte("pool a\n")})
	bare := target(t)
	bare.Names.Proxy, bare.Names.TrustBundles = rule.ProxySettings{}, nil
	for _, test := range []struct {
		name string
		site *site.Site
		from site.Names
		want []string
	}{
		{"everything", full, seedNames(), []string{"leases", "logins", "lifecycle-agent", "pull secret", "kubeadmin", "state of the old names", "install-config", "chrony", "proxy", "trust bundle user-ca-bundle"}},
		{"little", bare, seedNames(), []string{"leases", "logins", "lifecycle-agent", "pull secret", "kubeadmin", "state of the old names"}},
		{"a seed of the same names", bare, bare.Names, []string{"leases", "logins", "lifecycle-agent", "pull secret", "kubeadmin"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rules, err := test.site.Rules(test.from, policies())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rules.Changes {
				got = append(got, r.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if err := rules.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRulesKeep(t *testing.T) {
	s := target(t)
	rules, err := s.Rules(seedNames(), policies())
	if err != nil {
		t.Fatal(err)
	}
	kept := rules.KeepKeys[0]
	if kept.CommonName != "kube-apiserver-lb-signer" || kept.Site != "/secrets/openshift-kube-apiserver-operator/loadbalancer-serving-signer" || !slices.Equal(kept.SubjectKeyID, []byte{1, 2}) || kept.Key == nil {
		t.Errorf("kept key: %q at %q, identifier %x", kept.CommonName, kept.Site, kept.SubjectKeyID)
	}
	if len(rules.KeepCertificates) != 1 {
		t.Errorf("%d certificates are kept, want the administrator's client CA", len(rules.KeepCertificates))
	}
	for name, spoil := range map[string]func(*site.Site){
		"no key": func(s *site.Site) { s.Signers[0].Key = []byte("secret-but-no-pem") },
		"damaged key": func(s *site.Site) {
			s.Signers[0].Key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")})
		},
		"no client CA": func(s *site.Site) { s.ClientCA = nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := target(t)
			spoil(s)
			_, err := s.Rules(seedNames(), policies())
			if err == nil || !strings.HasPrefix(err.Error(), "cannot keep ") || strings.Contains(err.Error(), "secret") {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestSnapshot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "site")
	s := target(t)
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "site.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the snapshot can be read by others: %v, %v", info.Mode(), err)
	}
	loaded, err := site.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, loaded); diff != "" {
		t.Errorf("it is not what was saved: %s", diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "site.json"), []byte(`{"version":1,"pullSecret":"hunter2`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := site.Load(dir); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a damaged snapshot: %v", err)
	}
	s.Version = 99
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := site.Load(dir); err == nil {
		t.Error("a snapshot of another form was loaded")
	}
}

func TestOffline(t *testing.T) {
	dir := t.TempDir()
	s := target(t)
	for range 2 { // the second time after a crash
		if err := s.Offline(dir); err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{"etc/hostname": "target-node\n", "var/lib/kubelet/config.json": `{"auths":{}}`} {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v", file, got, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "*", ".reroot-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	s.Files = []site.File{{Path: "/../outside", Mode: 0o600, Data: []byte("x")}}
	if err := s.Offline(dir); err == nil {
		t.Error("a path that leads out of the root was written")
	}
}
