package scan

import (
	"bytes"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// words are the short texts that stand around a site: files of the same directory, values of the secrets and config maps of
// the same namespace. The password of a key store is usually one of them, and nothing but trying tells which.
type words map[string]*wordList

type wordList struct{ likely, others [][]byte } // likely ones have a name that says what they are

// Bounds: each word costs the derivation of a key for each key store beside it.
const (
	longestWord = 128 // bytes
	mostWords   = 64
)

// word is a text that can be a password.
type word struct {
	text   []byte
	likely bool
}

// wordOf returns the whole of a file, or a field of an object, if it can be a password.
func wordOf(ref site.Ref, field string, value []byte) (word, bool) {
	text := bytes.TrimRight(value, "\r\n")
	isField := strings.HasPrefix(field, "data[")
	if len(text) == 0 || len(text) > longestWord || isField != (ref.Store == site.Etcd) || !typed(text) {
		return word{}, false
	}
	return word{text, strings.Contains(strings.ToLower(path.Base(ref.Name)+field), "pass")}, true
}

// add remembers a word that stands in a site.
func (w words) add(ref site.Ref, found word) {
	list := w[place(ref)]
	if list == nil {
		list = &wordList{}
		w[place(ref)] = list
	}
	kind := &list.others
	if found.likely {
		kind = &list.likely
	}
	if len(*kind) < mostWords {
		*kind = append(*kind, bytes.Clone(found.text))
	}
}

// typed tells whether someone could have typed it.
func typed(text []byte) bool {
	return utf8.Valid(text) && !bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' })
}

// place names what a site shares with those beside it.
func place(ref site.Ref) string { return string(ref.Store) + ":" + path.Dir(ref.Name) }

// around returns the words for a site, likely ones first.
func (w words) around(ref site.Ref) [][]byte {
	list := w[place(ref)]
	if list == nil {
		return nil
	}
	all := slices.Concat(list.likely, list.others)
	return all[:min(len(all), mostWords)]
}
