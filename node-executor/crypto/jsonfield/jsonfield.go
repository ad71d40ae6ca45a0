// Package jsonfield reads and changes single fields of a JSON document and leaves every other byte alone. Custom
// resources and ignition configurations are stored as JSON; an operator that compares them, or a digest of them, must
// find what it wrote.
package jsonfield

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// ErrNotJSON is returned for a document that is not one JSON value.
var ErrNotJSON = errors.New("not JSON")

// Field is one value of a document.
type Field struct {
	// Pointer names it as RFC 6901 does: /spec/files/0/path.
	Pointer string
	// Start and End delimit it in the document, quotes and brackets included.
	Start, End int
	// Text is a string's value; IsText tells an empty string from anything else.
	Text   string
	IsText bool
}

// Fields are all values of a document by pointer, the document itself as "".
type Fields map[string]Field

// maxDepth bounds how deep values nest.
const maxDepth = 512

// Parse finds all values of a document.
func Parse(doc []byte) (Fields, error) {
	p := parser{doc: doc, tokens: json.NewDecoder(bytes.NewReader(doc)), found: Fields{}}
	p.tokens.UseNumber()
	if err := p.value("", 0); err != nil {
		return nil, ErrNotJSON // the error would quote the document
	}
	if _, err := p.tokens.Token(); !errors.Is(err, io.EOF) {
		return nil, ErrNotJSON
	}
	return p.found, nil
}

type parser struct {
	doc    []byte
	tokens *json.Decoder
	found  Fields
}

// value reads one value.
func (p *parser) value(pointer string, depth int) error {
	if depth > maxDepth {
		return ErrNotJSON
	}
	from := int(p.tokens.InputOffset())
	token, err := p.tokens.Token()
	if err != nil {
		return err
	}
	// Between tokens stand only white space and punctuation that the decoder does not report.
	start := from + bytes.IndexFunc(p.doc[from:], func(r rune) bool { return !strings.ContainsRune(" \t\r\n,:", r) })
	f := Field{Pointer: pointer, Start: start}
	switch t := token.(type) {
	case string:
		f.Text, f.IsText = t, true
	case json.Delim:
		if err := p.members(t, pointer, depth); err != nil {
			return err
		}
	}
	f.End = int(p.tokens.InputOffset())
	p.found[pointer] = f
	return nil
}

// members reads an object or array up to its closing bracket.
func (p *parser) members(open json.Delim, pointer string, depth int) error {
	for i := 0; p.tokens.More(); i++ {
		name := strconv.Itoa(i)
		if open == '{' {
			key, err := p.tokens.Token()
			if err != nil {
				return err
			}
			text, ok := key.(string)
			if !ok {
				return ErrNotJSON
			}
			name = text
		}
		if err := p.value(Join(pointer, name), depth+1); err != nil {
			return err
		}
	}
	_, err := p.tokens.Token()
	return err
}

// Join appends a member's name to a pointer.
func Join(pointer, name string) string {
	return pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// Set returns the edit that gives a member of the document a text, and adds it where its object is there without it.
// Without that object, or where the text is there already, there is none.
func (f Fields) Set(doc []byte, pointer, text string) ([]splice.Edit, error) {
	if now, ok := f[pointer]; ok {
		if now.IsText && now.Text == text {
			return nil, nil
		}
		value, err := quote(text)
		return []splice.Edit{{Start: now.Start, End: now.End, Text: value}}, err
	}
	cut := strings.LastIndexByte(pointer, '/')
	if cut < 0 {
		return nil, fmt.Errorf("cannot set %q: not a member", pointer)
	}
	object, ok := f[pointer[:cut]]
	if !ok || doc[object.Start] != '{' {
		return nil, nil
	}
	name, err := quote(strings.NewReplacer("~1", "/", "~0", "~").Replace(pointer[cut+1:]))
	if err != nil {
		return nil, err
	}
	value, err := quote(text)
	if err != nil {
		return nil, err
	}
	member := append(append(name, ':'), value...)
	if len(bytes.TrimSpace(doc[object.Start+1:object.End-1])) > 0 {
		member = append(member, ',')
	}
	return []splice.Edit{{Start: object.Start + 1, End: object.Start + 1, Text: member}}, nil
}

// quote writes a JSON string without the escapes that are only for HTML.
func quote(text string) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(text)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}
