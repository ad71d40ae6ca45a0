package crawl

import (
	"bytes"
	"encoding/base64"
	"fmt"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// The keys of encryption at rest stand in two forms: in base64 under the name "secret" in an API server's
// EncryptionConfiguration (called EncryptionConfig before Kubernetes 1.13), and as bare bytes in the secret from which
// OpenShift's operators make that (library-go, operator/encryption/secrets). Bare bytes are random; only the field tells.
const operatorKeyField = "data[encryption.apiserver.operator.openshift.io-key]"

var encryptionConfiguration = []byte("EncryptionConfig")

// encryptionKey handles the base64 at the offset if it is a key of an EncryptionConfiguration.
func (c crawler) encryptionKey(doc []byte, at int, path string) (s stretch, found bool, err error) {
	if !namedSecret(doc[:at]) || !bytes.Contains(doc, encryptionConfiguration) {
		return stretch{}, false, nil
	}
	end := endOfLine(doc, at)
	key, err := base64.StdEncoding.DecodeString(string(doc[at:end]))
	if err != nil || !isEncryptionKey(key) {
		return stretch{}, false, nil
	}
	leaf := Leaf{Kind: EncryptionKey, Path: fmt.Sprintf("%s/encryption-key@%d", path, at), Bytes: key}
	edits, err := c.leaf(leaf, splice.Whole(at, end, key, func(b []byte) ([]byte, error) {
		return base64.StdEncoding.AppendEncode(nil, b), nil
	}))
	return stretch{end: end, material: true, edits: edits}, true, err
}

// isEncryptionKey knows the sizes of AES and secretbox keys. A key of zeros is none: OpenShift carries the name of the mode
// "identity", which does not encrypt, with it.
func isEncryptionKey(key []byte) bool {
	size := len(key)
	return (size == 16 || size == 24 || size == 32) && !bytes.Equal(key, make([]byte, size))
}

// namedSecret tells whether what precedes a value is the name "secret" and a colon, quoted and escaped in any way.
func namedSecret(before []byte) bool {
	const around = " \t\"'\\"
	name, colon := bytes.CutSuffix(bytes.TrimRight(before, around), []byte(":"))
	if !colon {
		return false
	}
	rest, named := bytes.CutSuffix(bytes.TrimRight(name, around), []byte("secret"))
	return named && (len(rest) == 0 || !isBase64(rest[len(rest)-1]))
}
