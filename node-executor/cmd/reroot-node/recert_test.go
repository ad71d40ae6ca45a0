package main_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
)

// recert makes the configuration one of recert's, with the overlaps of the lifecycle-agent's, and runs use while the node's etcd
// serves as the lifecycle-agent has it serve.
func (s *seed) recert(options map[string]any, use func(values func() map[string]string)) {
	s.t.Helper()
	kubernetes := s.path("node/etc/kubernetes")
	s.config = map[string]any{
		"crypto_dirs": []string{kubernetes}, "crypto_files": []string{s.path("node/etc/mcs-machine-config-content.json"), kubernetes + "/ca.crt"},
		"cluster_customization_dirs":  []string{kubernetes, kubernetes + "/"},
		"cluster_customization_files": []string{kubernetes + "/tls.crt", s.path("node/etc/none")},
		"summary_file":                s.path("summary.yaml"), "summary_file_clean": s.path("summary_clean.yaml"),
	}
	for option, value := range options {
		s.config[option] = value
	}
	cryptotest.ServeEtcd(s.t, s.etcd, s.path("node/var/lib/etcd"), func(ctx context.Context, client *clientv3.Client) {
		s.config["etcd_endpoint"] = client.Endpoints()[0]
		use(func() map[string]string {
			all := map[string]string{}
			r, err := client.Get(ctx, "/", clientv3.WithPrefix())
			if err != nil {
				s.t.Fatal(err)
			}
			for _, kv := range r.Kvs {
				all[string(kv.Key)] = string(kv.Value)
			}
			return all
		})
	})
}

func (s *seed) certificate(name string) *x509.Certificate {
	s.t.Helper()
	block, _ := pem.Decode([]byte(s.read(name)))
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestRecertFile(t *testing.T) {
	options := map[string]any{
		"cluster_rename": "target:example:target-b2c4d", "hostname": "target-node", "ip": "192.0.2.20", "extend_expiration": true,
		"cn_san_replace_rules": []string{"192.0.2.10,192.0.2.20"}, "pull_secret": `{"auths":{"mine":{}}}`, "kubeadmin_password_hash": "",
	}
	for name, as := range map[string]func(s *seed) result{
		"YAML": func(s *seed) result { return s.run("regenerate", "--journal", s.path("journal")) },
		"JSON": func(s *seed) result {
			text, err := json.MarshalIndent(s.config, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			return run(t, "crypto", "regenerate", "--config", s.write("config.json", string(text)), "--journal", s.path("journal"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSeed(t)
			s.recert(options, func(values func() map[string]string) {
				got := as(s)
				if got.code != 0 {
					t.Fatalf("exit code %d:\n%s%s", got.code, got.stdout, got.stderr)
				}
				key := s.read("node/etc/kubernetes/ca.key")
				if c := s.certificate("node/etc/kubernetes/tls.crt"); c.DNSNames[0] != "api.target.example" || c.IPAddresses[0].String() != "192.0.2.20" || key == s.authority.KeyPEM() {
					t.Errorf("got a certificate for %v %v", c.DNSNames, c.IPAddresses)
				}
				after := values()
				if after[nodeKey] != "" || after["/kubernetes.io/minions/target-node"] == "" || after["/kubernetes.io/leases/ns/leader"] != "" {
					t.Error("the node is not renamed, or the lease is left")
				}
				summary := s.read("summary.yaml")
				if summary != s.read("summary_clean.yaml") || !strings.Contains(summary, "eachCertificate:\n- action: reissue") {
					t.Errorf("got summary:\n%s", summary)
				}
				s.noSecrets("the summary", summary, s.authority.KeyPEM(), s.leaf.KeyPEM(), key)
			})
		})
	}
}

// The lifecycle-agent's change of an address replaces no key.
func TestRecertAddressOnly(t *testing.T) {
	s := newSeed(t)
	signer := s.write("signer.key", s.authority.KeyPEM())
	s.recert(map[string]any{
		"ip_change_only": true, "ip": "192.0.2.20", "cn_san_replace_rules": []string{"192.0.2.10,192.0.2.20"}, "use_key_rules": []string{"an-authority " + signer},
	}, func(values func() map[string]string) {
		if got := s.run("regenerate", "--journal", s.path("journal")); got.code != 0 {
			t.Fatalf("exit code %d:\n%s", got.code, got.stderr)
		}
		c := s.certificate("node/etc/kubernetes/tls.crt")
		if c.IPAddresses[0].String() != "192.0.2.20" || !cmp.Equal(c.RawSubjectPublicKeyInfo, s.leaf.Certificate.RawSubjectPublicKeyInfo) || c.CheckSignatureFrom(s.authority.Certificate) != nil {
			t.Errorf("got a certificate for %v", c.IPAddresses)
		}
		if s.read("node/etc/kubernetes/ca.crt") != s.authority.PEM() || s.read("node/etc/kubernetes/ca.key") != s.authority.KeyPEM() {
			t.Error("the authority changed")
		}
		if key := strings.Split(s.leaf.KeyPEM(), "\n")[1]; !strings.Contains(values()[tlsKey], key) {
			t.Error("the private key changed")
		}
	})
}
