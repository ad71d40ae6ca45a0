package keystore

import (
	"bytes"
	"crypto/subtle"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

// A PKCS #12 is a content with an integrity check. The content is a list of parts, each plain or encrypted, and a part a
// list of bags: a key (encrypted once more or not), a certificate, or bags again. Each level is a method below that
// returns its own new encoding, or what it was given if nothing in it changes.

var (
	oidData          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidEncryptedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	oidX509          = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 22, 1}
	oidFriendlyName  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 20}
)

// The bags of RFC 7292, section 4.2.
const (
	keyBag         = "1.2.840.113549.1.12.10.1.1"
	shroudedKeyBag = "1.2.840.113549.1.12.10.1.2"
	certificateBag = "1.2.840.113549.1.12.10.1.3"
	revocationBag  = "1.2.840.113549.1.12.10.1.4"
	nestedBag      = "1.2.840.113549.1.12.10.1.6"
)

const maximumNesting = 4 // of bags in bags

// pkcs12 is one pass over a store: it lists the entries or, with replacements, puts those in place.
type pkcs12 struct {
	password     password
	others       [][]byte
	entries      []Entry
	replacements map[int][]byte
}

func openPKCS12(doc, text []byte, others [][]byte, left *work) (*Store, error) {
	forms := []password{passwordOf(text, left)}
	if len(text) == 0 {
		forms = append(forms, password{left: left}) // some programs leave the final zeros away too
	}
	for _, form := range forms {
		p := &pkcs12{password: form, others: others}
		_, err := p.store(doc)
		if err == nil {
			return &Store{Entries: p.entries, rewrite: func(replacements map[int][]byte) ([]byte, error) {
				left := work(2 * maximumWork)
				again := &pkcs12{password: form, others: others, replacements: replacements}
				again.password.left = &left
				return again.store(doc)
			}}, nil
		}
		if !errors.Is(err, ErrPassword) {
			return nil, fmt.Errorf("cannot open PKCS #12: %w", err)
		}
	}
	return nil, ErrPassword
}

// entry lists an entry, or returns what takes its place.
func (p *pkcs12) entry(e Entry) (replacement []byte) {
	p.entries = append(p.entries, e)
	return p.replacements[len(p.entries)-1]
}

// store handles the whole: version, content, check.
func (p *pkcs12) store(doc []byte) ([]byte, error) {
	whole, members, err := sequence(doc)
	if err != nil || len(members) < 2 || len(members) > 3 {
		return nil, ErrUnsupported
	}
	kind, content, err := contentOf(members[1])
	if err != nil || !kind.Equal(oidData) {
		return nil, ErrUnsupported // signed by a key instead of a password: in no use
	}
	safe := content.Bytes
	if len(members) == 3 {
		if err := p.check(members[2], safe); err != nil {
			return nil, err
		}
	}
	renewed, err := p.each(safe, p.part)
	if err != nil || p.replacements == nil {
		return nil, err
	}
	parts := [][]byte{members[0].FullBytes, contentInfo(oidData, with(content, renewed))}
	if len(members) == 3 {
		mac, err := p.renewCheck(members[2], renewed)
		if err != nil {
			return nil, err
		}
		parts = append(parts, mac)
	}
	return with(whole, parts...), nil
}

// macData is RFC 7292's.
type macData struct {
	Digest struct {
		Algorithm algorithm
		Sum       []byte
	}
	Salt       []byte
	Iterations int `asn1:"optional,default:1"`
}

func readMAC(raw asn1.RawValue) (m macData, err error) {
	if _, err := asn1.Unmarshal(raw.FullBytes, &m); err != nil {
		return m, ErrUnsupported
	}
	if digests[m.Digest.Algorithm.ID.String()] == 0 {
		return m, ErrUnsupported
	}
	return m, nil
}

func (p *pkcs12) check(raw asn1.RawValue, content []byte) error {
	m, err := readMAC(raw)
	if err != nil {
		return err
	}
	sum, err := p.password.mac(digests[m.Digest.Algorithm.ID.String()], m.Salt, m.Iterations, content)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(sum, m.Digest.Sum) != 1 {
		return ErrPassword
	}
	return nil
}

func (p *pkcs12) renewCheck(raw asn1.RawValue, content []byte) ([]byte, error) {
	m, err := readMAC(raw)
	if err != nil {
		return nil, err
	}
	m.Salt = freshSalt(m.Salt, content)
	m.Digest.Sum, err = p.password.mac(digests[m.Digest.Algorithm.ID.String()], m.Salt, m.Iterations, content)
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(m)
}

