package rule

// Kubeadmin gives the administrator the password that has the bcrypt hash, and drops the seed's if there is none. The
// secret cannot be made anew: OpenShift refuses one that is more than an hour younger than its namespace.
func Kubeadmin(hash []byte) Rule {
	const object = "secrets/kube-system/kubeadmin"
	r := Rule{Name: "kubeadmin", Why: "whoever knows the seed's password would be this cluster's administrator, and who knows this cluster's would not"}
	if len(hash) == 0 {
		r.Places = []Place{{Applies: keys(object)}}
	} else {
		r.Places, r.Required = []Place{dataOf(object, "kubeadmin", hash)}, true
	}
	return r
}
