package rename

import "strconv"

// Port renames a port where it follows a host in a URL or address (host 127.0.0.1 and old 6443 is
// 127.0.0.1:6443). A bare number is never renamed; the host is, by the rules for it.
func Port(host string, old, renamed int) Rule {
	rule := Address(strconv.Itoa(old), strconv.Itoa(renamed))
	rule.Kind, rule.prefix = "port", host+":"
	return rule
}

// Flag renames the value of a command-line flag in a pod manifest or unit: --secure-port=6443.
func Flag(name, old, renamed string) Rule {
	return Rule{
		Kind: "flag", Old: old, New: renamed, prefix: "--" + name + "=",
		before: func(b byte) bool { return !alphanumeric(b) && b != '-' },
		after:  func(b, _ byte) bool { return !alphanumeric(b) && b != '.' && b != ':' },
	}
}