// each handles the members of a sequence.
func (p *pkcs12) each(der []byte, member func(asn1.RawValue) ([]byte, error)) ([]byte, error) {
	whole, members, err := sequence(der)
	if err != nil || len(members) > maximumEntries {
		return nil, ErrUnsupported
	}
	parts := make([][]byte, len(members))
	for i, m := range members {
		if parts[i], err = member(m); err != nil {
			return nil, err
		}
	}
	return with(whole, parts...), nil
}

// part handles a plain or an encrypted list of bags.
func (p *pkcs12) part(raw asn1.RawValue) ([]byte, error) {
	kind, content, err := contentOf(raw)
	if err != nil {
		return nil, err
	}
	switch {
	case kind.Equal(oidData):
		renewed, err := p.each(content.Bytes, p.bag)
		return contentInfo(oidData, with(content, renewed)), err
	case kind.Equal(oidEncryptedData):
		renewed, err := p.encryptedPart(content)
		return contentInfo(oidEncryptedData, renewed), err
	}
	p.entry(Entry{Err: fmt.Errorf("a part of type %s: %w", kind, ErrUnsupported)})
	return raw.FullBytes, nil
}

// encryptedPart handles EncryptedData: version and (type, algorithm, encrypted bags).
func (p *pkcs12) encryptedPart(data asn1.RawValue) ([]byte, error) {
	members, err := split(data.Bytes)
	if err != nil || len(members) < 2 {
		return nil, ErrUnsupported
	}
	info, err := split(members[1].Bytes)
	if err != nil || len(info) != 3 || info[2].Class != asn1.ClassContextSpecific || info[2].IsCompound {
		return nil, ErrUnsupported
	}
	var scheme algorithm
	if _, err := asn1.Unmarshal(info[1].FullBytes, &scheme); err != nil {
		return nil, ErrUnsupported
	}
	bags, err := p.password.decrypt(scheme, info[2].Bytes)
	if err != nil {
		return nil, err
	}
	if _, _, err := sequence(bags); err != nil {
		return nil, ErrPassword // the padding was right by chance
	}
	renewed, err := p.each(bags, p.bag)
	if err != nil || bytes.Equal(renewed, bags) {
		return data.FullBytes, err
	}
	fresh, sealed, err := p.password.encrypt(scheme, renewed)
	if err != nil {
		return nil, err
	}
	parts := [][]byte{members[0].FullBytes, with(members[1], info[0].FullBytes, fresh.Raw, with(info[2], sealed))}
	for _, m := range members[2:] {
		parts = append(parts, m.FullBytes)
	}
	return with(data, parts...), nil
}

// bag handles a bag: type, value, attributes.
func (p *pkcs12) bag(raw asn1.RawValue) ([]byte, error) { return p.nestedBag(raw, 0) }

func (p *pkcs12) nestedBag(raw asn1.RawValue, nesting int) ([]byte, error) {
	members, err := split(raw.Bytes)
	var kind asn1.ObjectIdentifier
	if err != nil || len(members) < 2 || nesting > maximumNesting {
		return nil, ErrUnsupported
	}
	if _, err := asn1.Unmarshal(members[0].FullBytes, &kind); err != nil {
		return nil, ErrUnsupported
	}
	alias, value := aliasOf(members[2:]), members[1].Bytes
	var renewed []byte
	switch kind.String() {
	case keyBag:
		renewed = p.entry(Entry{Alias: alias, Private: true, DER: value})
	case shroudedKeyBag:
		renewed, err = p.shrouded(alias, value)
	case certificateBag:
		renewed, err = p.certificate(alias, value)
	case nestedBag:
		renewed, err = p.each(value, func(m asn1.RawValue) ([]byte, error) { return p.nestedBag(m, nesting+1) })
	case revocationBag:
	default:
		p.entry(Entry{Alias: alias, Err: fmt.Errorf("a bag of type %s: %w", kind, ErrUnsupported)})
	}
	if err != nil || renewed == nil {
		return raw.FullBytes, err
	}
	parts := [][]byte{members[0].FullBytes, with(members[1], renewed)}
	for _, m := range members[2:] {
		parts = append(parts, m.FullBytes)
	}
	return with(raw, parts...), nil
}

// encryptedKey is PKCS #8's EncryptedPrivateKeyInfo.
type encryptedKey struct {
	Algorithm algorithm
	Data      []byte
}

