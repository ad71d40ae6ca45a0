package rename

// Domain renames a DNS domain and everything below it: api.old and *.apps.old, but neither xold nor
// old.example.
func Domain(old, renamed string) Rule {
	return Rule{
		Kind: "domain", Old: old, New: renamed,
		before: func(b byte) bool { return !alphanumeric(b) && b != '-' },
		after:  endsDomain,
	}
}

func endsDomain(b, next byte) bool {
	return !alphanumeric(b) && b != '-' && (b != '.' || !alphanumeric(next))
}
