package rule_test

import (
	"testing"

	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

func TestLogins(t *testing.T) {
	rules := rule.Rules{rule.Logins()}
	for name, dropped := range map[string]bool{
		"/openshift.io/oauth/accesstokens/sha256~abc":    true,
		"/openshift.io/oauth/authorizetokens/sha256~abc": true,
		"/openshift.io/oauth/clients/console":            false,
		"/kubernetes.io/secrets/a/oauth":                 false,
	} {
		if got := rules.Dropped(site.Ref{Store: site.Etcd, Name: name}); (got == "logins") != dropped {
			t.Errorf("%s: dropped by %q", name, got)
		}
	}
	if got := rules.Dropped(site.Ref{Store: site.File, Name: "/openshift.io/oauth/accesstokens/a"}); got != "" {
		t.Errorf("a file is dropped by %q", got)
	}
}
