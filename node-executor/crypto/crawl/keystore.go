package crawl

import (
	"errors"
	"fmt"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/keystore"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// keyStore opens a key store with the handler's passwords, or with one that is none. What stays closed, all of it or an entry,
// is a finding.
func (c crawler) keyStore(doc []byte, path string) ([]splice.Edit, error) {
	store, err := keystore.Open(doc, slices.Concat(keystore.WellKnown, c.h.Passwords))
	if err != nil {
		c.closed(path, "key store", err)
		return nil, nil
	}
	replacements := map[int][]byte{}
	for i, entry := range store.Entries {
		where := fmt.Sprintf("%s/keystore(%s)@%d", path, entry.Alias, i)
		kind := Certificate
		if entry.Private {
			kind = PrivateKey
		}
		if entry.Err != nil {
			c.closed(where, "entry of a key store", entry.Err)
			continue
		}
		if !wellFormed(kind, entry.DER) {
			c.finding(Malformed, where, string(kind), entry.Private)
			continue
		}
		if c.h.Layer != nil {
			c.h.Layer(where, entry.DER)
		}
		edits, err := c.leaf(Leaf{Kind: kind, Path: where, Bytes: entry.DER}, splice.Shift(0))
		if err != nil {
			return nil, err
		}
		if len(edits) > 0 {
			replacements[i] = edits[0].Text
		}
	}
	if len(replacements) == 0 {
		return nil, nil
	}
	changed, err := store.Replace(replacements)
	return []splice.Edit{{Start: 0, End: len(doc), Text: changed}}, err
}

// closed reports a key store or an entry of one: Sealed when a password might help.
func (c crawler) closed(path, what string, err error) {
	switch {
	case errors.Is(err, keystore.ErrPassword):
		c.finding(Sealed, path, what, true)
	case errors.Is(err, keystore.ErrWork):
		c.finding(TooDeep, path, what+" that would take too long to open", true)
	default:
		c.finding(Malformed, path, what+" of an unknown kind", true)
	}
}
