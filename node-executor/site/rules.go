package site

import (
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// Rules are how the cryptography engine makes the seed's cluster the site's: the names, and the keys that stay, added to
// rules that say what is to be done with everything else.
func (s *Site) Rules(from Names, rules plan.Rules) (plan.Rules, error) {
	rules.Renames = s.Names.Renames(from)
	rules.Changes = s.changes(from, len(rules.Renames) > 0)
	if from.RegistryBundle != "" {
		rules.External = append(slices.Clone(rules.External), "etcd:/kubernetes.io/configmaps/openshift-config/"+from.RegistryBundle)
	}
	for i, signer := range slices.Concat(s.Signers, s.Issued) {
		kept, err := signer.keep()
		if err != nil {
			return rules, fmt.Errorf("cannot keep the key of %s: %w", signer.CommonName, err)
		}
		kept.IfThere = i >= len(s.Signers)
		rules.KeepKeys = append(rules.KeepKeys, kept)
	}
	block, _ := pem.Decode(s.ClientCA)
	if block == nil {
		return rules, errors.New("cannot keep the administrator's client CA: the snapshot holds no PEM")
	}
	ca, err := pki.ParseCertificate(block.Bytes)
	if err != nil {
		return rules, fmt.Errorf("cannot keep the administrator's client CA: %w", err)
	}
	rules.KeepCertificates = []plan.KeepCertificate{{Certificate: ca}}
	return rules, nil
}

// keep is the rule that puts the key in the place of the seed's.
func (s Signer) keep() (plan.KeepKey, error) {
	block, _ := pem.Decode(s.Key)
	if block == nil {
		return plan.KeepKey{}, errors.New("the snapshot holds no PEM")
	}
	key, _, err := pki.ParsePrivateKey(block.Bytes)
	return plan.KeepKey{CommonName: s.CommonName, Site: "/secrets/" + s.Secret, Key: key, SubjectKeyID: s.SubjectKeyID}, err
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
