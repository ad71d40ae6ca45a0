package scan_test

import (
	"encoding/pem"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/cryptotest"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/scan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// A key of SSH that stays the seed's is told of, one that a rule has just made is not.
func TestKeysOfSSH(t *testing.T) {
	block, err := ssh.MarshalPrivateKey(cryptotest.EC(t), "")
	if err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(block)
	all := sites{file("/etc/ssh/ssh_host_ecdsa_key"): key, file("/etc/deploy/id_ecdsa"): key}
	for name, rules := range map[string]rule.Rules{"without": nil, "with": {rule.HostKeys(cryptotest.NewKeys("fresh").Make)}} {
		t.Run(name, func(t *testing.T) {
			found, err := scan.Scan(t.Context(), []site.Source{all}, scan.Options{Rules: scan.Rules{Changes: rules}.Known})
			if err != nil {
				t.Fatal(err)
			}
			want := []string{"/etc/deploy/id_ecdsa"}
			if rules == nil {
				want = append(want, "/etc/ssh/ssh_host_ecdsa_key")
			}
			var got []string
			for _, f := range found.Findings {
				if got = append(got, f.Site.Name); f.Reason != crawl.OtherKey || f.Serious {
					t.Errorf("got finding %v", f)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got findings about %v, want %v", got, want)
			}
		})
	}
}
