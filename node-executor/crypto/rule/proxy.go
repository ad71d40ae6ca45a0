package rule

import "github.com/reroot-dev/reroot/node-executor/crypto/rename"

// ProxySettings are how a cluster reaches the outside; any may be empty.
type ProxySettings struct {
	HTTP  string `json:"http,omitempty"`    // URL
	HTTPS string `json:"https,omitempty"`   // URL
	No    string `json:"noProxy,omitempty"` // names, addresses and networks, separated by commas
}

func (p ProxySettings) members(of string) map[string]string {
	return map[string]string{of + "/httpProxy": p.HTTP, of + "/httpsProxy": p.HTTPS, of + "/noProxy": p.No}
}

// Proxy gives the cluster its own proxy: spec is what the administrator said, status what the network operator made of it.
// The status' values stand in the environment of many workloads and files too, where [ProxyRenames] change them.
func Proxy(spec, status ProxySettings) Rule {
	const object = "config.openshift.io/proxies/cluster"
	return Rule{
		Name: "proxy", Required: spec != (ProxySettings{}),
		Why: "every operator that passes it on would roll its workload out, and the machine config operator would restart the node's services",
		Places: []Place{
			members(object, spec.members("/spec")),
			members(object, status.members("/status")),
			members("machineconfiguration.openshift.io/controllerconfigs/machine-config-controller", status.members("/spec/proxy")),
		},
	}
}

// ProxyRenames change the proxy's settings in the environment of workloads and services. Two settings of the seed that are equal and
// become different cannot be told apart there; operators then set them, which takes a rollout.
func ProxyRenames(from, to ProxySettings) rename.Rules {
	settings := []struct{ kind, old, renamed string }{
		{"proxy for HTTP", from.HTTP, to.HTTP}, {"proxy for HTTPS", from.HTTPS, to.HTTPS}, {"proxy exceptions", from.No, to.No},
	}
	var rules rename.Rules
	for i, s := range settings {
		if len(s.old) < rename.MinimumLength || s.renamed == "" || s.old == s.renamed {
			continue
		}
		ambiguous, repeated := false, false
		for j, other := range settings {
			ambiguous = ambiguous || other.old == s.old && other.renamed != s.renamed
			repeated = repeated || j < i && other.old == s.old
		}
		if !ambiguous && !repeated {
			rules = append(rules, rename.Value(s.kind, s.old, s.renamed))
		}
	}
	return rules
}
