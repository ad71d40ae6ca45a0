// Package jwk reads JSON Web Keys (RFC 7517) and puts other keys in their place. The members that hold the key
// change, and the key's id if it was made from the key; all else stays byte for byte.
package jwk

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/reroot-dev/reroot/node-executor/crypto/jsonfield"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

var (
	// ErrNotKey marks a document that is no JSON Web Key.
	ErrNotKey = errors.New("not a JSON Web Key")
	// ErrUnsupported marks a key of a kind that cannot be replaced: symmetric, encrypted, with certificates.
	ErrUnsupported = errors.New("unsupported kind of JSON Web Key")
)

// Key is a JSON Web Key.
type Key struct {
	Public  crypto.PublicKey
	Private crypto.Signer // nil when only the public half is there

	text   []byte
	fields jsonfield.Fields
}

// Parse reads one key: a JSON object. The error is ErrNotKey or ErrUnsupported.
func Parse(text []byte) (*Key, error) {
	fields, err := jsonfield.Parse(text)
	if err != nil || !fields["/kty"].IsText {
		return nil, ErrNotKey
	}
	k := &Key{text: text, fields: fields}
	for _, unsupported := range []string{"/k", "/x5c", "/x5t", "/x5t#S256", "/oth"} {
		if _, there := fields[unsupported]; there {
			return nil, ErrUnsupported
		}
	}
	switch kind := fields["/kty"].Text; kind {
	case "RSA":
		err = k.readRSA()
	case "EC":
		err = k.readEC()
	case "OKP":
		err = k.readEdwards()
	default:
		err = ErrUnsupported
	}
	if err != nil {
		return nil, ErrUnsupported // what is wrong might quote the key
	}
	return k, nil
}

// Secret tells whether a document has a member that holds a private or symmetric key, be it readable or not.
func Secret(text []byte) bool {
	fields, err := jsonfield.Parse(text)
	if err != nil {
		return false
	}
	_, private := fields["/d"]
	_, symmetric := fields["/k"]
	return private || symmetric
}

func (k *Key) has(member string) bool {
	_, there := k.fields["/"+member]
	return there
}

func (k *Key) bytes(member string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(k.fields["/"+member].Text)
	if err != nil {
		return nil
	}
	return b
}

func (k *Key) number(member string) *big.Int { return new(big.Int).SetBytes(k.bytes(member)) }

func (k *Key) readRSA() error {
	e := k.number("e")
	if !e.IsInt64() || e.Int64() < 3 || e.Int64() >= 1<<31 || k.number("n").Sign() == 0 {
		return ErrUnsupported
	}
	public := rsa.PublicKey{N: k.number("n"), E: int(e.Int64())}
	k.Public = &public
	if _, err := pki.AlgorithmOf(&public); err != nil || !k.has("d") {
		return err
	}
	private := &rsa.PrivateKey{PublicKey: public, D: k.number("d"), Primes: []*big.Int{k.number("p"), k.number("q")}}
	if err := private.Validate(); err != nil {
		return err
	}
	private.Precompute()
	k.Private = private
	return nil
}

var curves = map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}

