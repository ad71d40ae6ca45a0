// Package site names the places that hold a node's state while it is offline, files and etcd keys, as one
// kind of thing: bytes under a name, which can be read, and replaced if they still are what they were.
package site

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
)

// ErrForeignWrite marks a site that is neither as it was read nor as it is to become: something
// else writes to it.
var ErrForeignWrite = errors.New("changed by someone else")

// Hash is the SHA-256 of a site's content.
type Hash [sha256.Size]byte

// HashOf hashes content.
func HashOf(content []byte) Hash { return sha256.Sum256(content) }

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText writes the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	raw, err := hex.DecodeString(string(text))
	if err != nil || len(raw) != len(h) {
		return fmt.Errorf("cannot read hash of %d characters", len(text))
	}
	copy(h[:], raw)
	return nil
}

// Store is where a site is.
type Store string

// The stores.
const (
	File       Store = "file"
	Etcd       Store = "etcd"
	EtcdMember Store = "etcd-member"
)

// Ref names a site.
type Ref struct {
	Store Store  `json:"store"`
	Name  string `json:"name"` // the path on the node, the key, or the member's id
}

func (r Ref) String() string { return string(r.Store) + ":" + r.Name }

// Site is one place as it was read.
type Site struct {
	Ref
	Content []byte
	// Before is the hash of what is stored; zero as long as that is Content.
	Before Hash
	// Version is what the store counts the site's writes by, if it does; it never counts the same twice.
	Version int64
	// Envelope is how the stored value is encrypted, Content being what it opened to; nil when it is not encrypted.
	Envelope *atrest.Envelope
	// Original is the content before rules gave it values; nil when none did.
	Original []byte
	// Passwords are words from around the site that may open the key stores in it.
	Passwords [][]byte
	// Windows is set, and Content empty, for a file that is too large to be opened. It shows the content in pieces that
	// overlap by more than any secret is long; one is the visitor's only until the next.
	Windows iter.Seq2[[]byte, error]
	// TooLarge is set for such a file that mentions a private key.
	TooLarge bool
}

// StoredHash is the hash of what is stored.
func (s *Site) StoredHash() Hash {
	if s.Before == (Hash{}) {
		return HashOf(s.Content)
	}
	return s.Before
}

// Change is what one site becomes.
type Change struct {
	Ref
	Before Hash   `json:"before"`
	After  []byte `json:"after,omitempty"`
	// Version is that of Before, 0 when it is not known. It means something only to the store from which it was read, and to
	// that only while it is open.
	Version int64 `json:"-"`
	// Delete removes the site. A renamed site is a deletion and a creation.
	Delete bool `json:"delete,omitempty"`
	// Create says that the site does not exist before; Like names the one whose owner, mode, labels
	// or lease it gets.
	Create bool   `json:"create,omitempty"`
	Like   string `json:"like,omitempty"`
	// Envelope is how After is yet to be encrypted; nil when it is as it will be stored.
	Envelope *atrest.Envelope `json:"-"`
}

// Source reads all sites of a store.
type Source interface {
	// Walk calls visit for every site, in a stable order, and stops at its error. The content is
	// visit's to keep.
	Walk(ctx context.Context, visit func(Site) error) error
}

// Sources are several, read one after the other.
type Sources []Source

// Walk implements [Source].
func (all Sources) Walk(ctx context.Context, visit func(Site) error) error {
	for _, s := range all {
		if err := s.Walk(ctx, visit); err != nil {
			return err
		}
	}
	return nil
}
