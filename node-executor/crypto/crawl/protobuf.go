package crawl

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// protoMagic precedes every object that Kubernetes stores as protobuf.
var protoMagic = []byte("k8s\x00")

// IsObject tells whether a document is an object that is stored as protobuf.
func IsObject(doc []byte) bool { return bytes.HasPrefix(doc, protoMagic) }

var errWire = errors.New("not protobuf")

// storedObject handles magic + runtime.Unknown{typeMeta, raw}. The object is walked on the wire and
// only strings and length prefixes are written anew, because decoding into Go types and
// back silently drops the fields that those types do not know.
func (c crawler) storedObject(doc []byte, path string, depth int) ([]splice.Edit, error) {
	envelope := doc[len(protoMagic):]
	raw, kind, ok := openEnvelope(envelope)
	if !ok {
		c.finding(Malformed, path, "protobuf envelope", mentionsMaterial(doc))
		return nil, nil
	}
	object := envelope[raw.start:raw.end]
	fields, ok := lookup(kind)
	if !ok {
		c.finding(UnknownKind, path, kind.String(), mentionsMaterial(object))
		return nil, nil
	}
	// The whole structure is checked before anything in it is shown to the handler: what is shown must be replaceable.
	if !fields.holds(object) {
		c.finding(Malformed, path, kind.String(), mentionsMaterial(object))
		return nil, nil
	}
	edits, err := wireWalk{crawler: c, depth: depth}.message(object, fields, path)
	if err != nil || len(edits) == 0 {
		return nil, err
	}
	lifted, err := splice.Whole(raw.prefix, raw.end, object, lengthPrefixed)(edits)
	if err != nil {
		return nil, err
	}
	return splice.Shift(len(protoMagic))(lifted)
}

// wireField is one length-delimited field: its length prefix begins at prefix, its value at start.
type wireField struct{ prefix, start, end int }

// openEnvelope finds the raw object and its kind in a runtime.Unknown: fields 1 (typeMeta: 1
// apiVersion, 2 kind) and 2 (raw).
func openEnvelope(envelope []byte) (raw wireField, kind schema.GroupVersionKind, ok bool) {
	err := eachBytesField(envelope, func(number protowire.Number, f wireField) error {
		switch number {
		case 1:
			var apiVersion, name string
			err := eachBytesField(envelope[f.start:f.end], func(number protowire.Number, inner wireField) error {
				value := string(envelope[f.start:f.end][inner.start:inner.end])
				switch number {
				case 1:
					apiVersion = value
				case 2:
					name = value
				}
				return nil
			})
			kind = schema.FromAPIVersionAndKind(apiVersion, name)
			return err
		case 2:
			raw, ok = f, true
		}
		return nil
	})
	return raw, kind, ok && err == nil
}

// eachBytesField calls visit for the length-delimited fields of a message, in order.
func eachBytesField(message []byte, visit func(protowire.Number, wireField) error) error {
	for at := 0; at < len(message); {
		number, wireType, tag := protowire.ConsumeTag(message[at:])
		if tag < 0 {
			return errWire
		}
		size := protowire.ConsumeFieldValue(number, wireType, message[at+tag:])
		if size < 0 {
			return errWire
		}
		if wireType == protowire.BytesType {
			_, prefix := protowire.ConsumeVarint(message[at+tag:])
			f := wireField{prefix: at + tag, start: at + tag + prefix, end: at + tag + size}
			if err := visit(number, f); err != nil {
				return err
			}
		}
		at += tag + size
	}
	return nil
}

func lengthPrefixed(b []byte) ([]byte, error) {
	return append(protowire.AppendVarint(nil, uint64(len(b))), b...), nil
}

// holds tells whether a message has the structure of the schema.
func (s messageSchema) holds(message []byte) bool {
	for len(message) > 0 {
		number, value, size := consumeField(message)
		if size < 0 {
			return false
		}
		message = message[size:]
		if field, known := s.field(number); known && value != nil && !field.holds(value) {
			return false
		}
	}
	return true
}

func (f *fieldSchema) holds(value []byte) bool {
	switch {
	case f.message != nil:
		return f.message.schema().holds(value)
	case f.mapValue == nil:
		return true
	}
	for len(value) > 0 { // 1 is the key, 2 the value
		number, inner, size := consumeField(value)
		if size < 0 {
			return false
		}
		value = value[size:]
		if number != 1 && inner != nil && !f.mapValue.holds(inner) {
			return false
		}
	}
	return true
}

