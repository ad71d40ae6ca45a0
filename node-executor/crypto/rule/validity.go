package rule

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Validity is what operators note in a secret about its certificate: library-go's from when until when it is valid, who
// issued it and for which names, the service CA's until when (secret_updating_controller.go of service-ca-operator).
var Validity = Agreement{
	Name:    "certificate annotations",
	Why:     "the operator that made the certificate would make it anew, and everything that uses it would roll out",
	markers: []string{validityPrefix, serviceExpiry, alphaServiceExpiry},
	claims:  validityClaims,
}

const (
	validityPrefix     = "auth.openshift.io/certificate-"
	serviceExpiry      = "service.beta.openshift.io/expiry"
	alphaServiceExpiry = "service.alpha.openshift.io/expiry"
)

func validityClaims(_ site.Ref, fields fields, _ State) []Claim {
	block, _ := pem.Decode(fields["data[tls.crt]"])
	if block == nil {
		return nil
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil // library-go could not read it either
	}
	claim := func(annotation, value string) Claim {
		return Claim{Field: "metadata.annotations[" + annotation + "]", Value: value}
	}
	end := c.NotAfter.UTC().Format(time.RFC3339)
	return []Claim{
		claim(validityPrefix+"not-before", c.NotBefore.UTC().Format(time.RFC3339)),
		claim(validityPrefix+"not-after", end),
		claim(validityPrefix+"issuer", c.Issuer.CommonName),
		claim(validityPrefix+"hostnames", hostnames(c)),
		claim(serviceExpiry, end),
		claim(alphaServiceExpiry, end),
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
