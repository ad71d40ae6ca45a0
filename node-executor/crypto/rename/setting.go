package rename

// Setting renames the value of one setting in a YAML document, as in "port: 6443". The document's other uses of the
// value stay.
func Setting(name, old, renamed string) Rule {
	return Rule{
		Kind: "setting", Old: old, New: renamed, prefix: name + ": ",
		before: func(b byte) bool { return !alphanumeric(b) && b != '-' && b != '_' },
		after:  func(b, _ byte) bool { return b == '\n' || b == '\r' || b == ' ' || b == '\\' || b == ',' || b == '}' },
	}
}
