package pki

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/netip"
	"time"
)

// Reissue says what of a certificate changes. The zero value of a field keeps what there is, except
// Signer, which is required.
type Reissue struct {
	Signer    crypto.Signer    // the issuer's key from now on
	PublicKey crypto.PublicKey // the subject's key from now on
	Serial    *big.Int
	NotBefore time.Time // both or none
	NotAfter  time.Time

	SubjectKeyID    []byte   // written only where the extension is present
	AuthorityKeyID  []byte   // likewise
	AuthoritySerial *big.Int // likewise; names the issuer's certificate by its serial number

	// Name maps common names of subject and issuer, and DNS names and addresses of the subject
	// alternative names, each as a whole string.
	Name func(string) string
}

// NewSerial returns a random positive serial number of 127 bits.
func NewSerial() (*big.Int, error) {
	limit := new(big.Int).Lsh(big.NewInt(1), 127)
	serial, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot make serial number: %w", err)
	}
	return serial.SetBit(serial, 126, 1), nil
}

// Reissue returns the DER of the changed certificate, without auxiliary data. Everything that r does
// not name stays as it is byte for byte: names, unknown extensions, their order and criticality.
func (c *Certificate) Reissue(r Reissue) ([]byte, error) {
	e := c.elements
	var err error
	if r.PublicKey != nil {
		if e.spki, err = x509.MarshalPKIXPublicKey(r.PublicKey); err != nil {
			return nil, fmt.Errorf("cannot encode public key: %w", err)
		}
		// An unchanged key keeps its bytes, whatever way they were encoded in.
		if id, err := IDOf(r.PublicKey); err == nil && id == c.KeyID {
			e.spki = c.elements.spki
		}
	}
	if r.Serial != nil {
		if e.serial, err = asn1.Marshal(r.Serial); err != nil {
			return nil, fmt.Errorf("cannot encode serial number: %w", err)
		}
	}
	if !r.NotBefore.IsZero() {
		if e.validity, err = marshalValidity(r.NotBefore, r.NotAfter); err != nil {
			return nil, err
		}
	}
	if r.Name != nil {
		if e.subject, err = rewriteName(e.subject, r.Name); err != nil {
			return nil, err
		}
		if e.issuer, err = rewriteName(e.issuer, r.Name); err != nil {
			return nil, err
		}
	}
	if e.algorithm, err = signatureAlgorithm(c.elements.algorithm, r.Signer.Public()); err != nil {
		return nil, err
	}
	if e.extensions, err = c.rewriteExtensions(r); err != nil {
		return nil, err
	}
	tbs := tlv(sequenceTag, e.version, e.serial, e.algorithm, e.issuer, e.validity, e.subject, e.spki, e.uniqueIDs, e.extensions)
	signature, err := sign(tbs, e.algorithm, r.Signer)
	if err != nil {
		return nil, err
	}
	return tlv(sequenceTag, tbs, e.algorithm, tlv(asn1.TagBitString, []byte{0}, signature)), nil
}

// Renames tells whether the mapping changes anything of what Reissue would apply it to.
func (c *Certificate) Renames(name func(string) string) (bool, error) {
	for _, raw := range [][]byte{c.elements.subject, c.elements.issuer} {
		renamed, err := rewriteName(raw, name)
		if err != nil || !bytes.Equal(renamed, raw) {
			return err == nil, err
		}
	}
	extensions, err := c.rewriteExtensions(Reissue{Name: name})
	return err == nil && !bytes.Equal(extensions, c.elements.extensions), err
}

const (
	sequenceTag   = 0x30
	extensionsTag = 0xa3
)

// marshalValidity encodes each time as RFC 5280 wants: UTCTime until 2049, GeneralizedTime from 2050.
func marshalValidity(notBefore, notAfter time.Time) ([]byte, error) {
	var parts [2][]byte
	for i, t := range []time.Time{notBefore, notAfter} {
		der, err := asn1.Marshal(t.UTC().Truncate(time.Second))
		if err != nil {
			return nil, fmt.Errorf("cannot encode validity: %w", err)
		}
		parts[i] = der
	}
	return tlv(sequenceTag, parts[0], parts[1]), nil
}

func (c *Certificate) rewriteExtensions(r Reissue) ([]byte, error) {
	var out [][]byte
	changed := false
	for _, e := range c.extensions {
		value, err := c.rewriteExtension(e, r)
		if err != nil {
			return nil, fmt.Errorf("cannot rewrite extension %s: %w", e.id, err)
		}
		raw := e.raw
		if !bytes.Equal(value, e.value) {
			if raw, err = replaceExtensionValue(e, value); err != nil {
				return nil, fmt.Errorf("cannot rewrite extension %s: %w", e.id, err)
			}
			changed = true
		}
		out = append(out, raw)
	}
	if !changed {
		return c.elements.extensions, nil
	}
	return tlv(extensionsTag, tlv(sequenceTag, out...)), nil
}

func (c *Certificate) rewriteExtension(e extension, r Reissue) ([]byte, error) {
	switch {
	case e.id.Equal(oidSubjectKeyID) && r.SubjectKeyID != nil:
		return asn1.Marshal(r.SubjectKeyID)
	case e.id.Equal(oidAuthorityKeyID):
		return rewriteAuthority(e.value, r)
	case e.id.Equal(oidSubjectAltName) && r.Name != nil:
		return rewriteAltNames(e.value, r.Name)
	}
	return e.value, nil
}

