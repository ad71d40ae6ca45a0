package crawl

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/reroot-dev/reroot/node-executor/crypto/keystore"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// text finds material in a document that is not a known container. It need not be valid UTF-8: a few
// odd bytes beside a key must not hide the key.
func (c crawler) text(doc []byte, path string, depth int) ([]splice.Edit, error) {
	var edits []splice.Edit
	from := 0
	for _, key := range jsonKeys(doc) {
		s, err := c.jsonKey(doc, key, path)
		if err != nil {
			return nil, err
		}
		if !s.material {
			continue
		}
		before, err := c.words(doc[:key.start], from, path, depth)
		if err != nil {
			return nil, err
		}
		edits, from = append(append(edits, before...), s.edits...), s.end
	}
	rest, err := c.words(doc, from, path, depth)
	return append(edits, rest...), err
}

// words finds what begins with a word or a dash, from an offset to the end of doc.
func (c crawler) words(doc []byte, from int, path string, depth int) ([]splice.Edit, error) {
	var edits []splice.Edit
	plainFrom := from
	for at := nextStart(doc, from); at < len(doc); {
		s, err := c.at(doc, at, path, depth)
		if err != nil {
			return nil, err
		}
		if s.material {
			edits = append(edits, c.plain(doc, plainFrom, at, path)...)
			edits = append(edits, s.edits...)
			plainFrom = s.end
		}
		at = nextStart(doc, max(s.end, at+1))
	}
	return append(edits, c.plain(doc, plainFrom, len(doc), path)...), nil
}

// stretch is what was found at an offset of a text.
type stretch struct {
	end      int  // where it ends; what lies before was looked at and is not looked at again
	material bool // it is material, and not text that may be renamed
	edits    []splice.Edit
}

// nextStart returns the next offset, at or after the given one, where something may begin: the start of
// a word, or a dash.
func nextStart(doc []byte, at int) int {
	for ; at < len(doc); at++ {
		if doc[at] == '-' {
			return at
		}
		if !isBase64(doc[at]) || at > 0 && isBase64(doc[at-1]) && !endsEscape(doc, at-1) {
			continue
		}
		if !endsEscape(doc, at) {
			return at
		}
	}
	return at
}

// endsEscape tells whether the byte is the letter of an escaped line break or tab.
func endsEscape(doc []byte, at int) bool {
	return at > 0 && doc[at-1] == '\\' && (doc[at] == 'n' || doc[at] == 'r' || doc[at] == 't')
}

// at handles what begins at the offset.
func (c crawler) at(doc []byte, at int, path string, depth int) (stretch, error) {
	rest := doc[at:]
	switch doc[at] { // first of all one byte: this is asked about every word of every text
	case '-':
		if bytes.HasPrefix(rest, pemBegin) {
			return c.pem(doc, at, path)
		}
	case 'd':
		if !bytes.HasPrefix(rest, []byte("data:")) {
			break
		}
		if s, err := c.dataURL(doc, at, path, depth); s.material || err != nil {
			return s, err
		}
	case 'e':
		if !bytes.HasPrefix(rest, []byte("ey")) {
			break
		}
		if end := tokenEnd(doc, at); end > at {
			leaf := Leaf{Kind: Token, Path: fmt.Sprintf("%s/token@%d", path, at), Bytes: doc[at:end]}
			edits, err := c.leaf(leaf, splice.Shift(at))
			return stretch{end: end, material: true, edits: edits}, err
		}
	}
	if isBase64(doc[at]) {
		return c.base64(doc, at, path, depth)
	}
	return stretch{end: at}, nil
}

// plain offers the text between pieces of material to the handler.
func (c crawler) plain(doc []byte, from, to int, path string) []splice.Edit {
	if c.h.Text == nil || from >= to {
		return nil
	}
	edits := c.h.Text(path, doc[from:to])
	for i := range edits {
		edits[i].Start += from
		edits[i].End += from
	}
	return edits
}

// Bounds of a token in characters.
const (
	minimumToken = 40
	maximumToken = 64 << 10
)

// tokenEnd returns the end of the JSON Web Token that starts at the offset, or the offset itself.
func tokenEnd(doc []byte, at int) int {
	end, dots := at, [2]int{}
	n := 0
	for ; end < len(doc) && end < at+maximumToken; end++ {
		if doc[end] == '.' && n < 2 {
			dots[n] = end
			n++
		} else if !isBase64URL(doc[end]) {
			break
		}
	}
	if n < 2 || end-at < minimumToken || dots[1]+1 == end || dots[0]+1 == dots[1] {
		return at
	}
	header, err := base64.RawURLEncoding.DecodeString(string(doc[at:dots[0]]))
	if err != nil {
		return at
	}
	var fields struct {
		Algorithm string `json:"alg"`
	}
	if json.Unmarshal(header, &fields) != nil || fields.Algorithm == "" {
		return at
	}
	return end
}

const minimumBase64 = 24 // characters; no key or token is shorter

