package graph

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Fault is something that does not fit together.
type Fault struct {
	Where string `json:"where"`
	What  string `json:"what"`
}

func (f Fault) String() string { return f.Where + ": " + f.What }

// Faults returns what of the cluster's own material does not fit together: certificates that are not by the authority that they
// name, private keys beside certificates that are for others, tokens that no key here signed though the cluster issued them.
// Two generations of keys that were mixed show like that. Material of others is not looked at.
func (g *Graph) Faults() []Fault {
	var faults []Fault
	add := func(where, format string, args ...any) {
		faults = append(faults, Fault{where, fmt.Sprintf(format, args...)})
	}
	certificates := g.SortedCertificates()
	for _, c := range certificates {
		where := fmt.Sprintf("certificate %s (%s)", c.CommonName, c.ID)
		switch {
		case c.Issuer == nil && bytes.Equal(c.RawSubject, c.RawIssuer): // a bridge from an older key of the authority
		case c.Issuer == nil:
			named := slices.ContainsFunc(certificates, func(authority *Certificate) bool {
				return bytes.Equal(authority.RawSubject, c.RawIssuer) && (authority.Key.Private != nil || c.Key.Private != nil)
			})
			if named {
				add(where, "no key of the authority that it names made its signature, in %s", c.Places[0])
			}
		case c.Issuer.Private != nil && c.AuthorityKeyID != nil && !c.Issuer.identifiedBy(c.AuthorityKeyID):
			add(where, "no certificate of its issuer has the key identifier that it names, in %s", c.Places[0])
		}
	}
	g.pairs(add)
	issuers := map[string]bool{legacyIssuer: true}
	for _, t := range g.Tokens {
		if t.Key != nil && t.Issuer() != "" {
			issuers[t.Issuer()] = true
		}
	}
	for _, t := range g.SortedTokens() {
		if t.Key == nil && issuers[t.Issuer()] {
			add("token "+t.ID.String(), "no key that is here signed it, in %s", t.Places[0])
		}
	}
	return faults
}

// legacyIssuer is whom tokens of service accounts that stand in secrets are from.
const legacyIssuer = "kubernetes/serviceaccount"

// identifiedBy tells whether a certificate on the key has the identifier, or none has any.
func (k *Key) identifiedBy(id []byte) bool {
	return !slices.ContainsFunc(k.Certificates, func(c *Certificate) bool { return c.SubjectKeyID != nil }) ||
		slices.ContainsFunc(k.Certificates, func(c *Certificate) bool { return bytes.Equal(c.SubjectKeyID, id) })
}

// pairs finds private keys that stand beside certificates of which none is theirs: in one object, one file, or two files that
// differ in their ending only.
func (g *Graph) pairs(add func(where, format string, args ...any)) {
	beside := map[string]map[*Key]bool{} // keys of certificates by where they stand
	for _, c := range g.Certificates {
		for _, p := range c.Places {
			where := pairedAt(p)
			if beside[where] == nil {
				beside[where] = map[*Key]bool{}
			}
			beside[where][c.Key] = true
		}
	}
	for _, k := range g.SortedKeys() {
		for _, p := range k.Places {
			keys := beside[pairedAt(p)]
			if strings.Contains(p.Path, "PRIVATE KEY") && len(keys) > 0 && !keys[k] {
				add("key "+k.ID.String(), "none of the certificates beside it is for it, in %s", p)
			}
		}
	}
}

func pairedAt(p Place) string {
	switch extension := path.Ext(p.Site); extension {
	case ".crt", ".key":
		return strings.TrimSuffix(p.Site, extension)
	}
	return p.Site
}