// consumeField reads the field at the beginning of a message and returns its size with its tag, negative when it is
// malformed. The value is nil when the field is not length-delimited.
func consumeField(message []byte) (number protowire.Number, value []byte, size int) {
	number, wireType, tag := protowire.ConsumeTag(message)
	if tag < 0 {
		return 0, nil, tag
	}
	if wireType == protowire.BytesType {
		value, size = protowire.ConsumeBytes(message[tag:])
	} else {
		size = protowire.ConsumeFieldValue(number, wireType, message[tag:])
	}
	if size < 0 {
		return 0, nil, size
	}
	return number, value, tag + size
}

type wireWalk struct {
	crawler
	depth int
}

// message walks one message whose fields are those of the Go struct.
func (w wireWalk) message(doc []byte, fields messageSchema, path string) ([]splice.Edit, error) {
	var edits []splice.Edit
	err := eachBytesField(doc, func(number protowire.Number, f wireField) error {
		value := doc[f.start:f.end]
		field, known := fields.field(number)
		if !known {
			if mentionsMaterial(value) {
				w.finding(UnknownKind, path, fmt.Sprintf("field %d", number), true)
			}
			return nil
		}
		inner, err := w.field(value, field, join(path, field.name))
		if err != nil || len(inner) == 0 {
			return err
		}
		lifted, err := splice.Whole(f.prefix, f.end, value, lengthPrefixed)(inner)
		edits = append(edits, lifted...)
		return err
	})
	return edits, err
}

func (w wireWalk) field(value []byte, field *fieldSchema, path string) ([]splice.Edit, error) {
	switch {
	case field.mapValue != nil:
		return w.entry(value, field.mapValue, path)
	case field.message != nil:
		return w.message(value, field.message.schema(), path)
	case field.text:
		if w.h.Field != nil {
			switch replacement, ok := w.h.Field(path, value); {
			case ok && bytes.Equal(replacement, value):
				return nil, nil
			case ok:
				return []splice.Edit{{Start: 0, End: len(value), Text: replacement}}, nil
			}
		}
		if path == operatorKeyField && isEncryptionKey(value) {
			return w.leaf(Leaf{Kind: EncryptionKey, Path: path, Bytes: value}, splice.Shift(0))
		}
		return w.document(value, path, w.depth+1)
	}
	return nil, nil
}

// entry walks a map entry: 1 is the key, 2 the value. A key may have a name in it, such as that of a node.
func (w wireWalk) entry(doc []byte, value *fieldSchema, path string) ([]splice.Edit, error) {
	var edits []splice.Edit
	var key []byte
	err := eachBytesField(doc, func(number protowire.Number, f wireField) error {
		if number == 1 {
			key = doc[f.start:f.end]
			renamed := w.key(key, path)
			if len(renamed) == 0 {
				return nil
			}
			lifted, err := splice.Whole(f.prefix, f.end, key, lengthPrefixed)(renamed)
			edits = append(edits, lifted...)
			return err
		}
		inner, err := w.field(doc[f.start:f.end], value, path+"["+string(key)+"]")
		if err != nil || len(inner) == 0 {
			return err
		}
		lifted, err := splice.Whole(f.prefix, f.end, doc[f.start:f.end], lengthPrefixed)(inner)
		edits = append(edits, lifted...)
		return err
	})
	return edits, err
}

// key offers a map's key as plain text; it is no document.
func (w wireWalk) key(key []byte, path string) []splice.Edit {
	if w.h.Text == nil {
		return nil
	}
	return w.h.Text(path+"[]", key)
}

// join is a field's path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// lookup returns the schema of a stored kind.
func lookup(kind schema.GroupVersionKind) (messageSchema, bool) {
	if local, ok := localKinds[kind]; ok {
		return schemaOf(local), true
	}
	if known, ok := storedKinds.AllKnownTypes()[kind]; ok {
		return schemaOf(known), true
	}
	object, err := storedKinds.New(kind) // also knows kinds that are the same in every group
	if runtime.IsNotRegisteredError(err) || err != nil {
		return nil, false
	}
	return schemaOf(reflect.TypeOf(object).Elem()), true
}
