package rename

// Network renames a machine network in CIDR notation: the network operator and the etcd operator choose the node's
// address by it.
func Network(old, renamed string) Rule {
	rule := Address(old, renamed)
	rule.Kind = "machine network"
	return rule
}
