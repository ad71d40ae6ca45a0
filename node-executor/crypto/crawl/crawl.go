// Package crawl finds cryptographic material inside any bytes, however deeply it is wrapped, and
// rewrites it in place.
//
// It looks at content, never at names. A document is one of a few layers: etcd's protobuf storage
// encoding, CBOR, gzip, bare DER, a key store, a database of Open vSwitch, or text, and in text it looks for PEM blocks, JSON Web Tokens, runs of base64 and
// data URLs wherever they stand. That text need not be parsed as YAML or JSON is deliberate: a PEM block keeps its
// own line separator (a newline, an indented newline of a YAML block, the two characters \n of a JSON string), so one
// lexical rule covers kubeconfigs, pod manifests, ignition, annotations and free text, and what is not material
// cannot be altered.
//
// What looks like material but cannot be understood becomes a [Finding]; its neighbours are still handled.
package crawl

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/reroot-dev/reroot/node-executor/crypto/keystore"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// Bounds of what is unwrapped. Deeper or larger content is reported, not followed.
const (
	MaxDepth    = 8
	MaxExpanded = 64 << 20 // bytes of one decompressed layer
)

// Kind says what a leaf is.
type Kind string

// The kinds of leaf.
const (
	Certificate Kind = "certificate" // X.509, DER; an OpenSSL TRUSTED CERTIFICATE has its auxiliary data after it
	PrivateKey  Kind = "private key" // PKCS #1, PKCS #8 or SEC 1, DER
	PublicKey   Kind = "public key"  // PKIX or PKCS #1, DER
	Token       Kind = "token"       // JSON Web Token, compact form
	JSONKey     Kind = "JSON key"    // JSON Web Key, public or private: a JSON object

	EncryptionKey Kind = "encryption key" // of encryption at rest: 16, 24 or 32 bytes
)

// Leaf is one piece of material at one place.
type Leaf struct {
	Kind  Kind
	Path  string // the layers passed, for people: data[tls.crt]/pem(CERTIFICATE)@0
	Bytes []byte // DER, or the compact form of a token
}

// Reason says why something that looks like material was left as it is.
type Reason string

// The reasons of findings. Serious tells which of them may hide a private key.
const (
	Malformed   Reason = "malformed"        // a PEM block or container that does not decode
	Encrypted   Reason = "encrypted"        // encrypted private key, or a value encrypted at rest
	Sealed      Reason = "sealed key store" // a key store, or an entry of one, that no known password opens
	TooDeep     Reason = "too deep"         // more than MaxDepth layers, or a layer larger than MaxExpanded
	UnknownKind Reason = "unknown kind"     // a protobuf object without a schema that holds material
	UnknownKey  Reason = "unknown kind of key"
	OtherPEM    Reason = "other PEM block" // CSR, CRL, parameters …
	// OtherKey is a private key of OpenSSH, PGP or DSA: somebody's way into something else, such as a repository. It is not
	// serious, since there is nothing here to replace it with and a fleet may share one on purpose.
	OtherKey Reason = "private key of another use, left as it is: every cluster of the seed will have it"
)

// Finding is something that looks like material and was not understood.
type Finding struct {
	Reason  Reason `json:"reason"`
	Path    string `json:"path"`
	Detail  string `json:"detail"`  // PEM label, object kind; never content
	Serious bool   `json:"serious"` // may hold a private key
}

// Handler is told what a crawl meets. Every field may be nil.
type Handler struct {
	// Leaf returns what stands in the leaf's place from now on: DER or a token. Nil keeps it.
	Leaf func(Leaf) ([]byte, error)
	// Field is shown each string of a stored object before it is looked into, with its path, such as
	// data[tls.crt]. With ok, the returned value takes its place unread.
	Field func(path string, value []byte) (replacement []byte, ok bool)
	// Text returns edits of a stretch of plain text that is not material, or of a map's key in a stored object.
	Text func(path string, text []byte) []splice.Edit
	// Layer is shown, outermost first, each document whose bytes need not stand as they are in the one that holds it: the
	// outermost itself, what was decoded, and the body of each PEM block and of each entry of a key store.
	Layer func(path string, content []byte)
	// Opened is told that a layer's bytes do not stand as they are in what holds it: decompressed, decoded.
	Opened func()
	// Finding is told what was not understood.
	Finding func(Finding)
	// Passwords, in UTF-8, are tried on key stores.
	Passwords [][]byte
}

