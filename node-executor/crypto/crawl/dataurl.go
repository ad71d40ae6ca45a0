package crawl

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// DataURL is how ignition holds a file: percent-encoded or in base64, and perhaps compressed before that.
type DataURL struct {
	Content []byte

	head, body string // before and after the comma
	encoding   *base64.Encoding
	header     *gzip.Header
}

const base64Mark = ";base64"

// ParseDataURL reads a data URL whose content is compressed by gzip or not. Errors do not quote it.
func ParseDataURL(text string, compressed bool) (DataURL, error) {
	head, body, ok := strings.Cut(text, ",")
	if !ok || !strings.HasPrefix(head, "data:") {
		return DataURL{}, errors.New("not a data URL")
	}
	u := DataURL{head: head, body: body}
	content, _, ok := unescapePercent([]byte(body), 0, len(body))
	if !ok {
		return DataURL{}, errors.New("not a data URL")
	}
	if strings.HasSuffix(head, base64Mark) {
		if content, u.encoding = decodeBase64(content); u.encoding == nil {
			return DataURL{}, errors.New("not base64")
		}
	}
	if compressed {
		var header gzip.Header
		var err error
		if content, header, err = gunzip(content); err != nil {
			return DataURL{}, err
		}
		u.header = &header
	}
	u.Content = content
	return u, nil
}

// With returns the URL that has another content and is written as this one is.
func (u DataURL) With(content []byte) (string, error) {
	text := content
	if u.header != nil {
		var err error
		if text, err = zip(*u.header, content); err != nil {
			return "", fmt.Errorf("cannot compress: %w", err)
		}
	}
	if u.encoding != nil {
		text = []byte(u.encoding.EncodeToString(text))
	}
	if u.encoding == nil || strings.Contains(u.body, "%") {
		text = escapePercent([]byte(u.body))(text)
	}
	return u.head + "," + string(text), nil
}

// dataURL opens a percent-encoded data URL. One in base64 needs no opening: its run of base64 is found
// by itself.
func (c crawler) dataURL(doc []byte, at int, path string, depth int) (stretch, error) {
	const maximumMediaType = 128
	comma := bytes.IndexByte(doc[at:min(len(doc), at+maximumMediaType)], ',')
	if comma < 0 || bytes.ContainsAny(doc[at:at+comma], " \n\"'") || bytes.HasSuffix(doc[at:at+comma], []byte(base64Mark)) {
		return stretch{end: at}, nil
	}
	start := at + comma + 1
	end := start
	for end < len(doc) && doc[end] > ' ' && strings.IndexByte("\"'`<>\\", doc[end]) < 0 {
		end++
	}
	content, offsets, ok := unescapePercent(doc, start, end)
	if !ok || len(content) == 0 {
		return stretch{end: at}, nil
	}
	edits, err := c.inner(content, fmt.Sprintf("%s/url@%d", path, at), depth,
		splice.Mapped(offsets, escapePercent(doc[start:end])))
	return stretch{end: end, material: true, edits: edits}, err
}

func unescapePercent(doc []byte, start, end int) (content []byte, offsets []int, ok bool) {
	content, offsets = make([]byte, 0, end-start), make([]int, 0, end-start+1)
	for at := start; at < end; at++ {
		offsets = append(offsets, at)
		b := doc[at]
		if b == '%' {
			if at+2 >= end {
				return nil, nil, false
			}
			var value [1]byte
			if _, err := hex.Decode(value[:], doc[at+1:at+3]); err != nil {
				return nil, nil, false
			}
			b = value[0]
			at += 2
		}
		content = append(content, b)
	}
	return content, append(offsets, end), true
}

// escapePercent returns an escaping in the style of the original, since programs disagree about the slash, the plus
// and more: a byte that stands unescaped there stays so, and what does not occur is escaped unless it is one
// of RFC 3986's unreserved characters.
func escapePercent(original []byte) func([]byte) []byte {
	var plain, escaped [256]bool
	for at := 0; at < len(original); at++ {
		if original[at] != '%' {
			plain[original[at]] = true
			continue
		}
		b, _ := strconv.ParseUint(string(original[at+1:at+3]), 16, 8) // unescapePercent has read it
		escaped[b] = true
		at += 2
	}
	return func(text []byte) []byte {
		var out bytes.Buffer
		for _, b := range text {
			unreserved := isBase64(b) && b != '+' && b != '/' || bytes.IndexByte([]byte("-_.~"), b) >= 0
			if plain[b] || unreserved && !escaped[b] {
				out.WriteByte(b)
			} else {
				fmt.Fprintf(&out, "%%%02X", b)
			}
		}
		return out.Bytes()
	}
}
