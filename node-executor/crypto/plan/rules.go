// Package plan decides what becomes of every key, certificate and token, before anything is made or written.
//
// Keys are decided first: a key is fresh, given or kept. Everything else follows. A certificate is
// re-issued if its issuer's key is fresh or given, a token is signed anew if its key is. What
// does not fit together, an unknown root, a key that cannot be replaced because its certificate's issuer is
// elsewhere, is a [Problem]; a plan with problems is not carried out. All problems are reported, not only the first.
package plan

import (
	"crypto"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/reroot-dev/reroot/node-executor/crypto/pki"
	"github.com/reroot-dev/reroot/node-executor/crypto/rename"
	"github.com/reroot-dev/reroot/node-executor/crypto/rule"
)

// KeepKey puts a given private key in the place of the key of one certificate authority, so that
// clients that trust the old cluster's authority go on trusting the new one.
type KeepKey struct {
	// CommonName is the authority's. Without a site or an id it finds the key to be replaced; with one the certificates of
	// the key that is found there get it.
	CommonName string
	// ID, when set, is the id of the key to be replaced.
	ID pki.KeyID
	// Site, when set, is where the private half of the key to be replaced stands: a site's name, or the end of one.
	Site string
	Key  crypto.Signer
	// SubjectKeyID, when set, is the identifier that clients have in their copy of the authority's
	// certificate. Nil means: made from the key as the replaced certificate's was.
	SubjectKeyID []byte
	// IfThere has the rule apply only where the site has one key, of a certificate that is called by the common name once
	// renames are made; elsewhere it is noted, and no problem.
	IfThere bool
}

// KeepCertificate puts a given certificate in the place of all that have its common name. Its
// private key is not needed: it is for authorities whose key was thrown away.
type KeepCertificate struct {
	CommonName  string // default: the certificate's own
	Certificate *pki.Certificate
}

// Policy says what to do where the material alone does not tell.
type Policy string

// The policies.
const (
	Refuse  Policy = "refuse" // report it as a problem
	Keep    Policy = "keep"   // leave it as it is
	Replace Policy = "replace"
)

// ValidityMode says where the validity of a re-issued certificate begins or ends.
type ValidityMode string

// The validity modes.
const (
	KeepValidity ValidityMode = "keep"
	Extend       ValidityMode = "extend"       // begins now
	ForceExpire  ValidityMode = "force-expire" // ends now
)

// Rules are what a plan follows. The zero value regenerates everything and refuses what is unclear.
type Rules struct {
	KeepKeys         []KeepKey
	KeepCertificates []KeepCertificate
	// Names maps common names, DNS names and addresses in certificates, each as a whole; names that are not in it
	// are subject to Renames.
	Names    map[string]string
	Renames  rename.Rules
	Validity ValidityMode
	Now      time.Time
	// ValidFor, when set, is how long re-issued certificates are valid; otherwise they are for as long as they were.
	// ValidAtMost, when set, bounds that.
	ValidFor, ValidAtMost time.Duration
	// NamesOnly keeps every key, token and key of encryption at rest. A certificate is issued again, on its own key and by
	// its issuer's, if a name in it changes.
	NamesOnly bool
	// Own are patterns (path.Match) of common names of authorities that belong to the cluster though
	// their private key is nowhere: replaced, so that what was signed by them is worth nothing here.
	Own []string
	// External are names of sites, or their beginnings when they end in a slash, that list authorities of others.
	External []string
	// Unknown is for authorities and bare public keys without a private key that nothing tells to be the cluster's or
	// others': Refuse, Keep or Replace.
	Unknown Policy
	// Orphans is for private keys with a certificate whose issuer's key is not here: Refuse or Keep. Kept
	// keys are shared by all clusters made from one seed.
	Orphans Policy
	// Unread is for what may hold a private key and cannot be read, such as a key store without its password: Refuse or
	// Keep. What is kept is shared by all clusters made from one seed.
	Unread Policy
	// ForeignTokens is for tokens whose key is not here: Keep (default) or Refuse.
	ForeignTokens Policy
	// Changes are named rules: values that only the old cluster knows, objects to be dropped.
	Changes rule.Rules
}

// DefaultOwn are the authorities whose private key an OpenShift installer throws away.
var DefaultOwn = []string{"admin-kubeconfig-signer", "kubelet-bootstrap-kubeconfig-signer", "root-ca", "olm-selfsigned-*"}

// DefaultExternal are the places where OpenShift and Linux distributions list authorities of others. There are two more whose
// name the cluster chooses: the ConfigMaps of the Proxy's trustedCA and of the Image's additionalTrustedCA, see package site.
var DefaultExternal = []string{
	"file:/etc/pki/", "file:/etc/ssl/",
	"etcd:/kubernetes.io/configmaps/openshift-config-managed/trusted-ca-bundle",
	"etcd:/kubernetes.io/configmaps/openshift-config/user-ca-bundle",
}

// Check fills in defaults and refuses what contradicts itself.
func (r *Rules) Check() error {
	if r.Validity == "" {
		r.Validity = KeepValidity
	}
	if r.Unknown == "" {
		r.Unknown = Refuse
	}
	if r.Orphans == "" {
		r.Orphans = Refuse
	}
	if r.Unread == "" {
		r.Unread = Refuse
	}
	if r.ForeignTokens == "" {
		r.ForeignTokens = Keep
	}
	var problems []error
	if r.ForeignTokens == Replace {
		problems = append(problems, errors.New("cannot replace foreign tokens: nobody here can sign them"))
	}
	if r.ValidFor < 0 || r.ValidAtMost < 0 {
		problems = append(problems, errors.New("cannot make certificates valid for less than no time"))
	}
	for what, policy := range map[string]Policy{"unknown": r.Unknown, "orphans": r.Orphans, "unread": r.Unread, "foreign tokens": r.ForeignTokens} {
		if policy != Refuse && policy != Keep && policy != Replace {
			problems = append(problems, fmt.Errorf("cannot use policy %q for %s: the policies are refuse, keep and replace", policy, what))
		}
	}
	if r.Unread == Replace {
		problems = append(problems, errors.New("cannot replace what cannot be read"))
	}
	if r.Validity != KeepValidity && r.Now.IsZero() {
		problems = append(problems, fmt.Errorf("cannot %s validity without a time", r.Validity))
	}
	if r.Orphans == Replace {
		problems = append(problems, errors.New("cannot replace orphans: nobody here can sign for their issuer"))
	}
	for _, pattern := range r.Own {
		if _, err := path.Match(pattern, ""); err != nil {
			problems = append(problems, fmt.Errorf("cannot use pattern %q: %w", pattern, err))
		}
	}
	return errors.Join(append(problems, r.Renames.Check(), r.Changes.Check())...)
}

// Name maps a name in a certificate.
func (r *Rules) Name(old string) string {
	if renamed, ok := r.Names[old]; ok {
		return renamed
	}
	return r.Renames.Apply(old)
}

func (r *Rules) isOwn(commonName string) bool {
	for _, pattern := range r.Own {
		if ok, err := path.Match(pattern, commonName); err == nil && ok {
			return true
		}
	}
	return false
}

func (r *Rules) isExternal(siteName string) bool {
	for _, c := range r.Changes {
		if slices.Contains(c.External, siteName) {
			return true
		}
	}
	for _, external := range r.External {
		if siteName == external || strings.HasSuffix(external, "/") && strings.HasPrefix(siteName, external) {
			return true
		}
	}
	return false
}

// Rules returns what the plan follows.
func (p *Plan) Rules() *Rules { return &p.rules }
