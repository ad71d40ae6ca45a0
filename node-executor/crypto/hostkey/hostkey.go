// Package hostkey makes SSH host keys anew. A host key says which machine a client has reached; two machines that were
// made from one image must not share it. An upgrade keeps the machine's own keys (they go along with the site's files); this is
// for a machine that had none before.
package hostkey

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

// Renewer replaces host keys, each always by the same new one. It is not safe for concurrent use.
type Renewer struct {
	generate func(pki.Algorithm) (crypto.Signer, error)
	// renewed are the new keys by the old ones' fingerprints, and by their own.
	renewed map[string]*hostKey
}

// hostKey is a new key. Its file is written once: the form has random bytes in it.
type hostKey struct {
	public ssh.PublicKey
	file   []byte
}

// NewRenewer returns a Renewer that has replaced nothing yet. Generate is usually [pki.Generate].
func NewRenewer(generate func(pki.Algorithm) (crypto.Signer, error)) *Renewer {
	return &Renewer{generate: generate, renewed: map[string]*hostKey{}}
}

// Private returns the file that takes a private host key's place: a new key of the same type and size in OpenSSH's
// form. One that this Renewer made stays as it is. Errors do not quote the file.
func (r *Renewer) Private(file []byte) ([]byte, error) {
	raw, err := ssh.ParseRawPrivateKey(file)
	if err != nil {
		return nil, errors.New("cannot read host key: not an unencrypted private key of SSH")
	}
	if pointer, ok := raw.(*ed25519.PrivateKey); ok {
		raw = *pointer
	}
	old, ok := raw.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("cannot renew host key: %T signs nothing", raw)
	}
	public, err := ssh.NewPublicKey(old.Public())
	if err != nil {
		return nil, fmt.Errorf("cannot renew host key: %w", err)
	}
	key, err := r.successor(ssh.FingerprintSHA256(public), old)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(key.public.Marshal(), public.Marshal()) {
		return file, nil
	}
	return key.file, nil
}

// successor returns the key that takes the old one's place, making it where there is none yet.
func (r *Renewer) successor(fingerprint string, old crypto.Signer) (*hostKey, error) {
	if key := r.renewed[fingerprint]; key != nil {
		return key, nil
	}
	algorithm, err := pki.AlgorithmOf(old.Public())
	if err != nil {
		return nil, fmt.Errorf("cannot renew host key: %w", err)
	}
	key, err := r.generate(algorithm)
	if err != nil {
		return nil, fmt.Errorf("cannot renew host key: %w", err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("cannot renew host key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, fmt.Errorf("cannot write host key: %w", err)
	}
	renewed := &hostKey{public: public, file: pem.EncodeToMemory(block)}
	r.renewed[fingerprint], r.renewed[ssh.FingerprintSHA256(public)] = renewed, renewed
	return renewed, nil
}

// Public returns the file that takes the place of a host key's public half, with its comment. The private half must have been replaced
// before; the public half of any other key stays, and known is false.
func (r *Renewer) Public(file []byte) (after []byte, known bool, err error) {
	old, comment, _, rest, err := ssh.ParseAuthorizedKey(file)
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, false, errors.New("cannot read host key: not one public key of SSH")
	}
	key := r.renewed[ssh.FingerprintSHA256(old)]
	if key == nil {
		return file, false, nil
	}
	if bytes.Equal(key.public.Marshal(), old.Marshal()) {
		return file, true, nil
	}
	line := bytes.TrimSuffix(ssh.MarshalAuthorizedKey(key.public), []byte("\n"))
	if comment != "" {
		line = append(append(line, ' '), comment...)
	}
	return append(line, '\n'), true, nil
}
