package plan

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/node-executor/crypto/atrest"
	"github.com/reroot-dev/reroot/node-executor/crypto/crawl"
	"github.com/reroot-dev/reroot/node-executor/crypto/graph"
	"github.com/reroot-dev/reroot/node-executor/crypto/jwk"
	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/token"
)

// Issued is the new material, by what it replaces.
type Issued struct {
	Keys         map[pki.KeyID]crypto.Signer
	Certificates map[pki.CertificateID][]byte // DER
	Tokens       map[token.ID][]byte          // compact form

	EncryptionKeys map[atrest.KeyID][]byte // kept ones stand for themselves
}

// Issue makes the new material. All keys are asked for at once: which is made first, and how many at a time, is up to
// generate. Certificates and tokens depend on keys and on nothing else, and are made as soon as those are there.
func (p *Plan) Issue(ctx context.Context, generate func(pki.Algorithm) (crypto.Signer, error)) (*Issued, error) {
	made := &Issued{
		Keys:         map[pki.KeyID]crypto.Signer{},
		Certificates: map[pki.CertificateID][]byte{},
		Tokens:       map[token.ID][]byte{},

		EncryptionKeys: map[atrest.KeyID][]byte{},
	}
	for id, key := range p.scan.Graph.EncryptionKeys {
		made.EncryptionKeys[id] = key.Bytes
		if p.EncryptionKeys[id] == Fresh {
			made.EncryptionKeys[id] = atrest.NewKey(key.Bytes)
		}
	}
	i := issuer{Plan: p, keys: newSuccessors(p), serials: map[pki.CertificateID]*big.Int{}}
	group, ctx := errgroup.WithContext(ctx)
	i.keys.make(ctx, group, generate)
	certificates, err := i.certificates(ctx, group)
	tokens := i.tokens(ctx, group)
	if err := errors.Join(group.Wait(), err); err != nil {
		return nil, err
	}
	for id, key := range i.keys.all {
		made.Keys[id] = key.signer
	}
	for id, der := range certificates {
		made.Certificates[id] = *der
	}
	for id, text := range tokens {
		made.Tokens[id] = *text
	}
	return made, nil
}

type issuer struct {
	*Plan
	keys    *successors
	serials map[pki.CertificateID]*big.Int
}

// tokens has the tokens signed. What is returned is complete when the group is done.
func (i *issuer) tokens(ctx context.Context, group *errgroup.Group) map[token.ID]*[]byte {
	signed := map[token.ID]*[]byte{}
	for id, decision := range i.Tokens {
		if decision.Action != Resigned {
			continue
		}
		t, text := decision.Token, new([]byte)
		signed[id] = text
		group.Go(func() (err error) {
			if err := i.keys.wait(ctx, t.Key.ID); err != nil {
				return err
			}
			*text, err = t.Resign(t.Key.ID, i.keys.of(t.Key.ID))
			return err
		})
	}
	return signed
}

// certificates has the certificates issued. What is returned is complete when the group is done.
func (i *issuer) certificates(ctx context.Context, group *errgroup.Group) (map[pki.CertificateID]*[]byte, error) {
	issued := map[pki.CertificateID]*[]byte{}
	for id, decision := range i.Certificates {
		switch decision.Action {
		case Reissued:
			serial, err := pki.NewSerial()
			if err != nil {
				return issued, err
			}
			i.serials[id] = serial
		case Replaced:
			issued[id] = &decision.rule.Certificate.DER
		}
	}
	for id := range i.serials { // complete: an issuer may be named by its serial number
		c, der := i.Certificates[id].Certificate, new([]byte)
		issued[id] = der
		group.Go(func() (err error) {
			if err := i.keys.wait(ctx, c.Key.ID, c.Issuer.ID); err != nil {
				return err
			}
			*der, err = i.reissue(c)
			return err
		})
	}
	return issued, nil
}

// reissue issues a certificate whose keys are there.
func (i *issuer) reissue(c *graph.Certificate) ([]byte, error) {
	r := pki.Reissue{Signer: i.keys.of(c.Issuer.ID), Serial: i.serials[c.ID], Name: i.rules.Name}
	if r.Signer == nil {
		r.Signer = c.Issuer.Private
	}
	if key := i.keys.of(c.Key.ID); key != nil {
		r.PublicKey = key.Public()
		r.SubjectKeyID = i.subjectKeyID(c.Key, c.SubjectKeyID)
	}
	r.AuthorityKeyID = i.subjectKeyID(c.Issuer, c.AuthorityKeyID)
	if from, until := i.Validity(c.Certificate); !from.Equal(c.NotBefore) || !until.Equal(c.NotAfter) {
		r.NotBefore, r.NotAfter = from, until // otherwise they keep their bytes
	}
	for _, parent := range c.Issuer.Certificates {
		if serial := i.serials[parent.ID]; serial != nil && c.NamesBySerial(parent.Certificate) {
			r.AuthoritySerial = serial
		}
	}
	der, err := c.Reissue(r)
	if err != nil {
		return nil, fmt.Errorf("cannot issue certificate %s (%s) again: %w", c.CommonName, short(c.ID.String()), err)
	}
	return der, nil
}

