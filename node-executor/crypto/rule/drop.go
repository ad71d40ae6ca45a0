package rule

// Leases drops who leads and who is alive: nobody is.
func Leases() Rule {
	return Drop("leases", "operators would wait until the seed's leaders are taken for dead", "leases/*/*")
}

// Renamed drops what belongs to a run of the cluster under its old names and is made anew by controllers. What users made, and
// the IngressController, which takes minutes to come back, stay.
func Renamed() Rule {
	return Drop("state of the old names", "controllers would take containers, addresses and requests of the seed's node for this one's",
		"certificatesigningrequests/*",
		"csinodes/*",
		"endpointslices/*/*",
		"events/*/*", "events.k8s.io/events/*/*",
		"pods/*/*",
		"replicasets/*/*",
		"services/endpoints/*/*",
		"tuned.openshift.io/profiles/*/*",
		"cert-manager.io/certificaterequests/*/*",
		"daemonsets/openshift-ovn-kubernetes/ovnkube-node",
	)
}

// LifecycleAgent drops the operator that the seed was made with. A format-4 seed brings it along, and it would take the
// upgrade for its own.
func LifecycleAgent() Rule {
	const namespace = "openshift-lifecycle-agent"
	return Drop("lifecycle-agent", "a second controller would act on this cluster's ImageBasedUpgrade",
		"deployments/"+namespace+"/*",
		"replicasets/"+namespace+"/*",
		"pods/"+namespace+"/*",
		"operators.coreos.com/clusterserviceversions/"+namespace+"/*",
		"operators.coreos.com/subscriptions/"+namespace+"/*",
		"operators.coreos.com/installplans/"+namespace+"/*",
	)
}
