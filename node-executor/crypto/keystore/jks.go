package keystore

import (
	"bytes"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"unicode/utf16"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// A JKS is a head (magic, version, number of entries), entries of length-prefixed fields, and the SHA-1 of the password, two
// words and all that. Certificates stand in plain; a key is a PKCS #8 EncryptedPrivateKeyInfo whose algorithm is Sun's
// own: a stream of SHA-1 sums over the password (javaProtection).

const (
	jksWhitener = "Mighty Aphrodite"
	jksKey      = 1 // tags of entries
	jksTrusted  = 2
	jksDate     = 8 // bytes
)

var oidJavaProtection = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 42, 2, 17, 1, 1}

// jksPlace is where an entry stands: [start, end) is its length prefix and the bytes.
type jksPlace struct {
	start, end int
	password   []byte // of a key
}

type jks struct {
	doc      []byte
	password []byte // UTF-16
	others   [][]byte
	at       int
	entries  []Entry
	places   []jksPlace
}

func openJKS(doc, password []byte, others [][]byte, _ *work) (*Store, error) {
	j := &jks{doc: doc, password: utf16Of(password), others: others}
	if len(doc) < 12+sha1.Size {
		return nil, fmt.Errorf("cannot open JKS: %w", ErrUnsupported)
	}
	body, sum := doc[:len(doc)-sha1.Size], doc[len(doc)-sha1.Size:]
	if subtle.ConstantTimeCompare(jksSum(j.password, body), sum) != 1 {
		return nil, ErrPassword
	}
	j.doc = body
	if err := j.read(); err != nil {
		return nil, fmt.Errorf("cannot open JKS: %w", err)
	}
	return &Store{Entries: j.entries, rewrite: j.rewrite}, nil
}

func jksSum(password, body []byte) []byte {
	h := sha1.New()
	h.Write(password)
	h.Write([]byte(jksWhitener))
	h.Write(body)
	return h.Sum(nil)
}

func (j *jks) read() error {
	j.at = 4
	version, _ := j.number()
	count, ok := j.number()
	if !ok || version != 1 && version != 2 || count > maximumEntries {
		return ErrUnsupported
	}
	for range count {
		if err := j.entry(version); err != nil {
			return err
		}
	}
	if j.at != len(j.doc) {
		return ErrUnsupported
	}
	return nil
}

func (j *jks) entry(version int) error {
	tag, _ := j.number()
	alias, ok := j.text()
	j.at += jksDate
	certificates := 1
	switch {
	case !ok || tag != jksKey && tag != jksTrusted:
		return ErrUnsupported
	case tag == jksKey:
		start := j.at
		sealed, ok := j.bytes()
		if !ok {
			return ErrUnsupported
		}
		key, password, err := j.open(sealed)
		j.add(Entry{Alias: alias, Private: true, DER: key, Err: err}, jksPlace{start, j.at, password})
		if certificates, ok = j.number(); !ok || certificates > maximumEntries {
			return ErrUnsupported
		}
	}
	for range certificates {
		kind := "X.509"
		if version == 2 {
			kind, _ = j.text()
		}
		start := j.at
		der, ok := j.bytes()
		if !ok {
			return ErrUnsupported
		}
		e := Entry{Alias: alias, DER: der}
		if kind != "X.509" {
			e = Entry{Alias: alias, Err: ErrUnsupported}
		}
		j.add(e, jksPlace{start: start, end: j.at})
	}
	return nil
}

func (j *jks) add(e Entry, p jksPlace) {
	j.entries, j.places = append(j.entries, e), append(j.places, p)
}

// open decrypts a key. Its password may be another than the store's.
func (j *jks) open(sealed []byte) (key, password []byte, err error) {
	var info struct {
		Algorithm struct {
			ID     asn1.ObjectIdentifier
			Params asn1.RawValue `asn1:"optional"`
		}
		Data []byte
	}
	if _, err := asn1.Unmarshal(sealed, &info); err != nil || !info.Algorithm.ID.Equal(oidJavaProtection) || len(info.Data) < 2*sha1.Size {
		return nil, nil, ErrUnsupported
	}
	candidates := [][]byte{j.password}
	for _, other := range j.others {
		candidates = append(candidates, utf16Of(other))
	}
	for _, password := range candidates {
		if key := openJavaProtection(password, info.Data); key != nil {
			return key, password, nil
		}
	}
	return nil, nil, ErrPassword
}

func openJavaProtection(password, data []byte) []byte {
	salt, sealed, check := data[:sha1.Size], data[sha1.Size:len(data)-sha1.Size], data[len(data)-sha1.Size:]
	key := javaStream(password, salt, sealed)
	if sum := sha1.Sum(append(bytes.Clone(password), key...)); subtle.ConstantTimeCompare(sum[:], check) != 1 {
		return nil
	}
	return key
}

// javaStream encrypts and decrypts: each part of the stream is the sum of the password and the part before.
func javaStream(password, salt, text []byte) []byte {
	out := make([]byte, len(text))
	part := salt
	for at := 0; at < len(text); at += sha1.Size {
		sum := sha1.Sum(append(bytes.Clone(password), part...))
		part = sum[:]
		subtle.XORBytes(out[at:], text[at:], part)
	}
	return out
}

func sealJavaProtection(password, key []byte) ([]byte, error) {
	salt := freshSalt(make([]byte, sha1.Size), key)
	sum := sha1.Sum(append(bytes.Clone(password), key...))
	data := append(append(salt, javaStream(password, salt, key)...), sum[:]...)
	type algorithm struct {
		ID     asn1.ObjectIdentifier
		Params asn1.RawValue
	}
	return asn1.Marshal(struct {
		Algorithm algorithm
		Data      []byte
	}{algorithm{oidJavaProtection, asn1.NullRawValue}, data})
}

func (j *jks) rewrite(replacements map[int][]byte) ([]byte, error) {
	var edits []splice.Edit
	for i, der := range replacements {
		place := j.places[i]
		if j.entries[i].Private {
			var err error
			if der, err = sealJavaProtection(place.password, der); err != nil {
				return nil, err
			}
		}
		edits = append(edits, splice.Edit{Start: place.start, End: place.end, Text: append(binary.BigEndian.AppendUint32(nil, uint32(len(der))), der...)})
	}
	body, err := splice.Apply(j.doc, edits)
	if err != nil {
		return nil, err
	}
	return append(bytes.Clone(body), jksSum(j.password, body)...), nil
}

// number reads four bytes; at the end of the document it reads zero and false.
func (j *jks) number() (n int, ok bool) {
	if j.at < 0 || j.at+4 > len(j.doc) {
		return 0, false
	}
	n = int(binary.BigEndian.Uint32(j.doc[j.at:]))
	j.at += 4
	return n, true
}

func (j *jks) bytes() ([]byte, bool) {
	n, ok := j.number()
	if !ok || n > len(j.doc)-j.at {
		return nil, false
	}
	j.at += n
	return j.doc[j.at-n : j.at], true
}

// text reads a string with a length of two bytes.
func (j *jks) text() (string, bool) {
	if j.at+2 > len(j.doc) {
		return "", false
	}
	n := int(binary.BigEndian.Uint16(j.doc[j.at:]))
	if j.at += 2; n > len(j.doc)-j.at {
		return "", false
	}
	j.at += n
	return string(j.doc[j.at-n : j.at]), true
}

// utf16Of is how Java hashes a password: two bytes a character, the higher first.
func utf16Of(password []byte) []byte {
	out := []byte{}
	for _, unit := range utf16.Encode([]rune(string(password))) {
		out = binary.BigEndian.AppendUint16(out, unit)
	}
	return out
}
