package site

import (
	"fmt"
	"maps"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// Rules are how the cryptography engine makes the seed's cluster the site's: the names, and the keys that stay, added to
// rules that say what is to be done with everything else.
func (s *Site) Rules(from Names, rules plan.Rules) (plan.Rules, error) {
	rules.Renames = s.Names.Renames(from)
	rules.Changes = s.changes(from, len(rules.Renames) > 0)
	rules.External = WithRegistryBundle(rules.External, from.RegistryBundle)
	for i, signer := range slices.Concat(s.Signers, s.Issued) {
		kept, err := plan.ReadKeepKey(signer.CommonName, signer.Key)
		if err != nil {
			return rules, err
		}
		kept.Site, kept.SubjectKeyID, kept.IfThere = "/secrets/"+signer.Secret, signer.SubjectKeyID, i >= len(s.Signers)
		rules.KeepKeys = append(rules.KeepKeys, kept)
	}
	kept, err := plan.ReadKeepCertificate(s.ClientCA)
	if err != nil {
		return rules, fmt.Errorf("cannot keep the administrator's client CA: %w", err)
	}
	rules.KeepCertificates = []plan.KeepCertificate{kept}
	return rules, nil
}

// WithRegistryBundle adds the ConfigMap to the places where authorities of others are listed; "" adds nothing.
func WithRegistryBundle(external []string, name string) []string {
	if name == "" {
		return external
	}
	return append(slices.Clone(external), "etcd:/kubernetes.io/configmaps/openshift-config/"+name)
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