// shrouded handles an encrypted key, which may have a password of its own.
func (p *pkcs12) shrouded(alias string, der []byte) ([]byte, error) {
	var info encryptedKey
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, ErrUnsupported
	}
	candidates := []password{p.password}
	for _, other := range p.others {
		candidates = append(candidates, passwordOf(other, p.password.left))
	}
	failure := ErrPassword
	for _, candidate := range candidates {
		key, err := candidate.decrypt(info.Algorithm, info.Data)
		if err != nil {
			failure = err
			continue
		}
		if _, _, err := sequence(key); err != nil {
			continue // the padding was right by chance
		}
		replacement := p.entry(Entry{Alias: alias, Private: true, DER: key})
		if replacement == nil {
			return nil, nil
		}
		fresh, sealed, err := candidate.encrypt(info.Algorithm, replacement)
		if err != nil {
			return nil, err
		}
		return asn1.Marshal(encryptedKey{fresh, sealed})
	}
	p.entry(Entry{Alias: alias, Private: true, Err: failure})
	return nil, nil
}

// certificate handles a certificate: type and, in an octet string, DER.
func (p *pkcs12) certificate(alias string, der []byte) ([]byte, error) {
	whole, members, err := sequence(der)
	if err != nil || len(members) != 2 {
		return nil, ErrUnsupported
	}
	var kind asn1.ObjectIdentifier
	var text asn1.RawValue
	if _, err := asn1.Unmarshal(members[0].FullBytes, &kind); err != nil {
		return nil, ErrUnsupported
	}
	if rest, err := asn1.Unmarshal(members[1].Bytes, &text); err != nil || len(rest) > 0 || !kind.Equal(oidX509) || text.Tag != asn1.TagOctetString {
		p.entry(Entry{Alias: alias, Err: ErrUnsupported})
		return nil, nil
	}
	replacement := p.entry(Entry{Alias: alias, DER: text.Bytes})
	if replacement == nil {
		return nil, nil
	}
	return with(whole, members[0].FullBytes, with(members[1], with(text, replacement))), nil
}

// aliasOf is the attribute friendlyName.
func aliasOf(rest []asn1.RawValue) string {
	for _, set := range rest {
		attributes, _ := split(set.Bytes)
		for _, raw := range attributes {
			var a struct {
				ID     asn1.ObjectIdentifier
				Values []asn1.RawValue `asn1:"set"`
			}
			if _, err := asn1.Unmarshal(raw.FullBytes, &a); err != nil || !a.ID.Equal(oidFriendlyName) || len(a.Values) != 1 {
				continue
			}
			var units []uint16
			for text := a.Values[0].Bytes; len(text) >= 2; text = text[2:] {
				units = append(units, binary.BigEndian.Uint16(text))
			}
			return string(utf16.Decode(units))
		}
	}
	return ""
}

// contentOf opens a ContentInfo: its type, and the value in its explicit tag.
func contentOf(raw asn1.RawValue) (kind asn1.ObjectIdentifier, content asn1.RawValue, err error) {
	members, err := split(raw.Bytes)
	if err != nil || len(members) != 2 {
		return nil, content, ErrUnsupported
	}
	if _, err := asn1.Unmarshal(members[0].FullBytes, &kind); err != nil {
		return nil, content, ErrUnsupported
	}
	if rest, err := asn1.Unmarshal(members[1].Bytes, &content); err != nil || len(rest) > 0 {
		return nil, content, ErrUnsupported
	}
	if kind.Equal(oidData) && (content.Tag != asn1.TagOctetString || content.IsCompound) {
		return nil, content, ErrUnsupported
	}
	return kind, content, nil
}

func contentInfo(kind asn1.ObjectIdentifier, content []byte) []byte {
	id, _ := asn1.Marshal(kind) // a valid one
	tagged := with(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true}, content)
	return with(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true}, id, tagged)
}

// sequence opens a whole document that is one sequence.
func sequence(der []byte) (whole asn1.RawValue, members []asn1.RawValue, err error) {
	rest, err := asn1.Unmarshal(der, &whole)
	if err != nil || len(rest) > 0 || whole.Tag != asn1.TagSequence || !whole.IsCompound {
		return whole, nil, ErrUnsupported
	}
	members, err = split(whole.Bytes)
	return whole, members, err
}

// split returns the members of a constructed value.
func split(content []byte) ([]asn1.RawValue, error) {
	var members []asn1.RawValue
	for len(content) > 0 {
		var member asn1.RawValue
		rest, err := asn1.Unmarshal(content, &member)
		if err != nil {
			return nil, ErrUnsupported
		}
		members, content = append(members, member), rest
	}
	return members, nil
}

// with is a value of the same type with another content.
func with(v asn1.RawValue, parts ...[]byte) []byte {
	content := []byte{}
	for _, part := range parts {
		content = append(content, part...)
	}
	der, _ := asn1.Marshal(asn1.RawValue{Class: v.Class, Tag: v.Tag, IsCompound: v.IsCompound, Bytes: content}) // of raw bytes, which are not looked at
	return der
}
