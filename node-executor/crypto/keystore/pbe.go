package keystore

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/pbkdf2"
	_ "crypto/sha1" // of older key stores
	"crypto/sha256"
	_ "crypto/sha512"
	"encoding/asn1"
	"hash"
	"math/big"
)

// algorithm is an AlgorithmIdentifier.
type algorithm struct {
	Raw    asn1.RawContent
	ID     asn1.ObjectIdentifier
	Params asn1.RawValue `asn1:"optional"`
}

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
)

// schemes of RFC 7292, appendix C: the cipher and the length of its key in bytes. Key and initialisation vector are made by
// its own derivation with SHA-1.
var schemes = map[string]struct {
	size   int
	cipher func(key []byte) (cipher.Block, error)
}{
	"1.2.840.113549.1.12.1.3": {24, des.NewTripleDESCipher},
	"1.2.840.113549.1.12.1.4": {16, func(k []byte) (cipher.Block, error) { return des.NewTripleDESCipher(append(bytes.Clone(k), k[:8]...)) }},
	"1.2.840.113549.1.12.1.5": {16, func(k []byte) (cipher.Block, error) { return newRC2(k), nil }},
	"1.2.840.113549.1.12.1.6": {5, func(k []byte) (cipher.Block, error) { return newRC2(k), nil }},
}

// ciphers of PBES2 (RFC 8018, appendix B.2), all in CBC, with the length of their key in bytes.
var ciphers = map[string]struct {
	size   int
	cipher func(key []byte) (cipher.Block, error)
}{
	"2.16.840.1.101.3.4.1.2":  {16, aes.NewCipher},
	"2.16.840.1.101.3.4.1.22": {24, aes.NewCipher},
	"2.16.840.1.101.3.4.1.42": {32, aes.NewCipher},
	"1.2.840.113549.3.7":      {24, des.NewTripleDESCipher},
}

// pseudorandom are the functions of PBKDF2: HMAC with these.
var pseudorandom = map[string]crypto.Hash{
	"1.2.840.113549.2.7":  crypto.SHA1,
	"1.2.840.113549.2.9":  crypto.SHA256,
	"1.2.840.113549.2.10": crypto.SHA384,
	"1.2.840.113549.2.11": crypto.SHA512,
}

// digests are the hashes of a store's integrity check.
var digests = map[string]crypto.Hash{
	"1.3.14.3.2.26":          crypto.SHA1,
	"2.16.840.1.101.3.4.2.1": crypto.SHA256,
	"2.16.840.1.101.3.4.2.2": crypto.SHA384,
	"2.16.840.1.101.3.4.2.3": crypto.SHA512,
}

// password in the two forms that the schemes want.
type password struct {
	text []byte // UTF-8
	bmp  []byte // UTF-16 and, usually, two zeros
	left *work  // shared by all that is tried on a store
}

func passwordOf(text []byte, left *work) password {
	return password{text, append(utf16Of(text), 0, 0), left}
}

// cbc returns cipher and initialisation vector of an algorithm, and the salt and vector as they stand in its parameters.
func (p password) cbc(a algorithm) (block cipher.Block, vector []byte, random [][]byte, err error) {
	if a.ID.Equal(oidPBES2) {
		return p.pbes2(a)
	}
	scheme, known := schemes[a.ID.String()]
	var params struct {
		Salt       []byte
		Iterations int
	}
	if _, err := asn1.Unmarshal(a.Params.FullBytes, &params); err != nil || !known {
		return nil, nil, nil, ErrUnsupported
	}
	if err := p.left.spend(params.Iterations); err != nil {
		return nil, nil, nil, err
	}
	// For key and vector; the second derivation is not counted.
	key := derive(crypto.SHA1, forKey, p.bmp, params.Salt, params.Iterations, scheme.size)
	if block, err = scheme.cipher(key); err != nil {
		return nil, nil, nil, ErrUnsupported
	}
	vector = derive(crypto.SHA1, forVector, p.bmp, params.Salt, params.Iterations, block.BlockSize())
	return block, vector, [][]byte{params.Salt}, nil
}

