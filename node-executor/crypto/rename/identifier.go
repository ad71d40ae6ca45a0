package rename

// InfraID renames the infrastructure id, a prefix of many names: ID, ID-master-0, ID-user-data.
func InfraID(old, renamed string) Rule { return identifier("infrastructure id", old, renamed) }

// ClusterID renames the cluster's UUID.
func ClusterID(old, renamed string) Rule { return identifier("cluster id", old, renamed) }

func identifier(kind, old, renamed string) Rule {
	return Rule{
		Kind: kind, Old: old, New: renamed,
		before: func(b byte) bool { return !alphanumeric(b) && b != '-' },
		after:  func(b, _ byte) bool { return !alphanumeric(b) },
	}
}
