package crawl

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// cborMagic is the self-described tag 55799, which Kubernetes puts before every stored object
// (KEP-4222).
var cborMagic = []byte{0xd9, 0xd9, 0xf7}

// CBOR major types (RFC 8949, section 3.1).
const (
	cborBytes = 2
	cborText  = 3
	cborArray = 4
	cborMap   = 5
	cborTag   = 6
)

var errCBOR = errors.New("not deterministic CBOR")

// cbor handles a stored object in CBOR. Kubernetes writes definite lengths and strings as byte
// strings; every string is a document of its own.
func (c crawler) cbor(doc []byte, path string, depth int) ([]splice.Edit, error) {
	if depth > MaxDepth {
		c.finding(TooDeep, path, "CBOR", mentionsMaterial(doc))
		return nil, nil
	}
	// The whole structure is checked before anything in it is shown to the handler: what is shown must be replaceable.
	check := cborWalk{doc: doc, structure: true}
	if end, err := check.item(len(cborMagic), 0); err != nil || end != len(doc) {
		c.finding(Malformed, path, "CBOR", mentionsMaterial(doc))
		return nil, nil
	}
	w := cborWalk{crawler: c, doc: doc, path: path + "/cbor", depth: depth}
	_, err := w.item(len(cborMagic), 0)
	return w.edits, err
}

type cborWalk struct {
	crawler
	doc       []byte
	path      string
	depth     int
	structure bool // look at nothing else
	edits     []splice.Edit
}

// item walks one data item and returns where it ends.
func (w *cborWalk) item(at, nesting int) (int, error) {
	const deepest = 512
	major, value, body, ok := cborHead(w.doc, at)
	if !ok || nesting > deepest {
		return 0, errCBOR
	}
	switch major {
	case cborBytes, cborText:
		if value > uint64(len(w.doc)-body) {
			return 0, errCBOR
		}
		end := body + int(value)
		if w.structure {
			return end, nil
		}
		content := w.doc[body:end]
		edits, err := w.inner(content, w.path+"@"+strconv.Itoa(at), w.depth, splice.Whole(at, end, content, func(b []byte) ([]byte, error) {
			return append(appendCBORHead(nil, major, uint64(len(b))), b...), nil
		}))
		w.edits = append(w.edits, edits...)
		return end, err
	case cborArray, cborMap, cborTag:
		count := value
		if major == cborMap {
			count *= 2
		} else if major == cborTag {
			count = 1
		}
		for ; count > 0; count-- {
			var err error
			if body, err = w.item(body, nesting+1); err != nil {
				return 0, err
			}
		}
	}
	return body, nil
}

// cborHead reads the head of the item at the offset; indefinite lengths are refused.
func cborHead(doc []byte, at int) (major byte, value uint64, body int, ok bool) {
	if at >= len(doc) {
		return 0, 0, 0, false
	}
	major, info := doc[at]>>5, doc[at]&0x1f
	if info < 24 {
		return major, uint64(info), at + 1, true
	}
	size := 1 << (info - 24)
	if info > 27 || at+1+size > len(doc) {
		return 0, 0, 0, false
	}
	var wide [8]byte
	copy(wide[8-size:], doc[at+1:at+1+size])
	return major, binary.BigEndian.Uint64(wide[:]), at + 1 + size, true
}

func appendCBORHead(to []byte, major byte, value uint64) []byte {
	major <<= 5
	switch {
	case value < 24:
		return append(to, major|byte(value))
	case value < 1<<8:
		return append(to, major|24, byte(value))
	case value < 1<<16:
		return binary.BigEndian.AppendUint16(append(to, major|25), uint16(value))
	case value < 1<<32:
		return binary.BigEndian.AppendUint32(append(to, major|26), uint32(value))
	}
	return binary.BigEndian.AppendUint64(append(to, major|27), value)
}