// subjectKeyID maps an identifier of a key to that of its successor. It is the same function
// for the key's own certificates and for those it signed, so that they cannot disagree. Nil stays nil.
func (i *issuer) subjectKeyID(k *graph.Key, old []byte) []byte {
	successor := i.keys.of(k.ID)
	if old == nil || successor == nil {
		return old
	}
	decision := i.Keys[k.ID]
	if decision.rule != nil && decision.rule.SubjectKeyID != nil {
		return decision.rule.SubjectKeyID
	}
	renewed := successor.Public()
	if id, err := pki.IDOf(renewed); err == nil && id == k.ID {
		return old
	}
	id, _ := pki.NewSubjectKeyID(old, k.Public, renewed)
	return id
}

// Validity returns when a re-issued certificate is valid, in whole seconds as certificates have them.
func (p *Plan) Validity(c *pki.Certificate) (notBefore, notAfter time.Time) {
	now := p.rules.Now.Truncate(time.Second)
	was := c.NotAfter.Sub(c.NotBefore).Truncate(time.Second) // at most 292 years
	length := was
	if p.rules.ValidFor > 0 {
		length = p.rules.ValidFor.Truncate(time.Second)
	}
	if p.rules.ValidAtMost > 0 {
		length = min(length, p.rules.ValidAtMost.Truncate(time.Second))
	}
	switch {
	case p.rules.Validity == Extend:
		return now, now.Add(length)
	case p.rules.Validity == ForceExpire:
		return now.Add(-length), now
	case length != was:
		return c.NotBefore, c.NotBefore.Add(length)
	}
	return c.NotBefore, c.NotAfter
}

var errUnplanned = errors.New("not in the plan")

// Replacement returns what stands in the place of a leaf from now on, in the same form; nil keeps it.
func (p *Plan) Replacement(made *Issued, leaf crawl.Leaf) ([]byte, error) {
	switch leaf.Kind {
	case crawl.Certificate:
		if id := sha256.Sum256(leaf.Bytes); p.Certificates[id] != nil {
			return made.Certificates[id], nil
		}
		c, err := pki.ParseCertificate(leaf.Bytes) // perhaps something follows it
		if err != nil {
			return nil, nil // reported as unread when it was found
		}
		if p.Certificates[c.ID] == nil {
			return nil, fmt.Errorf("cannot replace certificate: %w", errUnplanned)
		}
		der := made.Certificates[c.ID]
		if der == nil {
			return nil, nil
		}
		return append(bytes.Clone(der), c.Auxiliary...), nil
	case crawl.PrivateKey:
		old, form := p.scan.Graph.PrivateKey(leaf.Bytes)
		if old == nil {
			return nil, nil // reported as unread when it was found
		}
		key, err := p.successor(made, old.Public)
		if err != nil || key == nil {
			return nil, err
		}
		return pki.MarshalPrivateKey(key, form)
	case crawl.PublicKey:
		public, form, err := pki.ParsePublicKey(leaf.Bytes)
		if err != nil {
			return nil, nil
		}
		key, err := p.successor(made, public)
		if err != nil || key == nil {
			return nil, err
		}
		return pki.MarshalPublicKey(key.Public(), form)
	case crawl.Token:
		t, err := token.Parse(leaf.Bytes)
		if err != nil {
			return nil, nil
		}
		return made.Tokens[t.ID], nil
	case crawl.JSONKey:
		k, err := jwk.Parse(leaf.Bytes)
		if err != nil {
			return nil, nil
		}
		key, err := p.successor(made, k.Public)
		if err != nil || key == nil {
			return nil, err
		}
		return k.Replace(key)
	case crawl.EncryptionKey:
		if id := atrest.IDOf(leaf.Bytes); p.EncryptionKeys[id] == Fresh {
			return made.EncryptionKeys[id], nil
		}
	}
	return nil, nil
}

// successor returns the key that replaces another; nil when that is kept.
func (p *Plan) successor(made *Issued, public crypto.PublicKey) (crypto.Signer, error) {
	id, err := pki.IDOf(public)
	if err != nil {
		return nil, err
	}
	if p.Keys[id] == nil {
		return nil, fmt.Errorf("cannot replace key: %w", errUnplanned)
	}
	return made.Keys[id], nil
}
