package plan

import (
	"bytes"
	"encoding/pem"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/splice"
)

// Annotations by which OpenShift's library-go remembers the validity of the certificate in a secret. Where
// they disagree with the certificate its operator rotates it, and everything that uses it rolls out again.
const (
	annotationPrefix    = "auth.openshift.io/certificate-not-"
	notBeforeAnnotation = "metadata.annotations[" + annotationPrefix + "before]"
	notAfterAnnotation  = "metadata.annotations[" + annotationPrefix + "after]"
	certificateField    = "data[tls.crt]"
)

// annotateValidity makes those annotations of a stored secret agree with its certificate. Other documents are
// returned as they are.
func annotateValidity(doc []byte) ([]byte, error) {
	if !bytes.Contains(doc, []byte(annotationPrefix)) {
		return doc, nil
	}
	var first *pki.Certificate
	_, err := crawl.Rewrite(doc, crawl.Handler{Field: func(path string, value []byte) ([]byte, bool) {
		if block, _ := pem.Decode(value); path == certificateField && block != nil {
			first, _ = pki.ParseCertificate(block.Bytes) // one that cannot be read has no validity to tell
		}
		return nil, false
	}})
	if err != nil || first == nil {
		return doc, err
	}
	edits, err := crawl.Rewrite(doc, crawl.Handler{Field: func(path string, _ []byte) ([]byte, bool) {
		switch path {
		case notBeforeAnnotation:
			return []byte(first.NotBefore.UTC().Format(time.RFC3339)), true
		case notAfterAnnotation:
			return []byte(first.NotAfter.UTC().Format(time.RFC3339)), true
		}
		return nil, false
	}})
	if err != nil {
		return nil, err
	}
	return splice.Apply(doc, edits)
}
