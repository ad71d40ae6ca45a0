package rule

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"strings"

	"github.com/reroot-dev/reroot/node-executor/crypto/site"
)

// Dependencies are the digests of ConfigMaps and Secrets that operators write into the pod templates of the API servers for
// OpenShift's resources and for OAuth, of storage drivers and others.
var Dependencies = Agreement{
	Name:    "digests of mounted objects",
	Why:     "the pod template would change with the first look of the operator, and its pods would be replaced",
	markers: []string{dependencyPrefix},
	claims:  dependencyClaims,
}

const (
	dependencyPrefix = "operator.openshift.io/dep-"
	// maximumAnnotation is the length to which library-go cuts an annotation's name, in which the object's name
	// is then replaced by a digest.
	maximumAnnotation = 63
)

// dependencyClaims finds the objects of the document's namespace that annotations are named after.
func dependencyClaims(ref site.Ref, f fields, in State) []Claim {
	var claims []Claim
	for _, resource := range []string{"configmap", "secret"} {
		for source, doc := range in {
			rest, ok := strings.CutPrefix(source.Name, prefix+resource+"s/")
			if !ok {
				continue
			}
			namespace, name, _ := strings.Cut(rest, "/")
			for _, annotation := range dependencyNames(namespace + "." + name + "." + resource) {
				for _, of := range annotated {
					field := of + "[" + annotation + "]"
					if _, there := f[field]; !there {
						continue
					}
					if digest, ok := dataDigest(resource, doc); ok {
						claims = append(claims, Claim{Field: field, Source: source.String(), Value: digest})
					}
				}
			}
		}
	}
	return claims
}

// dependencyNames are what an annotation about an object may be called.
func dependencyNames(object string) []string {
	digest := sha256.Sum256([]byte(object))
	short := dependencyPrefix + hex.EncodeToString(digest[:])
	return []string{dependencyPrefix + object, short[:maximumAnnotation]}
}

// dataDigest is library-go's digest of an object's data: FNV-1 of 32 bits over the JSON that Go's encoder writes, in URL-safe
// base64.
func dataDigest(resource string, doc []byte) (string, bool) {
	f, err := readFields(doc)
	if err != nil {
		return "", false
	}
	var data any = f.entries("data")
	if resource == "configmap" {
		var texts map[string]string
		for key, value := range f.entries("data") {
			if texts == nil {
				texts = map[string]string{}
			}
			texts[key] = string(value)
		}
		data = texts
	}
	digest := fnv.New32()
	if err := json.NewEncoder(digest).Encode(data); err != nil {
		return "", false
	}
	return base64.URLEncoding.EncodeToString(digest.Sum(nil)), true
}
