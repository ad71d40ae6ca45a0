package verify

import (
	"bytes"
	"encoding/asn1"
	"net/netip"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
)

var (
	oidCommonName     = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidSubjectKeyID   = "2.5.29.14"
	oidSubjectAltName = "2.5.29.17"
	oidAuthorityKeyID = "2.5.29.35"
)

// sameExtensions tells whether two certificates have the same extensions but for names that are renamed and identifiers of keys,
// of which the same parts are there.
func sameExtensions(old, renewed *pki.Certificate, rename func(string) string) bool {
	if (old.AuthorityKeyID == nil) != (renewed.AuthorityKeyID == nil) ||
		(old.AuthoritySerial == nil) != (renewed.AuthoritySerial == nil) ||
		(old.AuthorityIssuer == nil) != (renewed.AuthorityIssuer == nil) {
		return false
	}
	return slices.EqualFunc(old.Extensions(), renewed.Extensions(), func(was, is pki.Extension) bool {
		if was.ID != is.ID || was.Critical != is.Critical {
			return false
		}
		switch was.ID {
		case oidSubjectKeyID, oidAuthorityKeyID:
			return true
		case oidSubjectAltName:
			return sameAltNames(was.Value, is.Value, rename)
		}
		return bytes.Equal(was.Value, is.Value)
	})
}

// attributesSET is a relative distinguished name; encoding/asn1 goes by the end of the type's name.
type attributesSET []struct {
	ID    asn1.ObjectIdentifier
	Value asn1.RawValue
}

// sameName tells whether a distinguished name is another one with its common names renamed.
func sameName(old, renewed []byte, rename func(string) string) bool {
	var was, is []attributesSET
	if _, err := asn1.Unmarshal(old, &was); err != nil {
		return bytes.Equal(old, renewed)
	}
	if _, err := asn1.Unmarshal(renewed, &is); err != nil || len(was) != len(is) {
		return false
	}
	for i := range was {
		if len(was[i]) != len(is[i]) {
			return false
		}
		for j, a := range was[i] {
			b := is[i][j]
			name := string(a.Value.Bytes)
			if a.ID.Equal(oidCommonName) {
				name = rename(name)
			}
			same := name == string(a.Value.Bytes)
			if !a.ID.Equal(b.ID) || string(b.Value.Bytes) != name || same && b.Value.Tag != a.Value.Tag {
				return false
			}
		}
	}
	return true
}

// Tags of GeneralName (RFC 5280, section 4.2.1.6).
const (
	dnsName       = 2
	directoryName = 4
	address       = 7
)

// sameAltNames tells whether subject alternative names are others with names and addresses renamed.
func sameAltNames(old, renewed []byte, rename func(string) string) bool {
	var was, is []asn1.RawValue
	if _, err := asn1.Unmarshal(old, &was); err != nil {
		return bytes.Equal(old, renewed)
	}
	if _, err := asn1.Unmarshal(renewed, &is); err != nil {
		return false
	}
	return slices.EqualFunc(was, is, func(a, b asn1.RawValue) bool {
		if a.Tag != b.Tag || a.Class != b.Class {
			return false
		}
		switch a.Tag {
		case dnsName:
			return string(b.Bytes) == rename(string(a.Bytes))
		case address:
			return sameAddress(a.Bytes, b.Bytes, rename)
		case directoryName:
			return sameName(a.Bytes, b.Bytes, rename)
		}
		return bytes.Equal(a.FullBytes, b.FullBytes)
	})
}

func sameAddress(old, renewed []byte, rename func(string) string) bool {
	was, ok := netip.AddrFromSlice(old)
	if !ok {
		return bytes.Equal(old, renewed)
	}
	want, err := netip.ParseAddr(rename(was.String()))
	is, ok := netip.AddrFromSlice(renewed)
	return err == nil && ok && is == want
}
