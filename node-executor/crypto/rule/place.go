package rule

import (
	"bytes"
	"maps"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/jsonfield"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// wholeFile is a file that holds the value and nothing else.
func wholeFile(name string, value []byte) Place {
	return Place{Applies: paths(name), set: func([]byte) ([]byte, bool, error) { return value, true, nil }}
}

// dataOf is one entry of the data of a Secret or ConfigMap; object is resource/namespace/name.
func dataOf(object, entry string, value []byte) Place {
	return Place{Applies: keys(object), set: func(doc []byte) ([]byte, bool, error) {
		return editFields(doc, func(path string, _ []byte) ([]byte, bool) {
			return value, path == "data["+entry+"]"
		})
	}}
}

// containing is every string of an object in which the old text stands, alone or as a part. Old must be long
// enough not to occur by chance.
func containing(applies func(site.Ref) bool, old, renewed []byte) Place {
	return Place{Applies: applies, set: func(doc []byte) ([]byte, bool, error) {
		if !bytes.Contains(doc, old) || bytes.Contains(renewed, old) { // the latter would grow with every call
			return doc, false, nil
		}
		return editFields(doc, func(_ string, value []byte) ([]byte, bool) {
			return bytes.ReplaceAll(value, old, renewed), bytes.Contains(value, old)
		})
	}}
}

// editFields changes strings of an object that is stored as protobuf.
func editFields(doc []byte, change func(path string, value []byte) (renewed []byte, ok bool)) (after []byte, found bool, err error) {
	edits, err := crawl.Rewrite(doc, crawl.Handler{Field: func(path string, value []byte) ([]byte, bool) {
		if renewed, ok := change(path, value); ok {
			found = true
			return renewed, true
		}
		return value, true // as it is, and nothing to look for in it
	}})
	if err != nil {
		return nil, false, err
	}
	after, err = splice.Apply(doc, edits)
	return after, found, err
}

// members are texts of a custom resource by JSON pointer. One that is missing is added to its object, if that is there, unless
// it is empty.
func members(object string, values map[string]string) Place {
	return Place{Applies: keys(object), set: func(doc []byte) ([]byte, bool, error) {
		found := false
		for _, pointer := range slices.Sorted(maps.Keys(values)) {
			after, here, err := setMember(doc, pointer, values[pointer])
			if err != nil {
				return nil, false, err
			}
			doc, found = after, found || here
		}
		return doc, found, nil
	}}
}

func setMember(doc []byte, pointer, value string) (after []byte, found bool, err error) {
	fields, err := jsonfield.Parse(doc)
	if err != nil {
		return nil, false, err
	}
	if _, there := fields[pointer]; !there && value == "" {
		return doc, false, nil
	}
	edits, err := fields.Set(doc, pointer, value)
	if err != nil {
		return nil, false, err
	}
	after, err = splice.Apply(doc, edits)
	return after, len(edits) > 0 || fields[pointer].IsText, err
}
