package verify

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Needles finds any of many byte strings in one pass over a text.
type Needles struct {
	byPrefix map[uint64][]needle
	// filter has a bit for the hash of the first four bytes, so that most positions cost one look. Of fewer bytes it would
	// pass most of a text in base64, since some thousand needles are in base64 too.
	filter [1 << filterBits / 64]uint64
}

const filterBits = 20

// filterBit is the place of four bytes in the filter.
func filterBit(text []byte) uint32 {
	const golden = 0x9E3779B1 // 2^32 divided by the golden ratio: spreads what differs little
	return binary.LittleEndian.Uint32(text) * golden >> (32 - filterBits)
}

type needle struct {
	bytes []byte
	owner pki.KeyID
}

// Length of the piece of a secret that is searched for: enough that it occurs nowhere by chance.
const needleLength = 16

// OldSecrets returns needles for the private keys and encryption keys that the plan replaces.
func OldSecrets(p *plan.Plan) *Needles {
	old := map[pki.KeyID]crypto.Signer{}
	for id, decision := range p.Keys {
		if decision.Key.Private == nil || decision.Action != plan.Fresh && decision.Action != plan.Given {
			continue
		}
		if given := decision.Signer(); given != nil {
			if same, err := pki.IDOf(given.Public()); err == nil && same == id {
				continue // kept by a rule that gives the same key
			}
		}
		old[id] = decision.Key.Private
	}
	needles := NewNeedles(old)
	for id, key := range p.Graph().EncryptionKeys {
		if p.EncryptionKeys[id] == plan.Fresh {
			needles.add(key.Bytes, pki.KeyID(id))
		}
	}
	return needles
}

// NewNeedles returns needles for private keys: their numbers as bytes, in hexadecimal, and in base64 at each alignment,
// plain and URL-safe. They find a key in forms that nobody thought of.
func NewNeedles(keys map[pki.KeyID]crypto.Signer) *Needles {
	n := &Needles{byPrefix: map[uint64][]needle{}}
	for id, key := range keys {
		for _, secret := range pki.Secrets(key) {
			n.add(secret, id)
		}
	}
	return n
}

func (n *Needles) add(secret []byte, owner pki.KeyID) {
	if len(secret) < needleLength {
		return
	}
	// The middle: the ends may be normalised away.
	from := (len(secret) - needleLength) / 2
	piece := secret[from : from+needleLength]
	n.insert(piece, owner)
	n.insert([]byte(hex.EncodeToString(piece)), owner)
	n.insert(bytes.ToUpper([]byte(hex.EncodeToString(piece))), owner)
	for shift := range 3 {
		// Whole groups of three bytes stay when what precedes them is cut off.
		aligned := piece[shift : shift+(needleLength-shift)/3*3]
		n.insert([]byte(base64.StdEncoding.EncodeToString(aligned)), owner)
		n.insert([]byte(base64.URLEncoding.EncodeToString(aligned)), owner)
	}
}

func (n *Needles) insert(piece []byte, owner pki.KeyID) {
	prefix := binary.LittleEndian.Uint64(piece)
	n.byPrefix[prefix] = append(n.byPrefix[prefix], needle{bytes.Clone(piece), owner})
	bit := filterBit(piece)
	n.filter[bit/64] |= 1 << (bit % 64)
}

// Find returns the owner of a needle in the text.
func (n *Needles) Find(text []byte) (owner pki.KeyID, found bool) {
	for i := 0; i+8 <= len(text); i++ {
		if bit := filterBit(text[i:]); n.filter[bit/64]&(1<<(bit%64)) == 0 {
			continue
		}
		for _, candidate := range n.byPrefix[binary.LittleEndian.Uint64(text[i:])] {
			if bytes.HasPrefix(text[i:], candidate.bytes) {
				return candidate.owner, true
			}
		}
	}
	return pki.KeyID{}, false
}

// NoSecrets reads all sites but those to be skipped and reports those that hold a needle in any layer. Plain ones have no
// layers that would have to be opened; nil is none.
func NoSecrets(ctx context.Context, sources []site.Source, skip, plain map[site.Ref]bool, needles *Needles) ([]plan.Problem, error) {
	var problems []plan.Problem
	for _, source := range sources {
		err := source.Walk(ctx, func(s site.Site) error {
			if err := ctx.Err(); err != nil || skip[s.Ref] {
				return err
			}
			if s.Windows != nil {
				return needles.searchWindows(s, &problems)
			}
			if plain[s.Ref] {
				needles.searchLayer(s.Ref, "", s.Content, &problems)
				return nil
			}
			return needles.search(s.Ref, s.Content, &problems)
		})
		if err != nil {
			return nil, fmt.Errorf("cannot search for old private keys: %w", err)
		}
	}
	return problems, nil
}

// NoSecretsStaged does the same for sites as they will be after the changes.
func NoSecretsStaged(before []site.Site, changes []site.Change, needles *Needles) ([]plan.Problem, error) {
	var problems []plan.Problem
	changed := map[site.Ref]bool{}
	for _, c := range changes {
		changed[c.Ref] = true
		if err := needles.search(c.Ref, c.After, &problems); err != nil {
			return nil, err
		}
	}
	for _, s := range before {
		if changed[s.Ref] {
			continue
		}
		if err := needles.search(s.Ref, s.Content, &problems); err != nil {
			return nil, err
		}
	}
	return problems, nil
}

func (n *Needles) search(ref site.Ref, content []byte, problems *[]plan.Problem) error {
	_, err := crawl.Rewrite(content, crawl.Handler{Layer: func(path string, layer []byte) { n.searchLayer(ref, path, layer, problems) }})
	return err
}

// searchWindows looks at a file that is too large to be opened, as it is.
func (n *Needles) searchWindows(s site.Site, problems *[]plan.Problem) error {
	before := len(*problems)
	for window, err := range s.Windows {
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", s.Ref, err)
		}
		if n.searchLayer(s.Ref, "", window, problems); len(*problems) > before {
			return nil
		}
	}
	return nil
}

func (n *Needles) searchLayer(ref site.Ref, path string, layer []byte, problems *[]plan.Problem) {
	if owner, found := n.Find(layer); found {
		*problems = append(*problems, plan.Problem{Where: ref.String() + path, What: fmt.Sprintf("still holds the private key %s in a form that is not understood", owner)})
	}
}