// base64 opens a run of base64, which may be wrapped into lines of one width.
func (c crawler) base64(doc []byte, at int, path string, depth int) (stretch, error) {
	if end := endOfLine(doc, at); end-at < minimumBase64 { // as nearly every word of every text is
		return stretch{end: end}, nil
	}
	if s, found, err := c.encryptionKey(doc, at, path); found || err != nil {
		return s, err
	}
	run := readBase64(doc, at)
	decoded, encoding := decodeBase64(run.text)
	if encoding == nil && run.width != 0 {
		// What looked like further lines may have been something else.
		first := base64Run{end: at + run.width, text: run.text[:run.width]}
		if decoded, encoding = decodeBase64(first.text); encoding != nil && worthOpening(decoded) {
			run = first
		}
	}
	if encoding == nil || !worthOpening(decoded) {
		return stretch{end: run.end}, nil
	}
	edits, err := c.inner(decoded, fmt.Sprintf("%s/base64@%d", path, at), depth, splice.Whole(at, run.end, decoded, func(b []byte) ([]byte, error) {
		return wrap([]byte(encoding.EncodeToString(b)), run.width, run.separator), nil
	}))
	return stretch{end: run.end, material: true, edits: edits}, err
}

// worthOpening keeps words that happen to be in base64's alphabet as what they are: text that may be renamed.
func worthOpening(decoded []byte) bool {
	if bytes.HasPrefix(decoded, gzipMagic) || bytes.HasPrefix(decoded, protoMagic) || keystore.IsJKS(decoded) ||
		bytes.HasPrefix(decoded, sealedJavaMagic) || classifyDER(decoded) != "" {
		return true
	}
	if mentionsMaterial(decoded) {
		return true
	}
	for _, b := range decoded {
		if b < ' ' && b != '\n' && b != '\r' && b != '\t' {
			return false
		}
	}
	return utf8.Valid(decoded)
}

func decodeBase64(text []byte) ([]byte, *base64.Encoding) {
	for _, encoding := range []*base64.Encoding{base64.StdEncoding.Strict(), base64.RawStdEncoding.Strict()} {
		if decoded, err := encoding.AppendDecode(nil, text); err == nil {
			return decoded, encoding
		}
	}
	return nil, nil
}

// base64Run is a stretch of base64: its characters without separators, and how it was wrapped.
type base64Run struct {
	end       int
	text      []byte
	width     int    // characters in a line; 0 = not wrapped
	separator []byte // what stands between lines
}

// readBase64 reads the run at the offset. Lines belong to one run while all but the last have the
// width of the first and the same separator, and no line is the beginning of something else: what follows an unpadded
// value in a document is often the key of the next one.
func readBase64(doc []byte, at int) base64Run {
	lineEnd := endOfLine(doc, at)
	run := base64Run{end: lineEnd, text: bytes.Clone(doc[at:lineEnd])}
	width := lineEnd - at
	if width < minimumBase64 || width > maximumWrap {
		return run
	}
	for doc[run.end-1] != '=' {
		next := endOfSeparator(doc, run.end)
		separator := doc[run.end:next]
		if len(separator) == 0 || next >= len(doc) || run.separator != nil && !bytes.Equal(separator, run.separator) {
			break
		}
		lineEnd = endOfLine(doc, next)
		if lineEnd == next || lineEnd-next > width || lineEnd < len(doc) && continuesWord(doc[lineEnd]) {
			break
		}
		run.width, run.separator = width, separator
		run.text = append(run.text, doc[next:lineEnd]...)
		run.end = lineEnd
		if lineEnd-next < width {
			break
		}
	}
	return run
}

// maximumWrap is the longest line that is still taken for a wrapped one, in characters; values of
// configuration files in one line are longer.
const maximumWrap = 128

func continuesWord(b byte) bool { return bytes.IndexByte([]byte("-_:.=@"), b) >= 0 }

func endOfLine(doc []byte, at int) int {
	for at < len(doc) && isBase64(doc[at]) {
		at++
	}
	for padding := 0; at < len(doc) && doc[at] == '=' && padding < 2; padding++ {
		at++
	}
	return at
}

// endOfSeparator passes white space and escaped white space: backslashes before n, r or t, as JSON (and JSON in
// JSON) writes it.
func endOfSeparator(doc []byte, at int) int {
	for at < len(doc) {
		switch doc[at] {
		case ' ', '\t', '\r', '\n':
			at++
		case '\\':
			end := at
			for end < len(doc) && doc[end] == '\\' {
				end++
			}
			if end == len(doc) || doc[end] != 'n' && doc[end] != 'r' && doc[end] != 't' {
				return at
			}
			at = end + 1
		default:
			return at
		}
	}
	return at
}

// wrap breaks text into lines of width characters; width 0 leaves it in one.
func wrap(text []byte, width int, separator []byte) []byte {
	if width == 0 {
		return text
	}
	var out bytes.Buffer
	for len(text) > width {
		out.Write(text[:width])
		out.Write(separator)
		text = text[width:]
	}
	out.Write(text)
	return out.Bytes()
}

func isBase64(b byte) bool { return base64Alphabet[b] }

// base64Alphabet is a table because every byte that is read is looked up in it.
var base64Alphabet = func() (in [256]bool) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		in[b] = true
	}
	return in
}()

func isBase64URL(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '_'
}
