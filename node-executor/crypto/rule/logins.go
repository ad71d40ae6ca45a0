package rule

import (
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Logins drops the tokens that OpenShift's OAuth server gave to people. It looks them up in the store, so whoever was logged in
// to the seed would be logged in to every cluster that is made from it.
func Logins() Rule {
	return Rule{
		Name: "logins", Why: "whoever was logged in to the seed would be logged in to every cluster made from it",
		Places: []Place{{Applies: IsLogin}},
	}
}

// IsLogin tells whether a site is such a token.
func IsLogin(ref site.Ref) bool {
	const prefix = "/openshift.io/oauth/"
	kind, isOAuth := strings.CutPrefix(ref.Name, prefix)
	return ref.Store == site.Etcd && isOAuth && (strings.HasPrefix(kind, "accesstokens/") || strings.HasPrefix(kind, "authorizetokens/"))
}
