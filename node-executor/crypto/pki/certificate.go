package pki

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// CertificateID names a certificate: the SHA-256 of its DER, so that two renewals never count as one.
type CertificateID [sha256.Size]byte

func (id CertificateID) String() string { return hex.EncodeToString(id[:]) }

// Certificate is an X.509 certificate with its parts as they stand in the DER.
type Certificate struct {
	ID        CertificateID
	DER       []byte // the certificate alone
	Auxiliary []byte // what follows it in an OpenSSL TRUSTED CERTIFICATE

	CommonName          string // of the subject, the last one; "" when it has none
	Serial              *big.Int
	NotBefore, NotAfter time.Time
	RawSubject          []byte
	RawIssuer           []byte
	PublicKey           crypto.PublicKey
	KeyID               KeyID
	SubjectKeyID        []byte   // nil when absent
	AuthorityKeyID      []byte   // nil when absent
	AuthorityIssuer     []byte   // of the issuer's certificate, the raw name; nil when absent
	AuthoritySerial     *big.Int // of the issuer's certificate; nil when absent

	tbs        []byte
	elements   tbsElements
	algorithm  []byte // AlgorithmIdentifier, raw
	signature  []byte
	extensions []extension
}

// tbsElements are the members of a TBSCertificate, each with its header.
type tbsElements struct {
	version    []byte // may be empty: version 1
	serial     []byte
	algorithm  []byte
	issuer     []byte
	validity   []byte
	subject    []byte
	spki       []byte
	uniqueIDs  []byte // issuerUniqueID and subjectUniqueID
	extensions []byte // [3], may be empty
}

type extension struct {
	raw      []byte
	id       asn1.ObjectIdentifier
	critical bool
	value    []byte
}

var (
	oidSubjectKeyID   = asn1.ObjectIdentifier{2, 5, 29, 14}
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidAuthorityKeyID = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidCommonName     = asn1.ObjectIdentifier{2, 5, 4, 3}
)

var errMalformed = errors.New("malformed DER")

