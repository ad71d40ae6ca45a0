package events

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"sigs.k8s.io/json"
)

// decodeStrict decodes I-JSON (RFC 7493), the JSON on which canonical JSON is defined. Names are case-sensitive; one
// that is unknown or stands twice, text that is not Unicode, and half a surrogate pair are errors. Go's own decoder
// lets all of those pass, each a way for two readers to see two events in the same bytes.
func decodeStrict(data []byte, into any) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8")
	}
	if i := loneSurrogate(data); i >= 0 {
		return fmt.Errorf("half a surrogate pair at byte %d", i)
	}
	strict, err := json.UnmarshalStrict(data, into)
	if err != nil {
		return err
	}
	return errors.Join(strict...)
}

// loneSurrogate is the offset of the first escape in valid JSON that is half a surrogate pair, or -1.
func loneSurrogate(data []byte) int {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		if r := escaped(data[i:]); !utf16.IsSurrogate(r) {
			i++ // the character after a backslash never begins an escape
		} else if i+6 <= len(data) && utf16.DecodeRune(r, escaped(data[i+6:])) != utf8.RuneError {
			i += 11
		} else {
			return i
		}
	}
	return -1
}

// escaped is the UTF-16 code unit of the \uXXXX that b begins with, or -1.
func escaped(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
