package crawl

import (
	"bytes"
	"fmt"

	"github.com/reroot-dev/reroot/node-executor/crypto/jwk"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// maximumJSONKey is the longest JSON Web Key that is read, in bytes; one of RSA-16384 is shorter.
const maximumJSONKey = 32 << 10

// span is a range of a document.
type span struct{ start, end int }

// jsonKeys finds the JSON objects of a text that say what type of key they are, and of nested ones the innermost. The text
// may be a string of another document, with its quotes escaped.
func jsonKeys(doc []byte) (found []span) {
	kind := []byte("kty")
	if !bytes.Contains(doc, kind) {
		return nil
	}
	var open []int
	for at, b := range doc {
		switch {
		case b == '{':
			open = append(open, at)
		case b == '}' && len(open) > 0:
			s := span{open[len(open)-1], at + 1}
			open = open[:len(open)-1]
			holdsOther := len(found) > 0 && found[len(found)-1].start > s.start
			if s.end-s.start <= maximumJSONKey && !holdsOther && bytes.Contains(doc[s.start:s.end], kind) {
				found = append(found, s)
			}
		}
	}
	return found
}

// jsonKey handles an object that may be a JSON Web Key.
func (c crawler) jsonKey(doc []byte, s span, path string) (stretch, error) {
	path = fmt.Sprintf("%s/jwk@%d", path, s.start)
	raw := doc[s.start:s.end]
	escape := escapeOf(raw)
	quote := append(bytes.Clone(escape), '"')
	text := bytes.ReplaceAll(raw, quote, []byte(`"`))
	if len(escape) > 0 && bytes.IndexByte(text, '\\') >= 0 {
		c.finding(Malformed, path, "JSON Web Key", true)
		return stretch{end: s.start}, nil
	}
	switch _, err := jwk.Parse(text); {
	case err == nil:
		edits, err := c.leaf(Leaf{Kind: JSONKey, Path: path, Bytes: text}, splice.Whole(s.start, s.end, text, func(b []byte) ([]byte, error) {
			return bytes.ReplaceAll(b, []byte(`"`), quote), nil
		}))
		return stretch{end: s.end, material: true, edits: edits}, err
	case jwk.IsKey(text):
		c.finding(UnknownKey, path, "JSON Web Key", jwk.Secret(text))
	}
	return stretch{end: s.start}, nil
}

// escapeOf returns the backslashes before the first quote of a text.
func escapeOf(text []byte) []byte {
	end := max(0, bytes.IndexByte(text, '"'))
	return text[len(bytes.TrimRight(text[:end], "\\")):end]
}