// ParseCertificate reads a certificate and what may follow it. An algorithm that cannot be handled
// is ErrUnsupported.
func ParseCertificate(der []byte) (*Certificate, error) {
	var outer struct {
		Raw       asn1.RawContent
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	rest, err := asn1.Unmarshal(der, &outer)
	if err != nil {
		return nil, fmt.Errorf("cannot read certificate: %w", err)
	}
	c := &Certificate{
		ID: sha256.Sum256(outer.Raw), DER: outer.Raw, Auxiliary: rest,
		tbs: outer.TBS.FullBytes, algorithm: outer.Algorithm.FullBytes, signature: outer.Signature.RightAlign(),
	}
	if err := c.readTBS(outer.TBS.Bytes); err != nil {
		return nil, fmt.Errorf("cannot read certificate %s: %w", c.ID, err)
	}
	return c, nil
}

func (c *Certificate) readTBS(body []byte) error {
	members, err := children(body)
	if err != nil {
		return err
	}
	if len(members) > 0 && members[0].Class == asn1.ClassContextSpecific && members[0].Tag == 0 {
		c.elements.version, members = members[0].FullBytes, members[1:]
	}
	if len(members) < 6 {
		return errMalformed
	}
	e := &c.elements
	for i, element := range []*[]byte{&e.serial, &e.algorithm, &e.issuer, &e.validity, &e.subject, &e.spki} {
		*element = members[i].FullBytes
	}
	for _, member := range members[6:] {
		if member.Class != asn1.ClassContextSpecific {
			return errMalformed
		}
		if member.Tag == 3 {
			e.extensions = member.FullBytes
			if c.extensions, err = readExtensions(member.Bytes); err != nil {
				return err
			}
		} else {
			e.uniqueIDs = append(e.uniqueIDs, member.FullBytes...)
		}
	}
	c.Serial = new(big.Int)
	if _, err := asn1.Unmarshal(e.serial, &c.Serial); err != nil {
		return err
	}
	var validity struct{ NotBefore, NotAfter time.Time }
	if _, err := asn1.Unmarshal(e.validity, &validity); err != nil {
		return err
	}
	c.NotBefore, c.NotAfter = validity.NotBefore, validity.NotAfter
	c.RawSubject, c.RawIssuer = e.subject, e.issuer
	c.CommonName = commonName(e.subject)
	if err := c.readKey(); err != nil {
		return err
	}
	return c.readKnownExtensions()
}

func (c *Certificate) readKey() error {
	key, err := x509.ParsePKIXPublicKey(c.elements.spki)
	if err != nil {
		return fmt.Errorf("cannot read public key: %w", ErrUnsupported)
	}
	if _, err := AlgorithmOf(key); err != nil {
		return err
	}
	c.PublicKey = key
	c.KeyID, err = IDOf(key)
	return err
}

func readExtensions(body []byte) ([]extension, error) {
	sequence, err := children(body)
	if err != nil || len(sequence) != 1 {
		return nil, errMalformed
	}
	members, err := children(sequence[0].Bytes)
	if err != nil {
		return nil, err
	}
	var extensions []extension
	for _, m := range members {
		var parsed struct {
			ID       asn1.ObjectIdentifier
			Critical bool `asn1:"optional"`
			Value    []byte
		}
		if _, err := asn1.Unmarshal(m.FullBytes, &parsed); err != nil {
			return nil, err
		}
		extensions = append(extensions, extension{m.FullBytes, parsed.ID, parsed.Critical, parsed.Value})
	}
	return extensions, nil
}

// authorityKeyID is RFC 5280, section 4.2.1.1.
type authorityKeyID struct {
	ID     []byte        `asn1:"optional,tag:0"`
	Issuer asn1.RawValue `asn1:"optional,tag:1"`
	Serial *big.Int      `asn1:"optional,tag:2"`
}

// NamesBySerial tells whether the certificate's authority key identifier names another one by issuer and serial number.
func (c *Certificate) NamesBySerial(authority *Certificate) bool {
	return c.AuthoritySerial != nil && c.AuthoritySerial.Cmp(authority.Serial) == 0 &&
		(c.AuthorityIssuer == nil || bytes.Equal(c.AuthorityIssuer, authority.RawIssuer))
}

// issuer returns the directory name among the names of the issuer.
func (a authorityKeyID) issuer() []byte {
	names, _ := children(a.Issuer.Bytes)
	for _, name := range names {
		if name.FullBytes[0] == directoryTag {
			return name.Bytes
		}
	}
	return nil
}

func (c *Certificate) readKnownExtensions() error {
	for _, e := range c.extensions {
		var err error
		switch {
		case e.id.Equal(oidSubjectKeyID):
			_, err = asn1.Unmarshal(e.value, &c.SubjectKeyID)
		case e.id.Equal(oidAuthorityKeyID):
			var a authorityKeyID
			_, err = asn1.Unmarshal(e.value, &a)
			c.AuthorityKeyID, c.AuthorityIssuer, c.AuthoritySerial = a.ID, a.issuer(), a.Serial
		}
		if err != nil {
			return fmt.Errorf("cannot read extension %s: %w", e.id, err)
		}
	}
	return nil
}

// children splits the content of a constructed value into its members.
func children(content []byte) ([]asn1.RawValue, error) {
	var members []asn1.RawValue
	for len(content) > 0 {
		var member asn1.RawValue
		rest, err := asn1.Unmarshal(content, &member)
		if err != nil {
			return nil, err
		}
		members, content = append(members, member), rest
	}
	return members, nil
}

// attribute is one member of a relative distinguished name.
type attribute struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

func commonName(name []byte) (last string) {
	var sequence asn1.RawValue
	if _, err := asn1.Unmarshal(name, &sequence); err != nil {
		return ""
	}
	sets, _ := children(sequence.Bytes)
	for _, set := range sets {
		attributes, _ := children(set.Bytes)
		for _, raw := range attributes {
			var a attribute
			if _, err := asn1.Unmarshal(raw.FullBytes, &a); err == nil && a.ID.Equal(oidCommonName) {
				last = string(a.Value.Bytes)
			}
		}
	}
	return last
}

// Extension is an extension with its value as it is encoded.
type Extension struct {
	ID       string
	Critical bool
	Value    []byte
}

// Extensions lists the certificate's extensions in order.
func (c *Certificate) Extensions() []Extension {
	list := make([]Extension, len(c.extensions))
	for i, e := range c.extensions {
		list[i] = Extension{e.id.String(), e.critical, e.value}
	}
	return list
}
