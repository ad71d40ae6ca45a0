package rename_test

import (
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

func TestRules(t *testing.T) {
	domain := rename.Domain("seed.example", "target.example")
	address := rename.Address("192.0.2.1", "192.0.2.99")
	network := rename.Network("192.0.2.0/24", "198.51.100.0/24")
	network6 := rename.Network("2001:db8::/64", "2001:db8:1::/64")
	address6 := rename.Address("2001:db8::10", "2001:db8:1::20")
	proxy := rename.Value("proxy", "http://proxy:3128", "http://other:80")
	list := rename.Value("proxy exceptions", ".svc,localhost", ".svc,10.0.0.0/8,localhost")
	host := rename.Hostname("sno", "node7")
	infra := rename.InfraID("seed-x7k2p", "target-abcde")
	cluster := rename.ClusterID("6b0b4dba-45e4", "00000000-0000")
	port := rename.Port("127.0.0.1", 6443, 7443)
	flag := rename.Flag("secure-port", "6443", "7443")
	setting := rename.Setting("port", "6443", "7443")
	for _, test := range []struct {
		rule       rename.Rule
		text, want string
	}{
		{domain, "https://api.seed.example:6443/x", "https://api.target.example:6443/x"},
		{domain, "*.apps.seed.example", "*.apps.target.example"},
		{domain, "say seed.example.", "say target.example."},
		{domain, "seed.example.org", "seed.example.org"},
		{domain, "birdseed.example", "birdseed.example"},
		{domain, "my-seed.example", "my-seed.example"},
		{domain, `first\nseed.example`, `first\ntarget.example`},
		{address, "[192.0.2.1]:80 192.0.2.1", "[192.0.2.99]:80 192.0.2.99"},
		{address, "192.0.2.10 1192.0.2.1 192.0.2.1.5", "192.0.2.10 1192.0.2.1 192.0.2.1.5"},
		{address, "192.0.2.1/24", "192.0.2.99/24"},
		{network, "192.0.2.0/24,192.0.2.0/240", "198.51.100.0/24,192.0.2.0/240"},
		{network6, `"2001:db8::/64" 2001:db8::/645`, `"2001:db8:1::/64" 2001:db8::/645`},
		{address6, "https://[2001:db8::10]:2379, 2001:db8::101 2001:db8::10", "https://[2001:db8:1::20]:2379, 2001:db8::101 2001:db8:1::20"},
		{address6, "[2001:db8::10]/x 2001:db8::10/64 2001:db8::10:5 1:2001:db8::10 2001:db8::10::", "[2001:db8:1::20]/x 2001:db8:1::20/64 2001:db8::10:5 1:2001:db8::10 2001:db8::10::"},
		{port, "https://127.0.0.1:6443/readyz", "https://127.0.0.1:7443/readyz"},
		{proxy, "HTTP_PROXY=http://proxy:3128\nhttp://proxy:3128/path", "HTTP_PROXY=http://other:80\nhttp://proxy:3128/path"},
		{proxy, `{"httpProxy":"http://proxy:3128"}`, `{"httpProxy":"http://other:80"}`},
		{proxy, "http://proxy:31280", "http://proxy:31280"},
		{list, "NO_PROXY=.svc,localhost", "NO_PROXY=.svc,10.0.0.0/8,localhost"},
		{list, "a.svc,localhost .svc,localhost,b", "a.svc,localhost .svc,localhost,b"},
		{host, "etcd-peer-sno.crt sno.example system:node:sno", "etcd-peer-node7.crt node7.example system:node:node7"},
		{host, "snow casino sno7", "snow casino sno7"},
		{infra, "seed-x7k2p-master-0", "target-abcde-master-0"},
		{infra, "my-seed-x7k2p", "my-seed-x7k2p"},
		{cluster, `"clusterID":"6b0b4dba-45e4"`, `"clusterID":"00000000-0000"`},
		{port, "https://127.0.0.1:6443/ 127.0.0.1:64430 6443", "https://127.0.0.1:7443/ 127.0.0.1:64430 6443"},
		{flag, "- --secure-port=6443\n- --secure-port=64430", "- --secure-port=7443\n- --secure-port=64430"},
		{flag, "--insecure-port=6443", "--insecure-port=6443"},
		{setting, "port: 6443\nhostPort: 6443\nport: 64431", "port: 7443\nhostPort: 6443\nport: 64431"},
	} {
		t.Run(test.rule.Kind+" in "+test.text, func(t *testing.T) {
			if got := (rename.Rules{test.rule}).Apply(test.text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestRulesTogether(t *testing.T) {
	rules := rename.Rules{
		rename.Domain("a.example", "b.example"), rename.Domain("b.example", "a.example"), // a swap
		rename.Domain("deep.a.example", "c.example"), rename.Port("api.a.example", 6443, 7443),
	}
	if err := rules.Check(); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"x.a.example y.b.example": "x.b.example y.a.example",
		"x.deep.a.example":        "x.c.example",
		"api.a.example:6443":      "api.b.example:7443",
	} {
		if got := rules.Apply(text); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, rules := range map[string]rename.Rules{
		"too short":    {rename.Hostname("ab", "cd")},
		"to nothing":   {rename.Hostname("node", "")},
		"contradicted": {rename.Hostname("node", "a"), rename.Hostname("node", "b")},
	} {
		if rules.Check() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestBase(t *testing.T) {
	rules := rename.Rules{rename.Hostname("sno", "node7")}
	if got := rename.Base(rules, "/etc/sno/etcd-peer-sno.crt"); got != "/etc/sno/etcd-peer-node7.crt" {
		t.Errorf("got %s: only the last element is renamed", got)
	}
}

// What is renamed lies within the text, does not overlap, and nothing else changes.
func FuzzEdits(f *testing.F) {
	f.Add("https://api.seed.example:6443", "seed.example", "api")
	f.Fuzz(func(t *testing.T, text, domain, host string) {
		rules := rename.Rules{rename.Domain(domain, "new.example"), rename.Hostname(host, "renamed"), rename.Port(host, 6443, 1)}
		if rules.Check() != nil {
			return
		}
		if _, err := splice.Apply([]byte(text), rules.Edits([]byte(text))); err != nil {
			t.Error(err)
		}
	})
}
