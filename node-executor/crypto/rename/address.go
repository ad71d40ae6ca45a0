package rename

// Address renames an IP address or a network in CIDR notation: 10.0.0.1 but neither 110.0.0.1 nor 10.0.0.12.
func Address(old, renamed string) Rule {
	return Rule{
		Kind: "address", Old: old, New: renamed,
		before: func(b byte) bool { return !alphanumeric(b) && b != '.' },
		after: func(b, next byte) bool {
			return !alphanumeric(b) && (b != '.' && b != '/' || !alphanumeric(next))
		},
	}
}
