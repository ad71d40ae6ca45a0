package extract

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxDepth is how deep values may lie in each other: encoding/json stops there too.
const maxDepth = 10000

// reader reads a JSON document once, from left to right, and without reflection. The first error stays and ends every
// loop, so that it is asked for once, at the end. null reads as the zero value, as it does with encoding/json.
type reader struct {
	data  string // strings that are read are parts of it: one copy of a payload costs less than one of each
	at    int    // offset of the next byte
	depth int
	err   error
}

// object calls yield with the name of each field, for it to read the value; what it does not read is passed over.
func (r *reader) object(yield func(name string) bool) {
	if r.null() {
		return
	}
	r.open('{')
	for first := true; r.more(first, '}'); first = false {
		name := r.text()
		r.expect(':')
		value := r.at
		if r.err != nil || !yield(name) {
			return
		}
		if r.at == value {
			r.skip()
		}
	}
}

// array calls yield for each element, for it to read it.
func (r *reader) array(yield func() bool) {
	if r.null() {
		return
	}
	r.open('[')
	for first := true; r.more(first, ']'); first = false {
		if !yield() {
			return
		}
	}
}

func (r *reader) string() string {
	if r.null() {
		return ""
	}
	return r.text()
}

func (r *reader) bool() bool {
	if r.null() {
		return false
	}
	if r.next() == 't' {
		r.literal("true")
		return true
	}
	r.literal("false")
	return false
}

// integer reads a whole number of so many bits; 0 bits are those of an int.
func (r *reader) integer(bits int) int64 {
	if r.null() {
		return 0
	}
	n, err := strconv.ParseInt(r.number(), 10, bits)
	if err != nil {
		r.fail("a whole number that fits")
	}
	return n
}

// skip reads a value of any kind.
func (r *reader) skip() {
	switch r.next() {
	case '{':
		r.object(func(string) bool { return true }) // which passes over every field
	case '[':
		for range r.array {
			r.skip()
		}
	case '"':
		r.text()
	case 't':
		r.literal("true")
	case 'f':
		r.literal("false")
	case 'n':
		r.literal("null")
	default:
		r.number()
	}
}

// end is the first error; text after the value is one.
func (r *reader) end() error {
	if r.next(); r.at < len(r.data) {
		r.fail("the end")
	}
	return r.err
}

// open reads the bracket that a value begins with.
func (r *reader) open(bracket byte) {
	r.expect(bracket)
	if r.depth++; r.depth > maxDepth {
		r.fail("less depth")
	}
}

// more says whether an element follows, and reads what stands before it, or the bracket after the last.
func (r *reader) more(first bool, bracket byte) bool {
	if r.next() == bracket {
		r.at++
		r.depth--
		return false
	}
	if !first {
		r.expect(',')
	}
	return r.err == nil
}

// text reads a string.
func (r *reader) text() string {
	r.expect('"')
	from, plain := r.at, true
	for ; r.err == nil && r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; {
		case c == '"':
			r.at++
			if plain {
				return r.data[from : r.at-1]
			}
			return r.unquote(r.data[from-1 : r.at])
		case c == '\\':
			plain = false
			r.at = min(r.at+1, len(r.data)-1) // what it escapes is not the end
		case c < ' ':
			r.fail("a character of a string")
		case c >= 0x80:
			plain = false // perhaps not UTF-8
		}
	}
	r.fail("the end of a string")
	return ""
}

func (r *reader) unquote(quoted string) (s string) {
	if err := json.Unmarshal([]byte(quoted), &s); err != nil {
		r.fail("a string")
	}
	return s
}

// number reads a number; its spelling is what json.org says.
func (r *reader) number() string {
	r.next()
	from := r.at
	r.oneOf("-")
	if !r.oneOf("0") {
		r.digits()
	}
	if r.oneOf(".") {
		r.digits()
	}
	if r.oneOf("eE") {
		r.oneOf("+-")
		r.digits()
	}
	return r.data[from:r.at]
}

func (r *reader) digits() {
	from := r.at
	for c := r.peek(); '0' <= c && c <= '9'; c = r.peek() {
		r.at++
	}
	if r.at == from {
		r.fail("a value")
	}
}

// oneOf reads the next byte if it is one of those.
func (r *reader) oneOf(bytes string) bool {
	c := r.peek()
	for i := range len(bytes) {
		if c == bytes[i] {
			r.at++
			return true
		}
	}
	return false
}

// null reads a null if it is the next value.
func (r *reader) null() bool {
	if r.next() != 'n' {
		return false
	}
	r.literal("null")
	return true
}

func (r *reader) literal(word string) {
	if r.next(); !strings.HasPrefix(r.data[r.at:], word) {
		r.fail(word)
		return
	}
	r.at += len(word)
}

func (r *reader) expect(c byte) {
	if r.next() != c {
		r.fail(string(c))
		return
	}
	r.at++
}

// next is the next byte that is not white space.
func (r *reader) next() byte {
	for {
		switch c := r.peek(); c {
		case ' ', '\n', '\t', '\r':
			r.at++
		default:
			return c
		}
	}
}

// peek is the next byte, 0 after the last one.
func (r *reader) peek() byte {
	if r.at < len(r.data) {
		return r.data[r.at]
	}
	return 0
}

func (r *reader) fail(want string) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: it is not %s", r.at, want)
	}
}
