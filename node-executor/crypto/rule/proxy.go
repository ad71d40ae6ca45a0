package rule

// ProxySettings are how a cluster reaches the outside; any may be empty.
type ProxySettings struct {
	HTTP  string `json:"http,omitempty"`  // URL
	HTTPS string `json:"https,omitempty"` // URL
	No    string `json:"no,omitempty"`    // names, addresses and networks, separated by commas
}

func (p ProxySettings) members(of string) map[string]string {
	return map[string]string{of + "/httpProxy": p.HTTP, of + "/httpsProxy": p.HTTPS, of + "/noProxy": p.No}
}

// Proxy gives the cluster its own proxy: spec is what the administrator said, status what the network operator made of it.
// The status' values stand in the environment of many workloads and files too, where renames change them.
func Proxy(spec, status ProxySettings) Rule {
	const object = "config.openshift.io/proxies/cluster"
	return Rule{
		Name: "proxy",
		Why:  "every operator that passes it on would roll its workload out, and the machine config operator would restart the node's services",
		Places: []Place{
			members(object, spec.members("/spec")),
			members(object, status.members("/status")),
			members("machineconfiguration.openshift.io/controllerconfigs/machine-config-controller", status.members("/spec/proxy")),
		},
	}
}
