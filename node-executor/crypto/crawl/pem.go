package crawl

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

var (
	pemBegin = []byte("-----BEGIN ")
	pemDash  = []byte("-----")
)

// Bounds of a PEM block.
const (
	maximumLabel = 64
	maximumBlock = 1 << 20 // bytes between BEGIN and END
)

// pemKinds are the labels whose blocks are material.
var pemKinds = map[string]Kind{
	"CERTIFICATE":         Certificate,
	"X509 CERTIFICATE":    Certificate,
	"TRUSTED CERTIFICATE": Certificate,
	"PRIVATE KEY":         PrivateKey,
	"RSA PRIVATE KEY":     PrivateKey,
	"EC PRIVATE KEY":      PrivateKey,
	"PUBLIC KEY":          PublicKey,
	"RSA PUBLIC KEY":      PublicKey,
}

const encryptedLabel = "ENCRYPTED PRIVATE KEY" // PKCS #8

// pemBlock is a block as it stands in a text: start and end bound its base64 within the document.
type pemBlock struct {
	label      string
	start, end int
	width      int
	separator  []byte
	der        []byte
	headers    bool // it has headers: an encrypted key
}

// pem handles the block that begins at the offset. It always passes at least the BEGIN line.
func (c crawler) pem(doc []byte, at int, path string) (stretch, error) {
	label, bodyAt, ok := pemLabel(doc, at+len(pemBegin))
	if !ok {
		return stretch{end: at + len(pemBegin)}, nil
	}
	path = placed(path, "pem("+label+")", at)
	private := strings.Contains(label, "PRIVATE KEY")
	endLine := []byte("-----END " + label + "-----")
	// A block that is not ended before the next one begins was never ended. Looking no further also keeps the search
	// linear whatever the text is.
	body := doc[bodyAt:min(len(doc), bodyAt+maximumBlock)]
	if next := bytes.Index(body, pemBegin); next >= 0 {
		body = body[:next]
	}
	length := bytes.Index(body, endLine)
	if length < 0 {
		if private && plausibleKey(body) {
			c.finding(Malformed, path, label+" without an end", true)
		}
		return stretch{end: bodyAt}, nil
	}
	end := bodyAt + length + len(endLine)
	block, ok := readPEM(doc, label, bodyAt, bodyAt+length)
	if ok && c.h.Layer != nil {
		c.h.Layer(path, block.der)
	}
	kind, known := pemKinds[label]
	switch {
	case !known && private && label != encryptedLabel:
		c.finding(OtherKey, path, label, false)
		return stretch{end: end, material: ok}, nil
	case !known:
		c.finding(OtherPEM, path, label, label == encryptedLabel)
		return stretch{end: end, material: ok}, nil
	case block.headers:
		c.finding(Encrypted, path, label, true)
		return stretch{end: end, material: true}, nil
	case !ok || !wellFormed(kind, block.der):
		c.finding(Malformed, path, label, private && plausibleKey(doc[bodyAt:bodyAt+length]))
		return stretch{end: end}, nil
	}
	edits, err := c.leaf(Leaf{Kind: kind, Path: path, Bytes: block.der}, block.lift(at, end))
	return stretch{end: end, material: true, edits: edits}, err
}

// lift encodes a new body. The labels, which begin at and end at the given offsets, change only when the new key
// is of an algorithm that the old label cannot name.
func (b pemBlock) lift(begin, end int) splice.Lift {
	return func(edits []splice.Edit) ([]splice.Edit, error) {
		der, err := splice.Apply(b.der, edits)
		if err != nil {
			return nil, err
		}
		text := wrap([]byte(base64.StdEncoding.EncodeToString(der)), b.width, b.separator)
		out := []splice.Edit{{Start: b.start, End: b.end, Text: text}}
		if label := labelFor(b.label, b.der, der); label != b.label {
			labelAt, lastAt := begin+len(pemBegin), end-len(pemDash)-len(b.label)
			out = append(out,
				splice.Edit{Start: labelAt, End: labelAt + len(b.label), Text: []byte(label)},
				splice.Edit{Start: lastAt, End: lastAt + len(b.label), Text: []byte(label)})
		}
		return out, nil
	}
}

