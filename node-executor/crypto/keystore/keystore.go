// Package keystore opens the password-protected containers in which programs, mostly Java's, keep keys and
// certificates: PKCS #12 (RFC 7292) and Java's own JKS. It replaces entries and leaves everything else as it was: order,
// aliases, attributes, dates, encryption schemes and their iterations.
//
// Libraries for these formats build containers; they know one key, or no attributes, or write entries in an order of
// their own, and an application that looks for its alias finds it no more. So a container is read and rewritten along its
// encoding, like everything else in this engine.
package keystore

import (
	"bytes"
	"errors"
	"fmt"
)

var (
	// ErrPassword says that none of the passwords opens the container, or an entry that has a password of its own.
	ErrPassword = errors.New("no known password opens it")
	// ErrUnsupported marks an encoding, or an encryption, that is not understood.
	ErrUnsupported = errors.New("unsupported encoding or encryption")
	// ErrWork marks a container that asks for more iterations than are done.
	ErrWork = errors.New("it would take too long")
)

// WellKnown are passwords that are none: empty, and the one that Java's tools suggest and its own trust store has.
var WellKnown = [][]byte{{}, []byte("changeit")}

// Bounds of what is opened. Deriving a key takes time in proportion to its iterations, of which a damaged or malicious store
// may ask any number; all derivations of one opening share what there is, which is a few seconds'.
const (
	maximumWork    = 1 << 22 // iterations
	maximumEntries = 10_000
)

// Entry is one piece of a container.
type Entry struct {
	Alias   string // "" when it has none
	Private bool   // a private key in PKCS #8; else a certificate
	DER     []byte
	Err     error // why it cannot be read; DER is nil then
}

// Store is an opened container.
type Store struct {
	Entries []Entry
	rewrite func(replacements map[int][]byte) ([]byte, error)
}

// Open reads a container with the first of the passwords (in UTF-8) that opens it. The error is ErrPassword,
// ErrUnsupported or ErrWork.
func Open(doc []byte, passwords [][]byte) (*Store, error) {
	open, left := openPKCS12, work(maximumWork)
	if IsJKS(doc) {
		open = openJKS
	}
	for _, password := range passwords {
		store, err := open(doc, password, passwords, &left)
		if !errors.Is(err, ErrPassword) {
			return store, err
		}
	}
	return nil, fmt.Errorf("cannot open key store: %w", ErrPassword)
}

// work is how many iterations may still be done.
type work int

// spend takes iterations from what is left, if that is enough.
func (w *work) spend(iterations int) error {
	if iterations < 1 || iterations > int(*w) {
		return ErrWork
	}
	*w -= work(iterations)
	return nil
}

// Replace returns the container with other DER in the place of entries, by their index. Keys are encrypted with the
// password that opened them.
func (s *Store) Replace(replacements map[int][]byte) ([]byte, error) {
	doc, err := s.rewrite(replacements)
	if err != nil {
		return nil, fmt.Errorf("cannot write key store: %w", err)
	}
	return doc, nil
}

// IsJKS tells whether a document begins as a Java key store does.
func IsJKS(doc []byte) bool { return bytes.HasPrefix(doc, []byte{0xfe, 0xed, 0xfe, 0xed}) }
