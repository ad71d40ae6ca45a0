package verify

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/files"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Needles finds any of many byte strings in one pass over a text. It looks at eight bytes of every ninth place: wherever a
// needle stands, some of them are wholly in it.
type Needles struct {
	pieces  [][]byte
	needles []needle
	grams   map[uint64]int32 // by eight bytes of a needle: which of them, the first of a chain
	chains  []gram
	// filter has a bit for the hash of each gram, so that most places cost one look.
	filter []uint64
	shift  int // of a hash, which leaves the number of its bit
}

type needle struct {
	bytes []byte
	owner pki.KeyID
}

// gram is eight bytes of a needle.
type gram struct{ needle, at, next int32 }

const (
	// needleLength is that of the piece of a secret that is searched for: enough that it occurs nowhere by chance. No form of
	// it is shorter.
	needleLength = 16
	gramLength   = 8
	stride       = needleLength - gramLength + 1
)

// OldSecrets returns needles for the private keys and encryption keys that the plan replaces.
func OldSecrets(p *plan.Plan) *Needles {
	n := &Needles{}
	for id, decision := range p.Keys {
		if decision.Key.Private == nil || decision.Action != plan.Fresh && decision.Action != plan.Given {
			continue
		}
		if given := decision.Signer(); given != nil {
			if same, err := pki.IDOf(given.Public()); err == nil && same == id {
				continue // kept by a rule that gives the same key
			}
		}
		n.addKey(decision.Key.Private, id)
	}
	for id, key := range p.Graph().EncryptionKeys {
		if p.EncryptionKeys[id] == plan.Fresh {
			n.add(key.Bytes, pki.KeyID(id))
		}
	}
	n.index()
	return n
}

// NewNeedles returns needles for private keys: their numbers as bytes, in hexadecimal, and in base64 at each alignment,
// plain and URL-safe. They find a key in forms that nobody thought of.
func NewNeedles(keys map[pki.KeyID]crypto.Signer) *Needles {
	n := &Needles{}
	for id, key := range keys {
		n.addKey(key, id)
	}
	n.index()
	return n
}

func (n *Needles) addKey(key crypto.Signer, owner pki.KeyID) {
	for _, secret := range pki.Secrets(key) {
		n.add(secret, owner)
	}
}

func (n *Needles) add(secret []byte, owner pki.KeyID) {
	if len(secret) < needleLength {
		return
	}
	// The middle: the ends may be normalised away.
	from := (len(secret) - needleLength) / 2
	n.addPiece(secret[from:from+needleLength], owner)
}

func (n *Needles) addPiece(piece []byte, owner pki.KeyID) {
	n.pieces = append(n.pieces, piece)
	digits := hex.EncodeToString(piece)
	forms := [][]byte{piece, []byte(digits), bytes.ToUpper([]byte(digits))}
	for shift := range 3 {
		// Whole groups of three bytes stay when what precedes them is cut off.
		aligned := piece[shift : shift+(needleLength-shift)/3*3]
		plain, safe := base64.StdEncoding.EncodeToString(aligned), base64.URLEncoding.EncodeToString(aligned)
		forms = append(forms, []byte(plain))
		if safe != plain {
			forms = append(forms, []byte(safe))
		}
	}
	for _, form := range forms {
		n.needles = append(n.needles, needle{form, owner})
	}
}

// index makes the needles findable. A filter of which a thirtieth is set lets few other texts pass.
func (n *Needles) index() {
	count := len(n.needles) * stride
	width := max(6, bits.Len(uint(count*30)))
	n.shift = 64 - width
	n.filter = make([]uint64, 1<<width/64)
	n.grams, n.chains = make(map[uint64]int32, count), make([]gram, 0, count)
	for i, known := range n.needles {
		for at := range stride {
			bytes := binary.LittleEndian.Uint64(known.bytes[at:])
			next, chained := n.grams[bytes]
			if !chained {
				next = -1
			}
			n.grams[bytes] = int32(len(n.chains))
			n.chains = append(n.chains, gram{int32(i), int32(at), next})
			bit := n.bit(bytes)
			n.filter[bit/64] |= 1 << (bit % 64)
		}
	}
}

