package rule

import (
	"bytes"
	"encoding/base64"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// UserBundle is the ConfigMap of openshift-config that the installer makes of additional authorities; the node trusts them too.
const UserBundle = "user-ca-bundle"

// bundleEntry is the entry of a ConfigMap that holds a bundle.
const bundleEntry = "ca-bundle.crt"

// TrustBundle gives a ConfigMap of openshift-config its own authorities, PEM, in place of the seed's: itself, and in all
// bundles that operators made by joining it with others.
func TrustBundle(name string, old, renewed []byte) Rule {
	object := "configmaps/openshift-config/" + name
	r := Rule{
		Name:     "trust bundle " + name,
		Required: true,
		Why:      "the network operator joins it into a bundle that is mounted by some thirty workloads, which would all roll out",
		Places:   []Place{dataOf(object, bundleEntry, renewed)},
		External: []string{site.Ref{Store: site.Etcd, Name: prefix + object}.String()},
	}
	if len(bytes.TrimSpace(old)) > 0 {
		r.Places = append(r.Places, containing(keys("configmaps/*/*"), bytes.TrimSpace(old), bytes.TrimSpace(renewed)))
	}
	if name == UserBundle {
		const file = "/etc/pki/ca-trust/source/anchors/openshift-config-user-ca-bundle.crt"
		r.Places = append(r.Places,
			members("machineconfiguration.openshift.io/controllerconfigs/*",
				map[string]string{"/spec/additionalTrustBundle": base64.StdEncoding.EncodeToString(renewed)}),
			machineFile(file, renewed), wholeFile(file, renewed))
	}
	return r
}
