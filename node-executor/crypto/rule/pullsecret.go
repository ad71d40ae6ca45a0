package rule

// PullSecret gives the cluster its own registries' credentials, .dockerconfigjson. Seeds have a worthless one.
func PullSecret(value []byte) Rule {
	const file = "/var/lib/kubelet/config.json"
	return Rule{
		Name: "pull secret", Required: true,
		Why: "the machine config operator renders it into the node's configuration: set later, that would be rolled out",
		Places: []Place{
			dataOf("secrets/openshift-config/pull-secret", ".dockerconfigjson", value),
			machineFile(file, value),
			wholeFile(file, value),
		},
	}
}
