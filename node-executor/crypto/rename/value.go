package rename

import "bytes"

// Value renames a setting where it stands as a whole, such as the URL of a proxy or a list with commas: in quotes, as the
// value of a variable or of an object's field.
func Value(kind, old, renamed string) Rule {
	return Rule{
		Kind: kind, Old: old, New: renamed,
		before: func(b byte) bool { return bytes.IndexByte([]byte("\"'= \t\r\n"), b) >= 0 },
		after:  func(b, _ byte) bool { return bytes.IndexByte([]byte("\"'\\ \t\r\n"), b) >= 0 },
	}
}