func (p password) pbes2(a algorithm) (block cipher.Block, vector []byte, random [][]byte, err error) {
	var params struct{ KDF, Cipher algorithm }
	var kdf struct {
		Salt       []byte
		Iterations int
		Length     int       `asn1:"optional"`
		PRF        algorithm `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(a.Params.FullBytes, &params); err != nil || !params.KDF.ID.Equal(oidPBKDF2) {
		return nil, nil, nil, ErrUnsupported
	}
	if _, err := asn1.Unmarshal(params.KDF.Params.FullBytes, &kdf); err != nil {
		return nil, nil, nil, ErrUnsupported
	}
	hash := crypto.SHA1
	if kdf.PRF.ID != nil {
		hash = pseudorandom[kdf.PRF.ID.String()]
	}
	scheme, known := ciphers[params.Cipher.ID.String()]
	if _, err := asn1.Unmarshal(params.Cipher.Params.FullBytes, &vector); err != nil || !known || hash == 0 {
		return nil, nil, nil, ErrUnsupported
	}
	if err := p.left.spend(kdf.Iterations); err != nil {
		return nil, nil, nil, err
	}
	key, err := pbkdf2.Key(hash.New, string(p.text), kdf.Salt, kdf.Iterations, scheme.size)
	if err != nil {
		return nil, nil, nil, ErrUnsupported
	}
	if block, err = scheme.cipher(key); err != nil || len(vector) != block.BlockSize() {
		return nil, nil, nil, ErrUnsupported
	}
	return block, vector, [][]byte{kdf.Salt, vector}, nil
}

// decrypt returns nil and ErrPassword when the padding is not what it must be.
func (p password) decrypt(a algorithm, sealed []byte) ([]byte, error) {
	block, vector, _, err := p.cbc(a)
	if err != nil {
		return nil, err
	}
	size := block.BlockSize()
	if len(sealed) == 0 || len(sealed)%size != 0 {
		return nil, ErrUnsupported
	}
	content := make([]byte, len(sealed))
	cipher.NewCBCDecrypter(block, vector).CryptBlocks(content, sealed)
	padding := int(content[len(content)-1])
	if padding == 0 || padding > size || !bytes.HasSuffix(content, bytes.Repeat([]byte{byte(padding)}, padding)) {
		return nil, ErrPassword
	}
	return content[:len(content)-padding], nil
}

// encrypt encrypts as a says but with another salt and vector, and returns a with those.
func (p password) encrypt(a algorithm, content []byte) (renewed algorithm, sealed []byte, err error) {
	_, _, random, err := p.cbc(a)
	if err != nil {
		return a, nil, err
	}
	raw := bytes.Clone(a.Raw)
	for _, old := range random {
		// They are random and of some length: they stand there once, and what takes their place is as long.
		if at := bytes.Index(raw, old); at >= 0 {
			copy(raw[at:], freshSalt(old, content))
		}
	}
	if _, err := asn1.Unmarshal(raw, &renewed); err != nil {
		return a, nil, err
	}
	block, vector, _, err := p.cbc(renewed)
	if err != nil {
		return a, nil, err
	}
	padding := block.BlockSize() - len(content)%block.BlockSize()
	sealed = append(bytes.Clone(content), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, vector).CryptBlocks(sealed, sealed)
	return renewed, sealed, nil
}

// freshSalt is a salt of the same length that depends on what it is for: copies of a store must stay copies, and no two
// contents may share a salt.
func freshSalt(old, content []byte) (salt []byte) {
	h := hmac.New(sha256.New, content)
	for part := old; len(salt) < len(old); salt = append(salt, part...) {
		h.Reset()
		part = sumOf(h, part)
	}
	return salt[:len(old)]
}

// What a derivation is for (RFC 7292, appendix B.3).
const (
	forKey    = 1
	forVector = 2
	forMAC    = 3
)

// derive makes bytes from a password as PKCS #12 does (RFC 7292, appendix B.2).
func derive(with crypto.Hash, purpose byte, password, salt []byte, iterations, size int) []byte {
	width := with.New().BlockSize()
	diversifier := bytes.Repeat([]byte{purpose}, width)
	input := append(fill(salt, width), fill(password, width)...)
	var out []byte
	h := with.New()
	for len(out) < size {
		h.Reset()
		sum := sumOf(h, append(bytes.Clone(diversifier), input...))
		for range iterations - 1 {
			h.Reset()
			h.Write(sum)
			sum = h.Sum(sum[:0])
		}
		out = append(out, sum...)
		// Each block of the input becomes block + sum + 1, modulo its width.
		add := new(big.Int).Add(new(big.Int).SetBytes(fill(sum, width)[:width]), big.NewInt(1))
		modulus := new(big.Int).Lsh(big.NewInt(1), uint(8*width))
		for at := 0; at < len(input); at += width {
			block := new(big.Int).SetBytes(input[at : at+width])
			block.Mod(block.Add(block, add), modulus).FillBytes(input[at : at+width])
		}
	}
	return out[:size]
}

// fill repeats text to the next multiple of width; nothing stays nothing.
func fill(text []byte, width int) []byte {
	size := (len(text) + width - 1) / width * width
	return bytes.Repeat(text, size/max(len(text), 1)+1)[:size]
}

func sumOf(h hash.Hash, text []byte) []byte {
	h.Write(text)
	return h.Sum(nil)
}

// mac is the integrity check of a store's content.
func (p password) mac(with crypto.Hash, salt []byte, iterations int, content []byte) ([]byte, error) {
	if err := p.left.spend(iterations); err != nil {
		return nil, err
	}
	return sumOf(hmac.New(with.New, derive(with, forMAC, p.bmp, salt, iterations, with.Size())), content), nil
}