// Rewrite crawls doc and returns the edits that put the handler's replacements in place: none when
// nothing changes. Errors are the handler's own, or say that a replacement cannot be encoded.
func Rewrite(doc []byte, h Handler) ([]splice.Edit, error) {
	if h.Layer != nil {
		h.Layer("", doc)
	}
	return crawler{h}.document(doc, "", 0)
}

type crawler struct{ h Handler }

func (c crawler) finding(reason Reason, path, detail string, serious bool) {
	if c.h.Finding != nil {
		c.h.Finding(Finding{Reason: reason, Path: path, Detail: detail, Serious: serious})
	}
}

// document handles one layer.
func (c crawler) document(doc []byte, path string, depth int) ([]splice.Edit, error) {
	if depth > MaxDepth {
		if mentionsMaterial(doc) {
			c.finding(TooDeep, path, fmt.Sprintf("more than %d layers", MaxDepth), true)
		}
		return nil, nil
	}
	switch {
	case bytes.HasPrefix(doc, gzipMagic):
		return c.gzip(doc, path, depth)
	case bytes.HasPrefix(doc, protoMagic):
		return c.storedObject(doc, path, depth)
	case bytes.HasPrefix(doc, cborMagic):
		return c.cbor(doc, path, depth)
	case bytes.HasPrefix(doc, encryptedMagic):
		detail := "value encrypted at rest"
		if bytes.HasPrefix(doc, remoteMagic) {
			detail += " by a key management service"
		}
		c.finding(Encrypted, path, detail, true)
		return nil, nil
	case bytes.HasPrefix(doc, ovsdbMagic):
		return c.ovsdb(doc, path, depth)
	case keystore.IsJKS(doc):
		return c.keyStore(doc, path)
	case bytes.HasPrefix(doc, sealedJavaMagic):
		c.finding(Sealed, path, "JCE key store", true)
		return nil, nil
	}
	switch kind := classifyDER(doc); kind {
	case "":
		return c.text(doc, path, depth)
	case pkcs12Store:
		return c.keyStore(doc, path)
	case encryptedKey:
		c.finding(Encrypted, path, string(encryptedKey), true)
		return nil, nil
	default:
		return c.leaf(Leaf{Kind: kind, Path: path + "/der", Bytes: doc}, splice.Whole(0, len(doc), doc, verbatim))
	}
}

// inner handles a document that an outer layer holds.
func (c crawler) inner(doc []byte, path string, depth int, lift splice.Lift) ([]splice.Edit, error) {
	if c.h.Opened != nil {
		c.h.Opened()
	}
	if c.h.Layer != nil {
		c.h.Layer(path, doc)
	}
	edits, err := c.document(doc, path, depth+1)
	if err != nil || len(edits) == 0 {
		return nil, err
	}
	return lift(edits)
}

// leaf asks the handler; lift takes an edit of the leaf's bytes to its document.
func (c crawler) leaf(l Leaf, lift splice.Lift) ([]splice.Edit, error) {
	if c.h.Leaf == nil {
		return nil, nil
	}
	replacement, err := c.h.Leaf(l)
	if err != nil || replacement == nil || bytes.Equal(replacement, l.Bytes) {
		return nil, err
	}
	return lift([]splice.Edit{{Start: 0, End: len(l.Bytes), Text: replacement}})
}

// placed is the path of what stands at an offset of a document.
func placed(path, what string, at int) string { return path + "/" + what + "@" + strconv.Itoa(at) }

func verbatim(b []byte) ([]byte, error) { return b, nil }

// mentionsMaterial is the cheap test for layers that cannot be opened.
func mentionsMaterial(doc []byte) bool { return mentionsPEM(doc) || mentionsToken(doc) }

func mentionsPEM(doc []byte) bool {
	return bytes.Contains(doc, []byte("-----BEGIN ")) || bytes.Contains(doc, []byte("LS0tLS1CRUdJTi")) ||
		bytes.Contains(doc, []byte("0tLS0tQkVHSU4g")) || bytes.Contains(doc, []byte("tLS0tLUJFR0lOI"))
}

// mentionsToken looks at what may be the header of a JSON Web Token: a JSON object, in base64.
func mentionsToken(doc []byte) bool {
	header := []byte("eyJ")
	for at := 0; ; at += len(header) {
		next := bytes.Index(doc[at:], header)
		if next < 0 {
			return false
		}
		if at += next; tokenEnd(doc, at) > at {
			return true
		}
	}
}
