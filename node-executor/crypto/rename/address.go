package rename

import "strings"

// Address renames an IP address: 10.0.0.1, also with a port or the length of its network's prefix, but neither 110.0.0.1
// nor 10.0.0.12; 2001:db8::1 but not 2001:db8::1:2.
func Address(old, renamed string) Rule {
	r := Rule{
		Kind: "address", Old: old, New: renamed,
		before: func(b byte) bool { return !alphanumeric(b) && b != '.' },
		after:  func(b, next byte) bool { return !alphanumeric(b) && (b != '.' || !alphanumeric(next)) },
	}
	if strings.Contains(old, ":") { // only in brackets can a port follow
		r.before = func(b byte) bool { return !alphanumeric(b) && b != ':' }
		r.after = func(b, next byte) bool { return !alphanumeric(b) && (b != ':' || !alphanumeric(next) && next != ':') }
	}
	return r
}
