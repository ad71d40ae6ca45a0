package cluster

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"

	"github.com/reroot-dev/reroot/test/lab/cluster/pki"
)

// leafValidity is how long a certificate is valid whose entry does not say: what
// OKD's operators give what they renew by themselves.
const leafValidity = 30 * day

// material is an inventory come true: keys and certificates by their names there.
type material struct {
	inventory inventory
	pairs     map[string]*pki.Pair
	// legacyTokens signs the tokens in Secrets, boundTokens those that the API
	// server issues on request.
	legacyTokens, boundTokens *rsa.PrivateKey
	// password is kubeadmin's, passwordHash what the cluster knows of it.
	password     string
	passwordHash []byte
}

// generate makes everything in inv: two generations of certificates, each in
// parallel, because RSA keys take a tenth of a second.
func generate(inv inventory, newKey func(pki.Algorithm) (crypto.Signer, error)) (*material, error) {
	m := &material{inventory: inv, pairs: map[string]*pki.Pair{}, password: rand.Text()}
	signers := make([]*pki.Pair, len(inv.authorities))
	var group errgroup.Group
	for i, a := range inv.authorities {
		group.Go(func() error {
			key, err := newKey(a.alg)
			if err != nil {
				return err
			}
			signers[i], err = pki.NewAuthority(a.subject, key, a.validity)
			return err
		})
	}
	for key, alg := range map[**rsa.PrivateKey]pki.Algorithm{&m.legacyTokens: pki.RSA2048, &m.boundTokens: inv.boundTokens} {
		group.Go(func() error {
			made, err := newKey(alg)
			if err != nil {
				return err
			}
			*key = made.(*rsa.PrivateKey)
			return nil
		})
	}
	group.Go(func() (err error) {
		if m.passwordHash, err = bcrypt.GenerateFromPassword([]byte(m.password), bcrypt.DefaultCost); err != nil {
			return fmt.Errorf("cannot hash password: %w", err)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, a := range inv.authorities {
		m.pairs[a.name] = signers[i]
	}
	leaves := make([]*pki.Pair, len(inv.certificates))
	for i, c := range inv.certificates {
		signer, ok := m.pairs[c.signer]
		if !ok {
			return nil, fmt.Errorf("cannot issue %s: no signer %s", c.name, c.signer)
		}
		group.Go(func() error {
			key, err := newKey(c.alg)
			if err != nil {
				return err
			}
			leaves[i], err = signer.Issue(c.leaf(), key)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, c := range inv.certificates {
		m.pairs[c.name] = leaves[i]
	}
	return m, nil
}

// leaf fills in what c leaves to the rule: a server is named by its first host.
func (c certificate) leaf() pki.Leaf {
	leaf := pki.Leaf{Subject: c.subject, Hosts: c.hosts, Client: c.client, Validity: c.validity}
	if leaf.Subject.CommonName == "" {
		leaf.Subject.CommonName = c.hosts[0]
	}
	if leaf.Validity == 0 {
		leaf.Validity = leafValidity
	}
	return leaf
}

// bundlePEM concatenates the certificates of the named authorities.
func (m *material) bundlePEM(members []string) []byte {
	var out bytes.Buffer
	for _, name := range members {
		out.Write(m.pairs[name].CertPEM())
	}
	return out.Bytes()
}

// A keyPair is the two files of a service account signing key.
type keyPair struct{ private, public []byte }

// tokenKeys encodes a service account signing key. The label "RSA PUBLIC KEY" on
// a PKIX body is what OKD's operator writes; Kubernetes reads it all the same.
func tokenKeys(key *rsa.PrivateKey) (keyPair, error) {
	private, err := pki.PrivatePEM(key)
	if err != nil {
		return keyPair{}, err
	}
	public, err := pki.PublicPEM("RSA PUBLIC KEY", key)
	if err != nil {
		return keyPair{}, err
	}
	return keyPair{private, public}, nil
}

// legacyToken is the token of a Secret of type service-account-token, with the
// claims that the controller manager's token controller gives it.
func (m *material) legacyToken(namespace, secret, account, uid string) (string, error) {
	return pki.SignToken(m.legacyTokens, map[string]any{
		"iss":                                    "kubernetes/serviceaccount",
		"sub":                                    "system:serviceaccount:" + namespace + ":" + account,
		"kubernetes.io/serviceaccount/namespace": namespace,
		"kubernetes.io/serviceaccount/secret.name":          secret,
		"kubernetes.io/serviceaccount/service-account.name": account,
		"kubernetes.io/serviceaccount/service-account.uid":  uid,
	})
}

// annotations say of a certificate what OKD's operators say on its Secret.
func annotations(p *pki.Pair) map[string]string {
	return map[string]string{
		"auth.openshift.io/certificate-not-before": p.Cert.NotBefore.Format(time.RFC3339),
		"auth.openshift.io/certificate-not-after":  p.Cert.NotAfter.Format(time.RFC3339),
		"auth.openshift.io/certificate-issuer":     p.Cert.Issuer.CommonName,
	}
}
