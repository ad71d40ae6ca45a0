package site

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// Rules are how the cryptography engine makes the seed's cluster the site's: the names, and the keys that stay. A seed may
// be months old, so what is issued anew begins to be valid now.
func (s *Site) Rules(from Names, now time.Time) (plan.Rules, error) {
	rules := plan.Rules{
		Renames: s.Names.Renames(from), Validity: plan.Extend, Now: now,
		Own: plan.DefaultOwn, External: plan.DefaultExternal, Unknown: plan.Refuse, Orphans: plan.Refuse,
	}
	rules.Changes = s.changes(from, len(rules.Renames) > 0)
	for _, signer := range s.Signers {
		kept, err := plan.ReadKeepKey(signer.CommonName, signer.Key)
		if err != nil {
			return rules, err
		}
		kept.Site, kept.SubjectKeyID = "/secrets/"+signer.Secret, signer.SubjectKeyID
		rules.KeepKeys = append(rules.KeepKeys, kept)
	}
	kept, err := plan.ReadKeepCertificate(s.ClientCA)
	if err != nil {
		return rules, fmt.Errorf("cannot keep the administrator's client CA: %w", err)
	}
	rules.KeepCertificates = []plan.KeepCertificate{kept}
	return rules, nil
}

// changes are the values that only the site knows, and the objects that are worth nothing in it.
func (s *Site) changes(from Names, renamed bool) rule.Rules {
	changes := rule.Rules{rule.Leases(), rule.Logins(), rule.LifecycleAgent(), rule.PullSecret(s.PullSecret), rule.Kubeadmin(s.Kubeadmin)}
	if renamed {
		changes = append(changes, rule.Renamed())
	}
	if len(s.InstallConfig) > 0 {
		changes = append(changes, rule.InstallConfig(s.InstallConfig))
	}
	for _, f := range s.Files {
		if f.Path == rule.ChronyFile && len(f.Data) > 0 {
			changes = append(changes, rule.Chrony(f.Data))
		}
	}
	if s.Proxy != (rule.ProxySettings{}) || s.Names.Proxy != (rule.ProxySettings{}) {
		changes = append(changes, rule.Proxy(s.Proxy, s.Names.Proxy))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Names.TrustBundles)) {
		changes = append(changes, rule.TrustBundle(name, []byte(from.TrustBundles[name]), []byte(s.Names.TrustBundles[name])))
	}
	return changes
}
