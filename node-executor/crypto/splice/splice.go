// Package splice changes ranges of a document and leaves every other byte alone.
//
// Cluster material sits in documents inside documents: a certificate in PEM in base64 in a kubeconfig in
// a ConfigMap in etcd's protobuf. Decoding and re-encoding such a stack would lose comments, quoting, key
// order and unknown fields, and an operator that sees a changed byte rolls its workload out again. So a
// change is an [Edit] of the innermost document, and each layer has a [Lift] that turns edits of what it
// holds into edits of itself, up to the bytes on disk.
package splice

import (
	"fmt"
	"slices"
)

// Edit replaces the bytes [Start, End) of a document by Text.
type Edit struct {
	Start, End int
	Text       []byte
}

// Lift turns edits of an inner document into edits of the document that holds it. It is not called
// with no edits.
type Lift func([]Edit) ([]Edit, error)

// Apply returns doc with the edits made. The edits may come in any order but must lie within doc and
// not overlap; doc itself is not changed.
func Apply(doc []byte, edits []Edit) ([]byte, error) {
	if len(edits) == 0 {
		return doc, nil
	}
	sorted := slices.Clone(edits)
	slices.SortStableFunc(sorted, func(a, b Edit) int { return a.Start - b.Start })
	size, at := len(doc), 0
	for _, e := range sorted {
		if e.Start < at || e.End < e.Start || e.End > len(doc) {
			return nil, fmt.Errorf("cannot edit bytes %d to %d of %d: outside the document or overlapping another edit", e.Start, e.End, len(doc))
		}
		size, at = size+len(e.Text)-(e.End-e.Start), e.End
	}
	out := make([]byte, 0, size)
	at = 0
	for _, e := range sorted {
		out = append(append(out, doc[at:e.Start]...), e.Text...)
		at = e.End
	}
	return append(out, doc[at:]...), nil
}

// Shift is the lift of a document that stands unencoded at offset in the outer one.
func Shift(offset int) Lift {
	return func(inner []Edit) ([]Edit, error) {
		outer := make([]Edit, len(inner))
		for i, e := range inner {
			outer[i] = Edit{Start: e.Start + offset, End: e.End + offset, Text: e.Text}
		}
		return outer, nil
	}
}

// Whole is the lift of a document that fills [start, end) of the outer one in an encoding where no
// part can be changed alone (base64, gzip, a length prefix): the range is encoded anew.
func Whole(start, end int, inner []byte, encode func([]byte) ([]byte, error)) Lift {
	return func(edits []Edit) ([]Edit, error) {
		changed, err := Apply(inner, edits)
		if err != nil {
			return nil, err
		}
		text, err := encode(changed)
		if err != nil {
			return nil, err
		}
		return []Edit{{Start: start, End: end, Text: text}}, nil
	}
}

// Mapped is the lift of a document whose every byte has its own place in the outer one (an escaping
// such as percent-encoding). offsets[i] is where inner byte i begins, offsets[len(inner)] where the
// last one ends; escape encodes new text.
func Mapped(offsets []int, escape func([]byte) []byte) Lift {
	return func(inner []Edit) ([]Edit, error) {
		outer := make([]Edit, len(inner))
		for i, e := range inner {
			if e.Start < 0 || e.End < e.Start || e.End >= len(offsets) {
				return nil, fmt.Errorf("cannot edit bytes %d to %d of %d: outside the document", e.Start, e.End, len(offsets)-1)
			}
			outer[i] = Edit{Start: offsets[e.Start], End: offsets[e.End], Text: escape(e.Text)}
		}
		return outer, nil
	}
}
