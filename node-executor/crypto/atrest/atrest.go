// Package atrest opens and seals values that an API server encrypts before it stores them (Kubernetes'
// "encryption at rest").
//
// An encrypted value is a prefix, k8s:enc:<mode>:v1:<name of the key>:, and what the mode makes of the object. The key's
// name does not identify a key: each API server of a cluster has a configuration of its own, and all of them begin to
// count at 1. So a [Ring] holds keys without names, and which of them fits is found by trying.
//
// Every cluster that is made from a seed would have the seed's encryption keys. They are material like private keys: each
// is replaced by a fresh one wherever it stands, and every value that it opens is sealed with its successor, whether the
// value holds other material or not. Names stay: OpenShift's operators derive them from the names of the secrets that
// hold the keys, and a name that is not backed by such a secret makes them encrypt everything once more.
package atrest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/nacl/secretbox"
)

// Mode is how a value is encrypted.
type Mode string

// The modes whose keys are in the API server's configuration.
const (
	CBC       Mode = "aescbc"
	GCM       Mode = "aesgcm"
	Secretbox Mode = "secretbox"
)

var (
	// ErrKey says that none of the ring's keys opens a value.
	ErrKey = errors.New("no known key opens it")
	// ErrRemote marks a value whose key is with a key management service, which nobody can ask while the cluster is stopped.
	ErrRemote = errors.New("encrypted by a key management service")
	// ErrFormat marks a value that is encrypted in no known way.
	ErrFormat = errors.New("encrypted in an unknown way")
)

// KeyID names an encryption key: its SHA-256.
type KeyID [sha256.Size]byte

func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// IDOf returns the id of a key.
func IDOf(key []byte) KeyID { return sha256.Sum256(key) }

// Envelope is how a value was encrypted, and how it is to be encrypted again.
type Envelope struct {
	Mode Mode
	Name string // the key's, in the API server's configuration
	Key  KeyID  // the key that opened it
}

const magic = "k8s:enc:"

// Encrypted tells whether a stored value is encrypted.
func Encrypted(stored []byte) bool { return bytes.HasPrefix(stored, []byte(magic)) }

// prefix is what precedes the encrypted bytes.
func (e Envelope) prefix() string { return magic + string(e.Mode) + ":v1:" + e.Name + ":" }

// parse reads the prefix.
func parse(stored []byte) (e Envelope, sealed []byte, err error) {
	text, encrypted := strings.CutPrefix(string(stored[:min(len(stored), maximumPrefix)]), magic)
	mode, rest, _ := strings.Cut(text, ":")
	switch {
	case !encrypted:
		return e, nil, ErrFormat
	case mode == "kms":
		return e, nil, ErrRemote
	}
	version, rest, _ := strings.Cut(rest, ":")
	name, _, ended := strings.Cut(rest, ":")
	e = Envelope{Mode: Mode(mode), Name: name}
	if version != "v1" || !ended || e.Mode != CBC && e.Mode != GCM && e.Mode != Secretbox {
		return e, nil, ErrFormat
	}
	return e, stored[len(e.prefix()):], nil
}

// maximumPrefix is the longest prefix that is read, in bytes.
const maximumPrefix = 512

// Ring is the encryption keys of a cluster.
type Ring struct{ keys map[KeyID][]byte }

// NewRing returns a ring with the keys.
func NewRing(keys ...[]byte) *Ring {
	r := &Ring{keys: map[KeyID][]byte{}}
	for _, key := range keys {
		r.Add(key)
	}
	return r
}

// Add puts a key of 16, 24 or 32 bytes on the ring.
func (r *Ring) Add(key []byte) { r.keys[IDOf(key)] = bytes.Clone(key) }

// Open decrypts what is stored under a name, which is the etcd key and part of what is authenticated.
// The error is ErrKey, ErrRemote or ErrFormat.
func (r *Ring) Open(name string, stored []byte) (Envelope, []byte, error) {
	e, sealed, err := parse(stored)
	if err != nil {
		return e, nil, fmt.Errorf("cannot open %s: %w", name, err)
	}
	for id, key := range r.keys {
		if content, ok := open(e.Mode, key, name, sealed); ok {
			e.Key = id
			return e, content, nil
		}
	}
	return e, nil, fmt.Errorf("cannot open %s, encrypted with key %q: %w", name, e.Name, ErrKey)
}

// Seal encrypts content with a key, to be stored under a name: in the envelope's mode and under the envelope's key name.
func Seal(e Envelope, key []byte, name string, content []byte) ([]byte, error) {
	sealed, err := seal(e.Mode, key, name, content)
	if err != nil {
		return nil, fmt.Errorf("cannot encrypt %s: %w", name, err)
	}
	return append([]byte(e.prefix()), sealed...), nil
}

const nonceSize = 24 // of secretbox

func open(mode Mode, key []byte, name string, sealed []byte) (content []byte, ok bool) {
	if mode == Secretbox {
		if len(key) != 32 || len(sealed) < nonceSize {
			return nil, false
		}
		return secretbox.Open([]byte{}, sealed[nonceSize:], (*[nonceSize]byte)(sealed), (*[32]byte)(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, false
	}
	if mode == CBC {
		return openCBC(block, sealed)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil || len(sealed) < aead.NonceSize() {
		return nil, false
	}
	content, err = aead.Open([]byte{}, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(name))
	return content, err == nil
}

// openCBC has no authentication to go by. The padding is right by chance once in 256 times; that the content also begins
// as a stored object does settles it.
func openCBC(block cipher.Block, sealed []byte) (content []byte, ok bool) {
	if len(sealed) < 2*aes.BlockSize || len(sealed)%aes.BlockSize != 0 {
		return nil, false
	}
	content = make([]byte, len(sealed)-aes.BlockSize)
	cipher.NewCBCDecrypter(block, sealed[:aes.BlockSize]).CryptBlocks(content, sealed[aes.BlockSize:])
	padding := int(content[len(content)-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil, false
	}
	content, tail := content[:len(content)-padding], content[len(content)-padding:]
	for _, b := range tail {
		if int(b) != padding {
			return nil, false
		}
	}
	for _, beginning := range []string{"k8s\x00", "{", "\xd9\xd9\xf7"} { // protobuf, JSON, CBOR
		if bytes.HasPrefix(content, []byte(beginning)) {
			return content, true
		}
	}
	return nil, false
}

func seal(mode Mode, key []byte, name string, content []byte) ([]byte, error) {
	if mode == Secretbox {
		if len(key) != 32 {
			return nil, fmt.Errorf("key of %d bytes", len(key))
		}
		nonce := random(nonceSize)
		return secretbox.Seal(nonce, content, (*[nonceSize]byte)(nonce), (*[32]byte)(key)), nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if mode == CBC {
		padding := aes.BlockSize - len(content)%aes.BlockSize
		sealed := append(random(aes.BlockSize), content...)
		sealed = append(sealed, bytes.Repeat([]byte{byte(padding)}, padding)...)
		cipher.NewCBCEncrypter(block, sealed[:aes.BlockSize]).CryptBlocks(sealed[aes.BlockSize:], sealed[aes.BlockSize:])
		return sealed, nil
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	nonce := random(aead.NonceSize())
	return aead.Seal(nonce, nonce, content, []byte(name)), nil
}

// NewKey returns a fresh key for another's place.
func NewKey(old []byte) []byte { return random(len(old)) }

func random(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails, by its documentation
	return b
}
