package crawl

import (
	"bytes"
	"errors"
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

// jsonKey handles an object that may be a JSON Web Key. Of the stretch only the end and the edits of one that is material
// count.
func (c crawler) jsonKey(doc []byte, s span, path string) (stretch, error) {
	path = fmt.Sprintf("%s/jwk@%d", path, s.start)
	raw := doc[s.start:s.end]
	quoted := quotingOf(raw)
	text := quoted.remove(raw)
	_, err := jwk.Parse(text)
	if err == nil && bytes.Equal(quoted.add(text), raw) {
		edits, err := c.leaf(Leaf{Kind: JSONKey, Path: path, Bytes: text}, splice.Whole(s.start, s.end, text, func(b []byte) ([]byte, error) {
			return quoted.add(b), nil
		}))
		return stretch{end: s.end, material: true, edits: edits}, err
	}
	switch {
	case !errors.Is(err, jwk.ErrNotKey):
		c.finding(UnknownKey, path, "JSON Web Key", jwk.Secret(text))
	case bytes.Contains(text, []byte(`"kty"`)) && bytes.Contains(text, []byte(`"d"`)):
		c.finding(Malformed, path, "JSON Web Key", true)
	}
	return stretch{}, nil
}

// quoting is how quotes and line breaks of a JSON document are written where it is a string of another one, or of one in
// another one.
type quoting struct{ quote, newline []byte }

// quotingOf goes by the backslashes before the first quote: at each level they are doubled, and the quote gets another.
func quotingOf(text []byte) quoting {
	end := max(0, bytes.IndexByte(text, '"'))
	backslashes := end - len(bytes.TrimRight(text[:end], "\\"))
	if backslashes == 0 {
		return quoting{[]byte{'"'}, []byte{'\n'}}
	}
	escaped := bytes.Repeat([]byte{'\\'}, backslashes)
	return quoting{append(escaped, '"'), append(bytes.Repeat([]byte{'\\'}, (backslashes+1)/2), 'n')}
}

func (q quoting) remove(text []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(text, q.quote, []byte{'"'}), q.newline, []byte{'\n'})
}

func (q quoting) add(text []byte) []byte {
	return bytes.ReplaceAll(bytes.ReplaceAll(text, []byte{'\n'}, q.newline), []byte{'"'}, q.quote)
}