// labelFor keeps a label unless it told the truth about the old key and would not about the new one.
func labelFor(label string, old, renewed []byte) string {
	second, named := secondMembers[label]
	if !named || !beginsWith(old, second) || beginsWith(renewed, second) {
		return label
	}
	_, general, _ := strings.Cut(label, " ")
	return general
}

// secondMembers are the tags of what follows the first number of the forms that labels name: PKCS #1 has another number, SEC 1
// the scalar. The general forms, PKCS #8 and PKIX, have an algorithm there or in the first place. Reading an RSA key would tell
// as well, but checks the key, which takes longer than all the rest of a rewriting.
var secondMembers = map[string]int{
	"RSA PRIVATE KEY": asn1.TagInteger,
	"EC PRIVATE KEY":  asn1.TagOctetString,
	"RSA PUBLIC KEY":  asn1.TagInteger,
}

// beginsWith tells whether der is a sequence of a number and something with the given tag.
func beginsWith(der []byte, second int) bool {
	var outer, member asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil || !outer.IsCompound {
		return false
	}
	rest, err := asn1.Unmarshal(outer.Bytes, &member)
	if err != nil || member.Tag != asn1.TagInteger {
		return false
	}
	_, err = asn1.Unmarshal(rest, &member)
	return err == nil && member.Tag == second
}

func pemLabel(doc []byte, at int) (label string, bodyAt int, ok bool) {
	length := bytes.Index(doc[at:min(len(doc), at+maximumLabel)], pemDash)
	if length <= 0 {
		return "", 0, false
	}
	label = string(doc[at : at+length])
	for _, r := range label {
		if r != ' ' && (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			return "", 0, false
		}
	}
	return label, at + length + len(pemDash), true
}

// readPEM decodes the body [from, to): lines of base64 that any white space, plain or escaped, divides.
func readPEM(doc []byte, label string, from, to int) (pemBlock, bool) {
	b := pemBlock{label: label}
	body := doc[:to]
	at := endOfSeparator(body, from)
	b.separator = body[from:at]
	if colon := bytes.IndexByte(body[at:], ':'); colon >= 0 {
		b.headers = true
		return b, false
	}
	text := make([]byte, 0, to-at)
	b.start = at
	for at < to {
		lineEnd := endOfLine(body, at)
		if lineEnd == at {
			return b, false
		}
		next := endOfSeparator(body, lineEnd)
		if len(text) == 0 && next < to {
			b.width, b.separator = lineEnd-at, body[lineEnd:next]
		}
		text = append(text, body[at:lineEnd]...)
		b.end, at = lineEnd, next
	}
	if b.width == 0 && len(text) <= pemWidth {
		b.width = pemWidth
	}
	if b.width < pemWidth && b.width == len(text) {
		b.width = pemWidth
	}
	der, err := base64.StdEncoding.AppendDecode(nil, text)
	b.der = der
	return b, err == nil && len(der) > 0 && len(b.separator) > 0
}

const pemWidth = 64

// wellFormed tells whether der is one DER value; a certificate may have auxiliary data after it.
func wellFormed(kind Kind, der []byte) bool {
	var outer asn1.RawValue
	rest, err := asn1.Unmarshal(der, &outer)
	return err == nil && outer.IsCompound && (len(rest) == 0 || kind == Certificate)
}

// plausibleKey tells a damaged key from prose that mentions one: documentation writes dots or a few
// words, a key has lines of base64.
func plausibleKey(body []byte) bool {
	if block, _ := pem.Decode(body); block != nil {
		return true
	}
	longest, current := 0, 0
	for _, b := range body {
		if current++; !isBase64(b) {
			current = 0
		}
		longest = max(longest, current)
	}
	return longest >= 32
}