// bit is the place of a gram in the filter.
func (n *Needles) bit(gram uint64) uint64 {
	const golden = 0x9E3779B97F4A7C15 // 2^64 divided by the golden ratio: spreads what differs little
	return gram * golden >> n.shift
}

// Pieces are what the needles are made of: sixteen bytes of each secret.
func (n *Needles) Pieces() [][]byte { return n.pieces }

// NeedlesOf returns the needles of which these are the pieces. Whose they are is not known any more.
func NeedlesOf(pieces [][]byte) *Needles {
	n := &Needles{}
	for _, piece := range pieces {
		if len(piece) == needleLength {
			n.addPiece(piece, pki.KeyID{})
		}
	}
	n.index()
	return n
}

// Find returns the owner of a needle in the text.
func (n *Needles) Find(text []byte) (owner pki.KeyID, found bool) {
	for i := 0; i+gramLength <= len(text); i += stride {
		seen := binary.LittleEndian.Uint64(text[i:])
		if bit := n.bit(seen); n.filter[bit/64]&(1<<(bit%64)) == 0 {
			continue
		}
		first, known := n.grams[seen]
		for g := first; known && g >= 0; g = n.chains[g].next {
			candidate := n.needles[n.chains[g].needle]
			if start := i - int(n.chains[g].at); start >= 0 && bytes.HasPrefix(text[start:], candidate.bytes) {
				return candidate.owner, true
			}
		}
	}
	return pki.KeyID{}, false
}

// NoSecrets reads all sites of a source and reports those that hold a needle in any layer. Plain ones have no
// layers that would have to be opened; nil is none. Those that change are searched by [Staged].
func NoSecrets(ctx context.Context, source site.Source, plain map[site.Ref]bool, needles *Needles) ([]plan.Problem, error) {
	var problems []plan.Problem
	err := source.Walk(ctx, func(s site.Site) error {
		search := func(path string, layer []byte) { problems = append(problems, needles.search(s.Ref, path, layer)...) }
		switch {
		case s.Windows != nil:
			return searchWindows(s, search)
		case plain[s.Ref]:
			search("", s.Content)
			return ctx.Err()
		}
		_, err := crawl.Rewrite(s.Content, crawl.Handler{Layer: search})
		return errors.Join(err, ctx.Err())
	})
	if err != nil {
		return nil, fmt.Errorf("cannot search for old private keys: %w", err)
	}
	return slices.Compact(problems), nil // the pieces of a large file overlap
}

// NoSecretsBelow reads all files below a directory of this host as they are, and reports those that hold a needle. What is
// below a name in skip is left out.
func NoSecretsBelow(ctx context.Context, dir string, needles *Needles, skip ...string) ([]plan.Problem, error) {
	var problems []plan.Problem
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains(skip, name) {
			return fs.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		s := site.Site{Ref: site.Ref{Store: site.File, Name: filepath.Join(dir, name)}, Windows: files.Windows(dir, name)}
		return searchWindows(s, func(path string, window []byte) { problems = append(problems, needles.search(s.Ref, path, window)...) })
	})
	if err != nil {
		return nil, fmt.Errorf("cannot search for old private keys: %w", err)
	}
	return slices.Compact(problems), nil
}

// searchWindows looks at a file that is too large to be opened, as it is.
func searchWindows(s site.Site, search func(path string, window []byte)) error {
	for window, err := range s.Windows {
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", s.Ref, err)
		}
		search("", window)
	}
	return nil
}

// search reports a needle in one layer of a site.
func (n *Needles) search(ref site.Ref, path string, layer []byte) []plan.Problem {
	owner, found := n.Find(layer)
	if !found {
		return nil
	}
	what := fmt.Sprintf("still holds the private key %s in a form that is not understood", owner)
	return []plan.Problem{{Where: ref.String() + path, What: what}}
}