// replaceExtensionValue keeps id and criticality as they are encoded.
func replaceExtensionValue(e extension, value []byte) ([]byte, error) {
	var sequence asn1.RawValue
	if _, err := asn1.Unmarshal(e.raw, &sequence); err != nil {
		return nil, err
	}
	members, err := children(sequence.Bytes)
	if err != nil {
		return nil, err
	}
	var head []byte
	for _, m := range members[:len(members)-1] {
		head = append(head, m.FullBytes...)
	}
	return tlv(sequenceTag, head, tlv(asn1.TagOctetString, value)), nil
}

// Tags of authorityKeyID's members.
const (
	authorityIDTag     = 0x80
	authorityIssuerTag = 0xa1
	authoritySerialTag = 0x82
)

func rewriteAuthority(value []byte, r Reissue) ([]byte, error) {
	var sequence asn1.RawValue
	if _, err := asn1.Unmarshal(value, &sequence); err != nil {
		return nil, err
	}
	members, err := children(sequence.Bytes)
	if err != nil {
		return nil, err
	}
	var out [][]byte
	for _, m := range members {
		part := m.FullBytes
		switch m.FullBytes[0] {
		case authorityIDTag:
			if r.AuthorityKeyID != nil {
				part = tlv(authorityIDTag, r.AuthorityKeyID)
			}
		case authorityIssuerTag:
			if r.Name != nil {
				names, err := rewriteGeneralNames(m.Bytes, r.Name)
				if err != nil {
					return nil, err
				}
				part = tlv(authorityIssuerTag, names)
			}
		case authoritySerialTag:
			if r.AuthoritySerial != nil {
				der, err := asn1.Marshal(r.AuthoritySerial)
				if err != nil {
					return nil, err
				}
				part = append([]byte{authoritySerialTag}, der[1:]...)
			}
		}
		out = append(out, part)
	}
	return tlv(sequenceTag, out...), nil
}

func rewriteAltNames(value []byte, name func(string) string) ([]byte, error) {
	var sequence asn1.RawValue
	if _, err := asn1.Unmarshal(value, &sequence); err != nil {
		return nil, err
	}
	names, err := rewriteGeneralNames(sequence.Bytes, name)
	if err != nil {
		return nil, err
	}
	return tlv(sequenceTag, names), nil
}

// Tags of GeneralName.
const (
	dnsNameTag   = 0x82
	directoryTag = 0xa4
	addressTag   = 0x87
)

func rewriteGeneralNames(content []byte, name func(string) string) ([]byte, error) {
	members, err := children(content)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, m := range members {
		part := m.FullBytes
		switch part[0] {
		case dnsNameTag:
			if renamed := name(string(m.Bytes)); renamed != string(m.Bytes) {
				part = tlv(dnsNameTag, []byte(renamed))
			}
		case addressTag:
			address, ok := netip.AddrFromSlice(m.Bytes)
			if !ok {
				break
			}
			if renamed := name(address.String()); renamed != address.String() {
				parsed, err := netip.ParseAddr(renamed)
				if err != nil {
					return nil, fmt.Errorf("cannot use %q as an address: %w", renamed, err)
				}
				part = tlv(addressTag, parsed.AsSlice())
			}
		case directoryTag:
			renamed, err := rewriteName(m.Bytes, name)
			if err != nil {
				return nil, err
			}
			part = tlv(directoryTag, renamed)
		}
		out = append(out, part...)
	}
	return out, nil
}

// rewriteName maps the common names of a distinguished name and keeps everything else.
func rewriteName(raw []byte, name func(string) string) ([]byte, error) {
	var sequence asn1.RawValue
	if _, err := asn1.Unmarshal(raw, &sequence); err != nil {
		return nil, err
	}
	sets, err := children(sequence.Bytes)
	if err != nil {
		return nil, err
	}
	changed := false
	var out [][]byte
	for _, set := range sets {
		attributes, err := children(set.Bytes)
		if err != nil {
			return nil, err
		}
		var members []byte
		for _, rawAttribute := range attributes {
			part, err := rewriteAttribute(rawAttribute.FullBytes, name)
			if err != nil {
				return nil, err
			}
			changed = changed || !bytes.Equal(part, rawAttribute.FullBytes)
			members = append(members, part...)
		}
		out = append(out, tlv(set.FullBytes[0], members))
	}
	if !changed {
		return raw, nil
	}
	return tlv(sequenceTag, out...), nil
}

func rewriteAttribute(raw []byte, name func(string) string) ([]byte, error) {
	var a attribute
	if _, err := asn1.Unmarshal(raw, &a); err != nil {
		return nil, err
	}
	renamed := name(string(a.Value.Bytes))
	if !a.ID.Equal(oidCommonName) || renamed == string(a.Value.Bytes) {
		return raw, nil
	}
	id, err := asn1.Marshal(a.ID)
	if err != nil {
		return nil, err
	}
	tag := a.Value.FullBytes[0]
	if tag == asn1.TagPrintableString && !isPrintable(renamed) {
		tag = asn1.TagUTF8String
	}
	return tlv(sequenceTag, id, tlv(tag, []byte(renamed))), nil
}

// isPrintable tells whether s fits into a PrintableString (X.680, 41.4).
func isPrintable(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !bytes.ContainsRune([]byte(" '()+,-./:=?"), r) {
			return false
		}
	}
	return true
}

// tlv encodes a value with the shortest length, as DER demands.
func tlv(tag byte, parts ...[]byte) []byte {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	out := []byte{tag}
	if length < 0x80 {
		out = append(out, byte(length))
	} else {
		size := big.NewInt(int64(length)).Bytes()
		out = append(append(out, 0x80|byte(len(size))), size...)
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}
