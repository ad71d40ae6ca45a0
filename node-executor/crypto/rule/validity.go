package rule

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Validity is what library-go notes in a secret about its certificate: from when until when it is valid, who
// issued it, for which names.
var Validity = Agreement{
	Name:   "certificate annotations",
	Why:    "the operator that made the certificate would make it anew, and everything that uses it would roll out",
	marker: validityPrefix,
	claims: validityClaims,
}

const validityPrefix = "auth.openshift.io/certificate-"

func validityClaims(_ site.Ref, fields fields, _ State) []Claim {
	block, _ := pem.Decode(fields["data[tls.crt]"])
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil // library-go could not read it either
	}
	claim := func(name, value string) Claim {
		return Claim{Field: "metadata.annotations[" + validityPrefix + name + "]", Value: value}
	}
	return []Claim{
		claim("not-before", c.NotBefore.UTC().Format(time.RFC3339)),
		claim("not-after", c.NotAfter.UTC().Format(time.RFC3339)),
		claim("issuer", c.Issuer.CommonName),
		claim("hostnames", hostnames(c)),
	}
}

// hostnames are the certificate's names and addresses, each once, sorted.
func hostnames(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}
