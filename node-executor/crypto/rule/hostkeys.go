package rule

import (
	"crypto"
	"path"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/hostkey"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// HostKeys gives the node new SSH host keys of the types that it has. It is for a node that had none of its own before; an
// upgrade brings the old ones along. Generate is usually [pki.Generate]; each private half is read before its public one, as a
// walk in the order of names does.
func HostKeys(generate func(pki.Algorithm) (crypto.Signer, error)) Rule {
	renewer := hostkey.NewRenewer(generate)
	return Rule{
		Name: "SSH host keys",
		Why:  "every node made from the seed could be taken for this one by SSH clients",
		Places: []Place{
			{Applies: hostKey(""), set: func(doc []byte) ([]byte, bool, error) {
				after, err := renewer.Private(doc)
				return after, true, err
			}},
			{Applies: hostKey(".pub"), set: renewer.Public},
		},
	}
}

// hostKey matches sshd's files, private halves or public ones.
func hostKey(suffix string) func(site.Ref) bool {
	return func(ref site.Ref) bool {
		dir, name := path.Split(ref.Name)
		return ref.Store == site.File && dir == "/etc/ssh/" && strings.HasPrefix(name, "ssh_host_") && strings.HasSuffix(name, "_key"+suffix)
	}
}
