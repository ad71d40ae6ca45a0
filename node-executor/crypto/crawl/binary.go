package crawl

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

var (
	gzipMagic       = []byte{0x1f, 0x8b, 0x08}
	encryptedMagic  = []byte("k8s:enc:")
	remoteMagic     = []byte("k8s:enc:kms:")
	sealedJavaMagic = []byte{0xce, 0xce, 0xce, 0xce} // JCEKS, whose encryption nothing else has
)

// gzip opens a compressed layer; a changed one is compressed with the same header.
func (c crawler) gzip(doc []byte, path string, depth int) ([]splice.Edit, error) {
	content, header, err := gunzip(doc)
	switch {
	case errors.Is(err, errExpanded):
		c.finding(TooDeep, path, err.Error(), true)
		return nil, nil
	case err != nil: // nobody else can read more of it
		c.finding(Malformed, path, "gzip", mentionsMaterial(content))
		return nil, nil
	}
	return c.inner(content, path+"/gzip", depth, splice.Whole(0, len(doc), content, func(b []byte) ([]byte, error) {
		return zip(header, b)
	}))
}

var errExpanded = fmt.Errorf("more than %d bytes decompressed", MaxExpanded)

func gunzip(doc []byte) (content []byte, header gzip.Header, err error) {
	reader, err := gzip.NewReader(bytes.NewReader(doc))
	if err != nil {
		return nil, header, err
	}
	content, err = io.ReadAll(io.LimitReader(reader, MaxExpanded+1))
	if err == nil && len(content) > MaxExpanded {
		err = errExpanded
	}
	return content, reader.Header, err
}

func zip(header gzip.Header, content []byte) ([]byte, error) {
	var out bytes.Buffer
	writer := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(writer)
	writer.Reset(&out)
	writer.Header = header
	_, err := writer.Write(content)
	err = errors.Join(err, writer.Close())
	return out.Bytes(), err
}

// gzipWriters are used again: each has tables of a megabyte.
var gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(io.Discard) }}

var (
	oidPKCS7Data   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidPKCS7Signed = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

const (
	minimumDER   = 40
	sequenceByte = 0x30
)

// Containers that classifyDER tells apart from material.
const (
	pkcs12Store  Kind = "PKCS #12 key store"
	encryptedKey Kind = "encrypted private key"
)

// classifyDER says what a whole document in DER is; "" when it is nothing known.
func classifyDER(doc []byte) Kind {
	if len(doc) < minimumDER || doc[0] != sequenceByte {
		return ""
	}
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(doc, &outer); err != nil || len(rest) != 0 {
		return ""
	}
	if kind := kindOfDER(doc); kind != "" {
		return kind
	}
	var version int
	if rest, err := asn1.Unmarshal(outer.Bytes, &version); err == nil {
		var info struct {
			Type asn1.ObjectIdentifier
			Rest asn1.RawValue `asn1:"optional"`
		}
		if _, err := asn1.Unmarshal(rest, &info); err == nil && (info.Type.Equal(oidPKCS7Data) || info.Type.Equal(oidPKCS7Signed)) {
			return pkcs12Store
		}
		return ""
	}
	var encrypted struct {
		Algorithm struct {
			ID     asn1.ObjectIdentifier
			Params asn1.RawValue `asn1:"optional"`
		}
		Data []byte
	}
	if _, err := asn1.Unmarshal(doc, &encrypted); err == nil && passwordBased(encrypted.Algorithm.ID) {
		return encryptedKey
	}
	return ""
}

// passwordBased knows the schemes of PKCS #5 and PKCS #12.
func passwordBased(id asn1.ObjectIdentifier) bool {
	text := id.String()
	return strings.HasPrefix(text, "1.2.840.113549.1.5.") || strings.HasPrefix(text, "1.2.840.113549.1.12.1.")
}

// kindOfDER names what der parses as; "" when it is nothing known.
func kindOfDER(der []byte) Kind {
	if looksLikeCertificate(der) {
		return Certificate
	}
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return PrivateKey
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return PrivateKey
	}
	if _, err := x509.ParseECPrivateKey(der); err == nil {
		return PrivateKey
	}
	if _, err := x509.ParsePKIXPublicKey(der); err == nil {
		return PublicKey
	}
	return ""
}

// looksLikeCertificate accepts what the standard library's stricter parser may refuse (odd serial
// numbers, duplicate extensions): a sequence of a sequence with four or more members, an algorithm and a bit string.
func looksLikeCertificate(der []byte) bool {
	var certificate struct {
		TBS       asn1.RawValue
		Algorithm struct {
			ID     asn1.ObjectIdentifier
			Params asn1.RawValue `asn1:"optional"`
		}
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &certificate); err != nil || !certificate.TBS.IsCompound {
		return false
	}
	members, rest := 0, certificate.TBS.Bytes
	for len(rest) > 0 {
		var member asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &member); err != nil {
			return false
		}
		members++
	}
	return members >= 6
}
