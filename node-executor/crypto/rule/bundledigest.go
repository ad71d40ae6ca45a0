package rule

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/jsonfield"
	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// BundleDigests is what the operator lifecycle manager notes of the authority that it made for an API service: the SHA-256 of
// its PEM, in the secret and in the deployment that serves with it.
var BundleDigests = Agreement{
	Name:    "OLM's digest of its authority",
	Why:     "the operator lifecycle manager would install every operator that serves an API again",
	markers: []string{bundleDigest},
	claims:  bundleDigestClaims,
}

const bundleDigest = "olmcahash"

func bundleDigestClaims(ref site.Ref, _ fields, in State) []Claim {
	var claims []Claim
	for source, doc := range in {
		bundle := bundleOf(source, doc, namespaceOf(ref))
		if bundle == nil {
			continue
		}
		digest := sha256.Sum256(bundle)
		for _, of := range annotated {
			claims = append(claims, Claim{Field: of + "[" + bundleDigest + "]", Source: source.String(), Value: hex.EncodeToString(digest[:])})
		}
	}
	return claims
}

// bundleOf returns the authority's PEM from a secret of the namespace or an API service, nil from anything else.
func bundleOf(ref site.Ref, doc []byte, namespace string) []byte {
	switch {
	case strings.HasPrefix(ref.Name, prefix+"secrets/"+namespace+"/"):
		if f, err := readFields(doc); err == nil {
			return f["data[olmCAKey]"]
		}
	case strings.HasPrefix(ref.Name, prefix+"apiregistration.k8s.io/apiservices/"):
		if members, err := jsonfield.Parse(doc); err == nil { // OpenShift stores them so
			bundle, err := base64.StdEncoding.DecodeString(members["/spec/caBundle"].Text)
			if err != nil || len(bundle) == 0 {
				return nil
			}
			return bundle
		}
		if f, err := readFields(doc); err == nil {
			return f["spec.caBundle"]
		}
	}
	return nil
}

// namespaceOf is the last but one element of a key.
func namespaceOf(ref site.Ref) string {
	parts := strings.Split(ref.Name, "/")
	if len(parts) < 2 {
		return ""
	}
	return parts[len(parts)-2]
}