func (k *Key) readEC() error {
	curve := curves[k.fields["/crv"].Text]
	if curve == nil {
		return ErrUnsupported
	}
	size := (curve.Params().BitSize + 7) / 8
	x, y := k.bytes("x"), k.bytes("y")
	if len(x) != size || len(y) != size {
		return ErrUnsupported
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
	if err != nil {
		return err
	}
	k.Public = public
	if !k.has("d") {
		return nil
	}
	private, err := ecdsa.ParseRawPrivateKey(curve, k.bytes("d"))
	if err != nil || !private.PublicKey.Equal(public) {
		return ErrUnsupported
	}
	k.Private = private
	return nil
}

func (k *Key) readEdwards() error {
	x := k.bytes("x")
	if k.fields["/crv"].Text != "Ed25519" || len(x) != ed25519.PublicKeySize {
		return ErrUnsupported
	}
	k.Public = ed25519.PublicKey(x)
	if !k.has("d") {
		return nil
	}
	if len(k.bytes("d")) != ed25519.SeedSize {
		return ErrUnsupported
	}
	private := ed25519.NewKeyFromSeed(k.bytes("d"))
	if !private.Public().(ed25519.PublicKey).Equal(k.Public) {
		return ErrUnsupported
	}
	k.Private = private
	return nil
}

// Replace returns the document with another key of the same kind; the private half of it if the old one's is there.
func (k *Key) Replace(key crypto.Signer) ([]byte, error) {
	kind, members, err := membersOf(key)
	if err != nil {
		return nil, err
	}
	if kind != k.fields["/kty"].Text {
		return nil, fmt.Errorf("cannot put a key of kind %s in the place of one of kind %s: %w", kind, k.fields["/kty"].Text, ErrUnsupported)
	}
	if id, ok := k.newID(key, members, kind); ok {
		members["kid"] = id
	}
	var edits []splice.Edit
	for name, value := range members {
		if !k.has(name) {
			continue // the private half of a public key, or precomputed numbers that were left away
		}
		edit, err := k.fields.Set(k.text, "/"+name, value)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit...)
	}
	return splice.Apply(k.text, edits)
}

// newID returns the id for another key where the old one was made from the old key: as Kubernetes does, or as RFC 7638 says.
func (k *Key) newID(key crypto.Signer, members map[string]string, kind string) (string, bool) {
	old, err := pki.IDOf(k.Public)
	if err != nil {
		return "", false
	}
	renewed, err := pki.IDOf(key.Public())
	if err != nil {
		return "", false
	}
	current := map[string]string{}
	for name := range members {
		current[name] = k.fields["/"+name].Text
	}
	switch k.fields["/kid"].Text {
	case token.KeyIDOf(old):
		return token.KeyIDOf(renewed), true
	case thumbprint(kind, current):
		return thumbprint(kind, members), true
	}
	return "", false
}

// thumbprint is RFC 7638's: the required members in the order of their names.
func thumbprint(kind string, m map[string]string) string {
	var text string
	switch kind {
	case "RSA":
		text = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, m["e"], m["n"])
	case "EC":
		text = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, m["crv"], m["x"], m["y"])
	default:
		text = fmt.Sprintf(`{"crv":"%s","kty":"OKP","x":"%s"}`, m["crv"], m["x"])
	}
	sum := sha256.Sum256([]byte(text))
	return encode(sum[:])
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// membersOf are all members that say what a key is (RFC 7518, section 6, and RFC 8037).
func membersOf(key crypto.Signer) (kind string, members map[string]string, err error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		k.Precompute()
		return "RSA", map[string]string{
			"n": encode(k.N.Bytes()), "e": encode(big.NewInt(int64(k.E)).Bytes()), "d": encode(k.D.Bytes()),
			"p": encode(k.Primes[0].Bytes()), "q": encode(k.Primes[1].Bytes()),
			"dp": encode(k.Precomputed.Dp.Bytes()), "dq": encode(k.Precomputed.Dq.Bytes()), "qi": encode(k.Precomputed.Qinv.Bytes()),
		}, nil
	case *ecdsa.PrivateKey:
		point, err := k.PublicKey.Bytes()
		if err != nil {
			return "", nil, err
		}
		scalar, err := k.Bytes()
		half := (len(point) - 1) / 2
		return "EC", map[string]string{
			"crv": k.Params().Name, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:]), "d": encode(scalar),
		}, err
	case ed25519.PrivateKey:
		return "OKP", map[string]string{"crv": "Ed25519", "x": encode(k.Public().(ed25519.PublicKey)), "d": encode(k.Seed())}, nil
	}
	return "", nil, fmt.Errorf("cannot use a %T: %w", key, ErrUnsupported)
}
