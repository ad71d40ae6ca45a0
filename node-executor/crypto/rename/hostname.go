package rename

// Hostname renames the node where it stands alone or is a part of a name joined by dashes or dots, as
// in etcd-peer-NODE.crt or NODE.example.
func Hostname(old, renamed string) Rule {
	notWord := func(b byte) bool { return !alphanumeric(b) }
	return Rule{
		Kind: "host name", Old: old, New: renamed,
		before: notWord,
		after:  func(b, _ byte) bool { return notWord(b) },
	}
}
