package verify

import (
	"bytes"
	"crypto/sha256"
	"slices"

	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/plan"
)

// pairs checks that what fitted together in one document still does: a certificate and its private key, as in a kubeconfig
// or a secret, and a certificate and that of its issuer. It asks the leaves as they were read, not how they were made.
func (v *verifier) pairs(where string, was, is []crawl.Leaf) {
	for i, leaf := range was {
		switch {
		case leaf.Kind == crawl.PrivateKey:
			if key, _ := v.plan.Graph().PrivateKey(leaf.Bytes); key != nil {
				v.fitsKey(where, is[i], beside(key.Certificates, was, is))
			}
		case leaf.Kind == crawl.Certificate && !bytes.Equal(leaf.Bytes, is[i].Bytes):
			if c := v.plan.Graph().Certificates[sha256.Sum256(leaf.Bytes)]; c != nil && v.plan.Certificates[c.ID].Action == plan.Reissued {
				v.fitsIssuer(where, is[i], beside(c.Issuer.Certificates, was, is))
			}
		}
	}
}

// beside returns what has become of those of the certificates that stand among the leaves.
func beside(certificates []*graph.Certificate, was, is []crawl.Leaf) (now []crawl.Leaf) {
	for i, leaf := range was {
		one := func(c *graph.Certificate) bool { return bytes.HasPrefix(leaf.Bytes, c.DER) }
		if leaf.Kind == crawl.Certificate && slices.ContainsFunc(certificates, one) {
			now = append(now, is[i])
		}
	}
	return now
}

func (v *verifier) fitsKey(where string, key crawl.Leaf, certificates []crawl.Leaf) {
	var id pki.KeyID
	public, err := pki.PublicHalf(key.Bytes)
	if err == nil {
		id, err = pki.IDOf(public)
	}
	for _, leaf := range certificates {
		if c := v.parsed(leaf.Bytes); err != nil || c == nil || c.KeyID != id {
			v.problem(where+leaf.Path, "no longer fits the private key beside it")
		}
	}
}

func (v *verifier) fitsIssuer(where string, leaf crawl.Leaf, issuers []crawl.Leaf) {
	c := v.parsed(leaf.Bytes)
	for _, issuer := range issuers {
		if i := v.parsed(issuer.Bytes); c == nil || i == nil || !v.signed(c, i.KeyID, i.PublicKey) {
			v.problem(where+leaf.Path, "is no longer signed by the authority beside it")
		}
	}
}
